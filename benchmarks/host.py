"""HostReplay from a Python loop, against Stable-Baselines3 and cpprb on the same rows of numbers."""

import warnings
from collections.abc import Callable, Iterator

import cpprb
import gymnasium as gym
import jax
import numpy as np

import jaxbuffers as jb
from benchmarks.compiled import compiled
from benchmarks.timing import Result, race

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from stable_baselines3.common.buffers import ReplayBuffer

CAPACITY, OBS, ACTION, BATCH = 2**20, 17, 6, 256
ROW = {
    "obs": np.ones(OBS, np.float32),
    "act": np.ones(ACTION, np.float32),
    "rew": np.float32(1),
    "next_obs": np.ones(OBS, np.float32),
    "done": np.float32(0),
}


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one."""
    yield lambda: _insert("cpprb (C++)")
    yield lambda: _insert("Stable-Baselines3")
    yield lambda: _sample("cpprb (C++)", goal=1.0)
    yield lambda: _sample("Stable-Baselines3")


def _ours() -> jb.HostReplay:
    """A full buffer of transitions in two columns, as the peers keep them."""
    replay = jb.Replay(CAPACITY, None, BATCH, jb.Items())
    fields = {name: jax.ShapeDtypeStruct(np.shape(x), np.float32) for name, x in ROW.items()}
    state, key = jax.eval_shape(lambda: (replay.init(fields), jax.random.key(0)))
    compiled("jaxbuffers", jax.jit(replay.add, donate_argnums=0), state, fields, least=CAPACITY)
    compiled("jaxbuffers", jax.jit(replay.sample), state, key, least=CAPACITY)
    buffer = jb.HostReplay(replay, fields)
    block = {name: np.broadcast_to(x, (2**16, *np.shape(x))) for name, x in ROW.items()}
    for _ in range(CAPACITY // 2**16 + 1):
        buffer.add(block)
    assert len(buffer) == CAPACITY
    return buffer


def _theirs(peer: str) -> tuple[Callable, Callable]:
    """Return a peer's insert and sample."""
    if peer.startswith("cpprb"):
        buffer = cpprb.ReplayBuffer(
            CAPACITY, {k: {"shape": np.shape(x) or 1, "dtype": np.float32} for k, x in ROW.items()}
        )
        for _ in range(CAPACITY // 2**16 + 1):
            buffer.add(**{name: np.broadcast_to(x, (2**16, *np.shape(x))) for name, x in ROW.items()})
        assert buffer.get_stored_size() == CAPACITY
        return lambda: buffer.add(**ROW), lambda: buffer.sample(BATCH)
    space = gym.spaces.Box(-1, 1, (OBS,), np.float32), gym.spaces.Box(-1, 1, (ACTION,), np.float32)
    other = ReplayBuffer(CAPACITY, *space, device="cpu", handle_timeout_termination=False)
    for column in (other.observations, other.next_observations, other.actions, other.rewards, other.dones):
        column[:] = 1  # memory that was never written is not memory yet: reading it is too fast
    other.full = True
    one = {name: np.asarray(x)[None] for name, x in ROW.items()}

    def insert() -> None:
        other.add(one["obs"], one["next_obs"], one["act"], one["rew"], one["done"], [{}])

    return insert, lambda: other.sample(BATCH)


def _insert(peer: str) -> Result:
    buffer = _ours()

    def ours() -> None:
        buffer.insert(**ROW)
        jax.block_until_ready(buffer._state)

    return race(f"insert one row from Python, {CAPACITY:,} rows", ours, peer, _theirs(peer)[0], rounds=2001)


def _sample(peer: str, goal: float | None = None) -> Result:
    buffer = _ours()

    def ours() -> None:
        jax.block_until_ready(buffer.sample().batch)

    name = f"sample {BATCH} rows from Python, {CAPACITY:,} rows"
    return race(name, ours, peer, _theirs(peer)[1], rounds=2001, goal=goal)
