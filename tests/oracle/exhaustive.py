"""Run every layout of episodes through a replay at once, and compare every legal window with the oracle's.

For a ring of up to 6 rows, one compiled program runs every case: it adds rows block by block, up to 3 laps,
and after each block reads every legal window through the public `sample`, with a sampler that points at each
window once. Layouts of episodes are all patterns of flags for the shortest streams, all patterns of
``is_first`` for those of up to 9 rows and pseudo-random ones beyond.
"""

import functools
import itertools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from tier import budget

import jaxbuffers as jb
from jaxbuffers.windows.queue import QueueState
from oracle.arrays import leaves_of, row_at, windows_to_arrays
from oracle.every import Every
from oracle.quick import each_of
from oracle.rows import small_row
from oracle.wrapped import WrappedOracle, core_of, like_of, slots_of

LAPS = 3
CASES = budget(96, 192)


@dataclass(frozen=True)
class Config:
    """One program: T rows of E streams, N rows an add, and whether the clock is about to wrap."""

    length: int
    view: jb.View
    num_envs: int | None
    block: int
    wraps: bool

    def __str__(self) -> str:
        return f"T={self.length}-E={self.num_envs}-N={self.block}-{'wraps-' * self.wraps}{self.view}"


ROW = small_row(note=np.int8(0))


@functools.cache
def layouts(length):
    """Flags of M streams of 3 laps: bool ``[M, 3T]`` for is_first and is_last."""
    rows = LAPS * length
    rng = np.random.default_rng(length)
    if length == 1:
        flags = np.array(list(itertools.product((False, True), repeat=2 * rows)))
        return flags[:, :rows], flags[:, rows:]
    if rows <= 9:
        first = np.array(list(itertools.product((False, True), repeat=rows)))
    else:
        first = rng.random((CASES, rows)) < rng.choice([0.1, 0.3, 0.6], (CASES, 1))
    # In turn: no is_last at all, is_last before each is_first, at random (abandoned episodes, is_first forgotten).
    none, before = np.zeros_like(first), np.pad(first[:, 1:], [(0, 0), (0, 1)])
    kind = (np.arange(len(first)) % 3)[:, None]
    last = np.where(kind == 0, none, np.where(kind == 1, before, rng.random(first.shape) < 0.3))
    return first, last


@functools.cache
def bank(length):
    """Rows of every layout, leaves ``[M, 3T, ...]``; each row can be told from every other."""
    first, last = layouts(length)
    rng = np.random.default_rng(length + 10)
    number = np.arange(1, first.size + 1, dtype=np.int32).reshape(first.shape)
    return leaves_of(
        jb.Row(
            obs=np.stack([number, -number], axis=-1),
            action=number + np.int32(1_000_000),
            reward=rng.integers(-8, 8, first.shape).astype(np.float32) / 4,  # exact in float32 with gamma = 1/2
            is_first=first,
            is_last=last,
            is_terminal=(last | np.pad(first[:, 1:], [(0, 0), (0, 1)])) & (rng.random(first.shape) < 0.5),
            extras={"note": (number % 127).astype(np.int8)},
        )
    )


@functools.cache
def expected(length, view):
    """What the oracle gives for each layout after each number of rows.

    Counts of legal windows ``[M, 3T + 1]``, when they begin ``[M, 3T + 1, T]``, then their times
    ``[M, 3T + 1, T, K]`` and leaves.
    """
    rows = bank(length)
    padded, counts = [], []
    for layout in range(len(rows["reward"])):
        oracle = WrappedOracle(view, length)
        for time in range(-1, LAPS * length):
            if time >= 0:
                oracle.append(0, row_at(rows, layout, time))
            windows = oracle.windows(view)
            counts.append(len(windows))
            padded += [*windows, *[None] * (length - len(windows))]
    slots = slots_of(view)
    times, leaves = windows_to_arrays(padded, slots, like_of(view, leaves_of(ROW)))
    lead = (-1, LAPS * length + 1, length)
    leaves = {path: leaf.reshape(*lead, *leaf.shape[1:]) for path, leaf in leaves.items()}
    starts = np.array([-1 if window is None else window.start for window in padded])
    return np.reshape(counts, lead[:2]), starts.reshape(lead), times.reshape(*lead, slots), leaves


