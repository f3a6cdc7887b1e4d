"""HostReplay from a Python loop, against buffers that live in NumPy, C++ and PyTorch, on the same rows."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxbuffers as jb
from benchmarks import same
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.same import ENV, STEP
from benchmarks.sides.rows import ACTION, OBS, PAIRS
from jaxbuffers.host.staged_layout import Arrays
from jaxbuffers.host.verbs import Drawing

IMAGE, BLOCK = (64, 64, 3), 2**12  # rows added at a time, to fill
FEW = 2**14  # rows that are inserted, to be read back
COLUMNS = ("obs", "act", "rew", "next_obs", "done")


class Buffer(NamedTuple):
    """What is asked of each buffer.

    Attributes:
      add: takes rows ``{name: [N, ...]}``.
      sample: returns a batch, of whatever kind.
      read: what a learner takes of a batch, ``{name: [B, ...]}``: arrays of NumPy, or of JAX where they are already.
      wait: returns when all that was added is where samples come from.
      ready: returns a batch when it is there; those of NumPy are.
    """

    add: Callable[[dict[str, np.ndarray]], Any]
    sample: Callable[[], Any]
    read: Callable[[Any], dict[str, Any]]
    wait: Callable[[], Any] = lambda: None
    ready: Callable[[Any], Any] = lambda batch: batch


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
        few = make(FEW, numbered(0, 1, False))
        for first in range(0, FEW, together):  # by the calls that are timed, which need not be those that fill a buffer
            few.add(numbered(first, together, False))
        few.wait()
        shown = _draws(buffer), _draws(few)
        row = {name: np.ascontiguousarray(x) for name, x in numbered(capacity, together, False).items()}

        def run() -> None:
            for _ in range(calls):
                buffer.add(row)
            buffer.wait()

        return Side(run, shown)

    def same(mine: tuple, other: tuple) -> None:
        for size, *found in zip((capacity, FEW), mine, other, strict=True):
            _same(size, *found)

    return Contest(partial(side, partial(inserting, envs=together)), partial(side, PEERS[peer]), same,
                   calls * together)  # fmt: skip


def sample(peer: str, capacity: int, image: bool) -> Contest:
    """Sample 256 rows from Python."""

    def side(make: Callable[..., Buffer]) -> Side:
        buffer = _full(make(capacity, numbered(0, 1, image)), capacity, image)
        return Side(lambda: buffer.ready(buffer.sample()), _draws(buffer))

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
        same.alike(side, np.histogram(step, np.linspace(0, capacity, 17))[0], np.ones(16), "the ages of the rows")
        expected = [numbered(int(each), 1, found["obs"].ndim > 2) for each in step]
        for name in COLUMNS:
            wanted = np.concatenate([each[name] for each in expected])
            same.require(found[name].reshape(wanted.shape) == wanted, side, f"{name} of other rows")


def ours(
    capacity: int, columns: dict[str, np.ndarray], batch: int = PAIRS, envs: int | None = None, search: bool = True
) -> Buffer:
    """Transitions in two columns, as the peers keep them; ``search`` compiles the buffer's programs to search them."""
    fields = {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in columns.items()}
    replay = jb.Replay(capacity, envs, batch, jb.Items())
    buffer = jb.HostReplay(replay, fields)
    if search:
        _search(replay, buffer, fields)

    return Buffer(
        add=buffer.add,
        sample=lambda: buffer.sample().batch,
        read=lambda batch: batch.data,
        wait=lambda: jax.block_until_ready(buffer.sample(1).batch.valid),
        ready=jax.block_until_ready,
    )


def _search(replay: jb.Replay, buffer: jb.HostReplay, fields: dict[str, jax.ShapeDtypeStruct]) -> None:
    """Search the programs that a buffer runs: those that add rows that waited, those that sample, and do both."""
    verbs, block, key = buffer._verbs, buffer._staging._block.arrays, buffer._key
    state = jax.eval_shape(lambda: replay.init(fields))
    ring = max(leaf.size for leaf in jax.tree.leaves(state.ring))
    compiled("jaxbuffers", verbs.add_staged(False), state, Arrays(*block), least=ring, held=state)
    drawing = Drawing(replay.batch_size, impl=key.impl, small=True)
    sample, both = verbs.sample(drawing), verbs.add_and_sample(False, drawing)
    drawn, one = jax.eval_shape(sample, state, key.words), jax.tree.map(lambda rows: rows[:1], Arrays(*block))
    compiled("jaxbuffers", sample, state, key.words, least=ring, batch=drawn, held=state)
    compiled("jaxbuffers", both, key.words, state, one, least=ring, batch=drawn, held=state)


def inserting(
    capacity: int, columns: dict[str, np.ndarray], batch: int = PAIRS, envs: int = 1, search: bool = True
) -> Buffer:
    """Ours, where each call inserts one row of each environment by keyword."""
    made = ours(capacity, columns, batch, envs if envs > 1 else None, search)
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
