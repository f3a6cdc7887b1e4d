"""Random lives of a replay: rows that come, windows that are used, values written back; and what is legal then.

A life is made once for a view and goes for every sampler: which windows are legal does not depend on it. Nothing of
the library decides anything here.
"""

import functools
from dataclasses import dataclass, field

import jax
import numpy as np

import jaxbuffers as jb
from oracle.arrays import leaves_of, row_at
from oracle.replay import OracleReplay
from oracle.rows import small_row
from oracle.wrapped import core_of, slots_of, stacks_of

GROUPS = 3  # stored numbers go from -1 to 3: both ends are no groups
BAD = np.array([np.nan, np.inf, -np.inf, -1, -1e-6, 0, -0.0, 1e-30, 3e37], np.float32)


@dataclass(frozen=True)
class Place:
    """A legal window.

    Attributes:
      window: its stream and the time of its first required row.
      age: how many rows came after that one.
      rank: how many legal windows of its stream are older.
      count: how many legal windows its stream has.
      episode: the time of the first row of the episode in which it begins.
      group: the stored number of its first required row.
    """

    window: tuple[int, int]
    age: int
    rank: int
    count: int
    episode: int
    group: int


@dataclass
class Step:
    """What happens between two looks at a replay: rows are added, then a batch is used.

    Attributes:
      completed: windows that the rows completed and that are still legal, in the order of completion.
      added: the legal windows after that.
      used: the batch's windows; None for one without a row.
      priority: one for each.
      rewritten: the rows that got a new number, those that were gone left out.
      legal: the legal windows at the end.
    """

    completed: list[tuple[int, int]]
    added: list[Place]
    used: list[tuple[int, int] | None]
    priority: np.ndarray
    rewritten: set[tuple[int, int]] = field(default_factory=set)
    legal: list[Place] = field(default_factory=list)


def places(oracle, view):
    """Every legal window, stream by stream, oldest first."""
    windows = [(window.stream, window.start) for window in oracle.windows(view)]
    counts = [sum(stream == e for stream, _ in windows) for e in range(len(oracle.history))]
    first = np.cumsum([0, *counts])
    return [
        Place(
            (stream, start),
            len(oracle.history[stream]) - 1 - start,
            i - int(first[stream]),
            counts[stream],
            oracle.episode_start(stream, start),
            int(oracle.history[stream][start]["extras.group"]),
        )
        for i, (stream, start) in enumerate(windows)
    ]


def grow(oracle, view, rows, mask):
    """Add rows ``[N][E]``; return the windows that they completed and that are still legal, in order of completion."""
    before, completed = {(w.stream, w.start) for w in oracle.windows(view)}, []
    for row, writes in zip(rows, mask, strict=True):
        oracle.add([row], [writes])
        now = [(w.stream, w.start) for w in oracle.windows(view)]
        completed += [window for window in now if window not in before]
        before = {*before, *now}
    legal = {(w.stream, w.start) for w in oracle.windows(view)}
    return [window for window in completed if window in legal]


KINDS = ("mixed", "one-step episodes", "one endless episode", "streams of all ages", "exactly full", "empty")