def cases(config):
    """Blocks of rows ``[C, S, N, E]``, their mask, and, of each stream, its layout and rows ``[C, S, E]`` by then."""
    rng = np.random.default_rng(7)
    rows = bank(config.length)
    streams, total = config.num_envs or 1, LAPS * config.length
    num = len(rows["reward"])
    layout = np.stack([np.arange(num), *(rng.permutation(num) for _ in range(streams - 1))], axis=1)
    masked = config.num_envs is not None
    steps = -(-total // config.block) + masked * (total // config.block // 2 + 2)
    mask = np.ones((num, steps * config.block, streams), bool)
    if masked:
        mask = rng.random(mask.shape) < 0.75
        mask[:, : config.block] &= rng.random((num, 1, 1)) < 0.5  # often nothing at all at first
    mask &= mask.cumsum(axis=1) <= total
    written = mask.cumsum(axis=1)
    # Where the mask is False the rows are of another layout: reading one of them would show.
    which = np.where(mask, layout[:, None], (layout[:, None] + 1) % num)
    blocks = {path: leaf[which, np.maximum(written - 1, 0)] for path, leaf in rows.items()}
    shape = (num, steps, config.block, streams)
    blocks = {path: leaf.reshape(*shape, *leaf.shape[3:]) for path, leaf in blocks.items()}
    blocks = jax.tree.unflatten(jax.tree.structure(ROW), [blocks[path] for path in leaves_of(ROW)])
    return blocks, mask.reshape(shape), layout, written.reshape(shape)[:, :, -1]


def near_the_wrap(replay, state):
    """The same empty state, a few rows before its counters start again at 0."""
    cycle = 2**30 // replay.length * replay.length

    def late(queue):
        almost = jnp.full_like(queue.made, cycle - 2)
        return replace(queue, made=almost, gone=almost)

    windows = jax.tree.map(late, state.windows, is_leaf=lambda x: isinstance(x, QueueState))
    return replace(
        state, ring=replace(state.ring, time=jnp.full_like(state.ring.time, cycle - 3)), windows=windows
    ), cycle


def program(config):
    """Run blocks ``[C, S, N, E]`` through the replay; return all windows, and where they begin, after each block."""
    streams = config.num_envs or 1
    replay = jb.Replay(
        config.length * streams, config.num_envs, config.length * streams, config.view, Every(), layout="flat"
    )

    def step(state, block):
        rows, mask = block
        if config.num_envs is None:
            rows, mask = jax.tree.map(lambda x: x[:, 0], rows), mask[:, 0]
        if config.block == 1:
            rows, mask = jax.tree.map(lambda x: x[0], rows), mask[0]
        state = replay.add(state, rows, None if config.num_envs is None else mask)
        batch = replay.sample(state, jax.random.key(0))
        anchor = config.view.anchor(replay.legal(state), batch.index)
        return state, (batch, anchor, replay.size(state), replay.can_sample(state))

    def run(blocks, mask):
        state = replay.init(ROW)
        if config.wraps:
            state, _ = near_the_wrap(replay, state)
        return jax.lax.scan(step, state, (blocks, mask))[1]

    return each_of(run)


def compare(config):
    """Assert that the windows are exactly the legal ones, hold what the oracle says and tell where they begin."""
    blocks, mask, layout, written = cases(config)
    counts, starts, want_times, want_leaves = expected(config.length, config.view)
    assert ((want_times >= 0).any(axis=3) == (starts >= 0)).all()  # every legal window shows a row
    if config.wraps:
        cycle = 2**30 // config.length * config.length
        starts, want_times = (np.where(x < 0, -1, (x + cycle - 3) % cycle) for x in (starts, want_times))
    batch, anchor, size, can_sample = jax.tree.map(np.asarray, program(config)(blocks, mask))

    lead = (*written.shape, config.length)

    def shaped(x):
        """``[C, S, E * T, (K,) ...]`` to ``[C, S, E, T, K, ...]``."""
        core = core_of(config.view)
        if isinstance(core, jb.Sequences):
            x = np.moveaxis(x, 2, 3) if core.time_major else x
        elif not isinstance(core, jb.Episodes):
            x = x[:, :, :, None]
        return x.reshape(*lead, *x.shape[3:])

    want_times = want_times[layout[:, None], written]
    np.testing.assert_array_equal(shaped(batch.index.time), want_times)
    np.testing.assert_array_equal(shaped(batch.mask), want_times >= 0)
    own = np.arange(lead[2])[:, None, None]
    np.testing.assert_array_equal(shaped(batch.index.stream), np.broadcast_to(own, want_times.shape))
    np.testing.assert_array_equal(anchor.time.reshape(lead), starts[layout[:, None], written])
    np.testing.assert_array_equal(anchor.stream.reshape(lead), np.broadcast_to(own[..., 0], lead))
    data = batch.data
    if isinstance(data, jb.Episode):
        np.testing.assert_array_equal(data.length, batch.mask.sum(axis=3))
        data = data.rows
    data = leaves_of(data)
    assert data.keys() == want_leaves.keys()
    for path, want in want_leaves.items():
        assert data[path].dtype == want.dtype
        np.testing.assert_array_equal(shaped(data[path]), want[layout[:, None], written], err_msg=path)

    np.testing.assert_array_equal(size, np.minimum(written, config.length).sum(axis=2))
    legal = counts[layout[:, None], written]
    np.testing.assert_array_equal(batch.probability.reshape(lead).sum(axis=3), legal)
    np.testing.assert_array_equal(can_sample, legal.sum(axis=2) > 0)
