"""HostReplay from a Python loop, against buffers that live in NumPy, C++ and PyTorch, on the same rows."""

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxbuffers as jb
from benchmarks import same
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.same import ENV, STEP
from benchmarks.sides.rows import ACTION, OBS, PAIRS

IMAGE, BLOCK = (64, 64, 3), 2**12  # rows added at a time, to fill
COLUMNS = ("obs", "act", "rew", "next_obs", "done")


class Buffer(NamedTuple):
    """What is asked of each buffer.

    Attributes:
      add: takes rows ``{name: [N, ...]}``.
      sample: returns a batch, of whatever kind.
      read: what a learner takes of a batch, ``{name: [B, ...]}``: arrays of NumPy, or of JAX where they are already.
      wait: returns when all that was added is where samples come from.
    """

    add: Callable[[dict[str, np.ndarray]], Any]
    sample: Callable[[], Any]
    read: Callable[[Any], dict[str, Any]]
    wait: Callable[[], Any] = lambda: None


def numbered(first: int, count: int, image: bool) -> dict[str, np.ndarray]:
    """Transitions of one environment that say which they are, as rows of `benchmarks.sides.rows` do."""
    step = np.arange(first, first + count)
    number = (step * STEP).astype(np.float32)
    value = np.float32(step * 0.618034 % 1)
    action = np.repeat(value[:, None], ACTION, 1)
    action[:, 0] = number
    reward, done = number + np.float32(STEP), (step % 200 == 98).astype(np.float32)
    if image:
        return {"obs": _images(step), "act": action, "rew": reward, "next_obs": _images(step + 1), "done": done}
    obs = np.repeat(value[:, None], OBS, 1)
    obs[:, 0], obs[:, 1] = number, ENV
    following = obs.copy()
    following[:, 0] += np.float32(STEP)
    return {"obs": obs, "act": action, "rew": reward, "next_obs": following, "done": done}


def _images(step: np.ndarray) -> np.ndarray:
    images = np.broadcast_to((step % 256).astype(np.uint8)[:, None, None, None], (len(step), *IMAGE)).copy()
    images[:, 0, 0, 0], images[:, 0, 0, 1] = step % 251, step // 251
    return images


def insert(peer: str, capacity: int, together: int, calls: int) -> Contest:
    """Insert rows from Python, ``together`` in a call, until they are where samples come from."""

    def side(make: Callable[..., Buffer]) -> Side:
        buffer = _full(make(capacity, numbered(0, 1, False)), capacity, False)
        shown = _draws(buffer)  # before the rows are added that are timed
        row = {name: np.ascontiguousarray(x) for name, x in numbered(capacity, together, False).items()}

        def run() -> None:
            for _ in range(calls):
                buffer.add(row)
            buffer.wait()

        return Side(run, shown)

    return Contest(partial(side, partial(inserting, envs=together)), partial(side, PEERS[peer]),
                   partial(_same, capacity), calls * together)  # fmt: skip


def sample(peer: str, capacity: int, image: bool) -> Contest:
    """Sample 256 rows from Python."""

    def side(make: Callable[..., Buffer]) -> Side:
        buffer = _full(make(capacity, numbered(0, 1, image)), capacity, image)
        return Side(buffer.sample, _draws(buffer))

    return Contest(partial(side, ours), partial(side, PEERS[peer]), partial(_same, capacity))


def _full(buffer: Buffer, capacity: int, image: bool) -> Buffer:
    block = BLOCK if not image else 256
    for first in range(0, capacity, block):
        buffer.add(numbered(first, min(block, capacity - first), image))
    buffer.wait()
    return buffer


def _draws(buffer: Buffer) -> dict[str, np.ndarray]:
    read = [buffer.read(buffer.sample()) for _ in range(8)]
    return {name: np.concatenate([np.asarray(each[name]).reshape(PAIRS, *np.shape(each[name])[1:])
                                  for each in read]) for name in COLUMNS}  # fmt: skip


