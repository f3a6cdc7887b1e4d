"""A user's file, for a type checker alone: fields of batches are known, own parts fit in, and mistakes are found.

`make check` runs mypy over it. A mistake that mypy no longer finds leaves a ``type: ignore`` unused, which is an error.
"""

from dataclasses import dataclass
from typing import assert_type

import jax
import jax.numpy as jnp
from typing_extensions import override

import jaxbuffers as jb


@dataclass(frozen=True)
class Ends(jb.View[tuple[jax.Array, jax.Array]]):
    """The first and the last observation of two rows."""

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
    """Counts adds for each window."""

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


def sound(row: jb.Row, key: jax.Array) -> None:
    """What is read follows from the view."""
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
    own = jb.Replay(capacity=8, num_envs=None, view=Ends(), sampler=Counting())
    assert_type(own.sample(state, key).data, tuple[jax.Array, jax.Array])


def mistakes(row: jb.Row, key: jax.Array) -> None:
    """Each is found before anything runs."""
    replay = jb.Replay(capacity=8, num_envs=2, view=jb.Transitions())
    _ = replay.sample(replay.init(row), key).data.rewards  # type: ignore[attr-defined]
    replay.sample(key)  # type: ignore[call-arg, arg-type]
    jb.Replay(capacity=8, num_envs=2, view=jb.Uniform())  # type: ignore[arg-type]
    jb.Replay(capacity=8)  # type: ignore[call-arg]