def inputs(kind, length, streams, block, steps, seed):
    """Rows ``[S, N, E]`` and their mask."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    shape = (steps, block, streams)
    first, last, terminal = rng.random((3, *shape)) < (0.0 if kind == "one endless episode" else 0.25)
    mask = rng.random(shape) < 0.7
    if kind == "one-step episodes":
        first, mask = np.ones(shape, bool), mask | (rng.random(shape) < 0.8)
    elif kind == "streams of all ages":
        mask = rng.random(shape) < np.linspace(0, 1, streams) ** 2
    elif kind == "exactly full":
        mask = (np.arange(steps * block) < length).reshape(steps, block, 1) & np.ones(streams, bool)
    elif kind == "empty":
        mask = np.zeros(shape, bool)
    first = first | (np.cumsum(mask.reshape(-1, streams), axis=0) <= 1).reshape(shape)
    number = np.arange(1, np.prod(shape) + 1, dtype=np.int32).reshape(shape)
    group = rng.choice(np.arange(-1, GROUPS + 1, dtype=np.int32), shape, p=[0.05, 0.5, 0.3, 0.1, 0.05])
    obs = np.stack([number, -number], axis=-1)
    rows = jb.Row(obs, 1000 + number, number.astype(np.float32), first, last, last & terminal, {"group": group})
    return rows, mask


@dataclass
class Life:
    """A life: arrays for the replay, and steps for whoever follows it.

    Attributes:
      rows: leaves ``[S, N, E, ...]``.
      mask: bool ``[S, N, E]``.
      index: the windows used, int32 ``[S, U]``, or ``[S, U, L]`` for sequences.
      priority: float32 ``[S, U]``.
      group: int32, new numbers for the rows of ``index``.
      steps: the same in plain Python, and what is legal.
    """

    rows: jb.Row
    mask: np.ndarray
    index: jb.Index
    priority: np.ndarray
    group: np.ndarray
    steps: list[Step]


ROW = small_row(group=np.int32(0))


@functools.cache
def life(view, kind, length=7, streams=3, block=3, steps=14, uses=4, seed=0):
    """One random life; windows are used when they are legal, a few steps later, twice, or never."""
    rng = np.random.default_rng([seed, KINDS.index(kind), length])
    rows, mask = inputs(kind, length, streams, block, steps, seed)
    leaves, slots = leaves_of(rows), slots_of(view)
    # Stacked frames keep as many of the oldest rows from being read.
    oracle = OracleReplay(length - sum(k - 1 for k, _ in stacks_of(view)), streams)
    view, time_major = core_of(view), getattr(view, "time_major", False)
    index = np.full((2, steps, uses, slots), -1, np.int32)
    group = rng.choice(np.arange(-1, GROUPS + 1, dtype=np.int32), (steps, uses, slots), p=[0.1, 0.3, 0.3, 0.2, 0.1])
    priority = np.exp(rng.normal(0, 3, (steps, uses))).astype(np.float32)
    priority = np.where(rng.random(priority.shape) < 0.2, rng.choice(BAD, priority.shape), priority)
    followed, known = [], []
    for s in range(steps):
        block_of = [[row_at(leaves, s, n, e) for e in range(streams)] for n in range(block)]
        completed = grow(oracle, view, block_of, mask[s].tolist())
        now = Step(completed, places(oracle, view), [], priority[s])
        known = [*known[-2 * length :], *oracle.windows(view)]
        for u in range(uses):
            window = known[rng.integers(len(known))] if known and rng.random() < 0.9 else None
            if window is not None and u and rng.random() < 0.2 and now.used[-1]:
                window = next(w for w in known if (w.stream, w.start) == now.used[-1])
            if window is not None:
                index[0, s, u], index[1, s, u] = window.stream, window.times
            now.used.append(window and (window.stream, window.start))
        addresses = list(zip(*index[:, s].reshape(2, -1).tolist(), strict=True))
        oracle.update(addresses, [{"extras.group": value} for value in group[s].reshape(-1)])
        now.rewritten = {(e, t) for e, t in addresses if oracle.get(e, t) is not None}
        now.legal = places(oracle, view)
        followed.append(now)
    if not isinstance(view, jb.Sequences | jb.Episodes):
        index, group = index[..., 0], group[..., 0]
    elif time_major:
        index, group = index.swapaxes(-1, -2), group.swapaxes(-1, -2)
    return Life(rows, mask, jb.Index(*index), priority, group, followed)


def lives(view, **options):
    """One life of every kind."""
    return [life(view, kind, **options) for kind in KINDS]


def stacked(lives):
    """Their arrays, with an axis for the life in front."""
    parts = [(life.rows, life.mask, life.index, life.priority, life.group) for life in lives]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
