"""What a type checker sees from a user's file: fields of batches are known, and parts of one's own fit in."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAD = """
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from typing_extensions import assert_type, override

import jaxbuffers as jb

no = jnp.bool_(False)
row = jb.Row(jnp.zeros(3), jnp.int32(0), jnp.float32(0), no, no, no)
key = jax.random.key(0)
"""
SOUND = (
    HEAD
    + """
replay = jb.Replay(capacity=8, num_envs=2, batch_size=4, view=jb.Transitions(n_step=3), sampler=jb.Prioritized())
state = replay.init(row)
assert_type(state, jb.ReplayState)
batch = replay.sample(state, key)
assert_type(batch, jb.Batch[jb.Transition])
assert_type(batch.data.reward, jax.Array)
assert_type(batch.mask, jax.Array)
state = replay.update(state, batch.index, priority=jnp.abs(batch.data.reward))
assert_type(state, jb.ReplayState)
assert_type(replay.can_sample(state), jax.Array)
assert_type(jb.Replay(capacity=8, num_envs=None, view=jb.Episodes(4)).sample(state, key).data, jb.Episode)
stacked = jb.Replay(capacity=8, num_envs=None, view=jb.FrameStack(jb.Transitions(), 4))
assert_type(stacked.sample(state, key).data, jb.Transition)
buffer = jb.HostReplay(replay, row)
assert_type(buffer.sample().data.reward, jax.Array)


@dataclass(frozen=True)
class Ends(jb.View[tuple[jax.Array, jax.Array]]):
    @property
    @override
    def required(self) -> int:
        return 2

    @override
    def read(self, reader: jb.Reader) -> tuple[tuple[jax.Array, jax.Array], jb.Index]:
        index = reader.index([0, 1])
        rows = reader.rows(index)
        return (rows.obs[:, 0], rows.obs[:, 1]), index


@dataclass(frozen=True)
class Counting(jb.Sampler[jax.Array]):
    @override
    def init(self, windows: jb.Windows) -> jax.Array:
        return jnp.zeros(windows.length * windows.num_streams, jnp.int32)

    @override
    def add(self, state: jax.Array, legal: jb.Legal, added: jb.Added, turnover: jb.Turnover) -> jax.Array:
        return state + 1

    @override
    def draw(self, state: jax.Array, legal: jb.Legal, key: jax.Array, batch_size: int) -> jb.Draw:
        stream = jnp.zeros(batch_size, jnp.int32)
        return jb.Draw.of(stream, legal.start(stream, stream))


own = jb.Replay(capacity=8, num_envs=None, view=Ends(), sampler=Counting())
assert_type(own.sample(state, key).data, tuple[jax.Array, jax.Array])
"""
)
WRONG = (
    HEAD
    + """
replay = jb.Replay(capacity=8, num_envs=2, view=jb.Transitions())
replay.sample(replay.init(row), key).data.rewards
replay.sample(key)
jb.Replay(capacity=8, num_envs=2, view=jb.Uniform())
jb.Replay(capacity=8)
"""
)


@pytest.fixture(scope="module")
def checked(tmp_path_factory, pytestconfig):
    """Lines that mypy prints, in its strict mode, for files of a user."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "sound.py").write_text(SOUND)
    (folder / "wrong.py").write_text(WRONG)
    cache = pytestconfig.cache.mkdir("mypy")  # what it knows of JAX
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "sound.py", "wrong.py"]
    done = subprocess.run(command, cwd=folder, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_types_of_batches_follow_from_the_view_and_own_parts_fit_in(checked):
    assert not [line for line in checked if line.startswith("sound.py")]


@pytest.mark.parametrize("said", ["rewards", "Missing positional argument", '"view"', '"num_envs"'])
def test_mistakes_are_found_before_anything_runs(checked, said):
    assert any(line.startswith("wrong.py") and said in line for line in checked), "\n".join(checked)