def _same(capacity: int, mine: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """Each sampled row is one that was inserted, in all of its columns."""
    for side, found in (("jaxbuffers", mine), ("the peer", other)):
        step = same.step_of(found["act"][:, 0])
        same.require((step >= 0) & (step < capacity), side, "rows that were never inserted")
        expected = [numbered(int(each), 1, found["obs"].ndim > 2) for each in step]
        for name in COLUMNS:
            wanted = np.concatenate([each[name] for each in expected])
            same.require(found[name].reshape(wanted.shape) == wanted, side, f"{name} of other rows")


def ours(capacity: int, columns: dict[str, np.ndarray], batch: int = PAIRS, envs: int | None = None) -> Buffer:
    """Transitions in two columns, as the peers keep them."""
    fields = {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in columns.items()}
    replay = jb.Replay(capacity, envs, batch, jb.Items())
    _search(replay, tuple(fields.items()))
    buffer = jb.HostReplay(replay, fields)

    def sample() -> Any:
        return jax.block_until_ready(buffer.sample().batch)

    return Buffer(
        buffer.add, sample, lambda batch: batch.data, lambda: jax.block_until_ready(buffer.sample(1).batch.valid)
    )


@cache
def _search(replay: jb.Replay, fields: tuple[tuple[str, jax.ShapeDtypeStruct], ...]) -> None:
    """Search our programs, once: a training run that is timed makes its own buffer, and compiling takes a second."""
    row, lead = dict(fields), () if replay.num_envs is None else (replay.num_envs,)
    rows = {name: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype) for name, x in fields}
    state, key = jax.eval_shape(lambda: (replay.init(row), jax.random.key(0)))
    drawn = jax.eval_shape(replay.sample, state, key)
    compiled("jaxbuffers", jax.jit(replay.add, donate_argnums=0), state, rows, least=replay.capacity)
    compiled("jaxbuffers", jax.jit(replay.sample), state, key, least=replay.capacity, batch=drawn)


def inserting(capacity: int, columns: dict[str, np.ndarray], batch: int = PAIRS, envs: int = 1) -> Buffer:
    """Ours, where each call inserts one row of each environment by keyword."""
    made = ours(capacity, columns, batch, envs if envs > 1 else None)
    host = made.add.__self__  # type: ignore[attr-defined]

    def add(rows: dict[str, np.ndarray]) -> None:
        if len(rows["rew"]) > envs:
            lead = (-1,) if envs == 1 else (-1, envs)
            made.add({name: x.reshape(*lead, *x.shape[1:]) for name, x in rows.items()})
        else:
            host.insert(**{name: x if envs > 1 else x[0] for name, x in rows.items()})

    return made._replace(add=add)


def _cpprb(capacity: int, columns: dict[str, np.ndarray], batch: int = PAIRS) -> Buffer:
    import cpprb

    kinds = {name: {"shape": x.shape[1:] or 1, "dtype": x.dtype} for name, x in columns.items()}
    buffer = cpprb.ReplayBuffer(capacity, kinds)
    return Buffer(lambda rows: buffer.add(**rows), lambda: buffer.sample(batch), dict)


def _sb3(capacity: int, columns: dict[str, np.ndarray], batch: int = PAIRS) -> Buffer:
    import gymnasium as gym

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from stable_baselines3.common.buffers import ReplayBuffer

    obs, action = (gym.spaces.Box(0, 1, columns[name].shape[1:], columns[name].dtype.type) for name in ("obs", "act"))
    buffer = ReplayBuffer(capacity, obs, action, device="cpu", handle_timeout_termination=False)
    held = buffer.observations, buffer.actions, buffer.rewards, buffer.next_observations, buffer.dones

    def add(rows: dict[str, np.ndarray]) -> None:
        if len(rows["rew"]) == 1:
            buffer.add(rows["obs"], rows["next_obs"], rows["act"], rows["rew"], rows["done"], [{}])
            return
        at = slice(buffer.pos, buffer.pos + len(rows["rew"]))  # only to fill it: it takes one row a call
        for name, column in zip(COLUMNS, held, strict=True):
            column[at, 0] = rows[name]
        buffer.pos, buffer.full = at.stop % capacity, buffer.full or at.stop >= capacity

    def read(drawn: Any) -> dict[str, np.ndarray]:
        parts = drawn.observations, drawn.actions, drawn.rewards, drawn.next_observations, drawn.dones
        return {name: part.numpy() for name, part in zip(COLUMNS, parts, strict=True)}

    return Buffer(add, lambda: buffer.sample(batch), read)


def _torchrl(capacity: int, columns: dict[str, np.ndarray], batch: int = PAIRS) -> Buffer:
    import torch
    from tensordict import TensorDict
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(capacity), batch_size=batch)

    def add(rows: dict[str, np.ndarray]) -> None:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in rows.items()}
        buffer.extend(TensorDict(tensors, [len(rows["rew"])]))

    return Buffer(add, buffer.sample, lambda drawn: {name: drawn[name].numpy() for name in COLUMNS})


PEERS = {"cpprb": _cpprb, "Stable-Baselines3": _sb3, "torchrl": _torchrl}
