"""Exhaustive small cases: after every add, up to 3 laps, the replay holds what the oracle says, bit for bit.

For each ring length up to 6 and each view, one compiled program runs every case at once: it adds rows block
by block and, after each block, reads every legal window through the public `sample`, with a sampler that
points at each window once. Layouts of episodes are all patterns of flags for the shortest streams, all
patterns of ``is_first`` for those of up to 9 rows and pseudo-random ones beyond.
"""

import functools
import itertools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, OracleReplay, leaves_of, quick_jit, row_at, small_row, windows_to_arrays

import jaxbuffers as jb

LAPS = 3
CASES = 192


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


def views(length):
    """All kinds of views of a ring of ``length`` rows: every window length in every mode, options in rotation."""
    yield jb.Items()
    for n_step in sorted({1, 2, length - 1}):
        if 1 <= n_step < length:
            yield jb.Transitions(n_step, gamma=0.5)
    turn = itertools.count(length)
    for window, episodes in itertools.product(range(1, length + 1), ("cross", "within", "pad")):
        i = next(turn)
        previous = i % 2 == 0 and window < length
        spare = length - window - previous
        yield jb.Sequences(
            window,
            episodes,
            burn_in=min(i // 2 % 3, spare),
            period=(1, 2, 3, 1)[i // 3 % 4],
            actions="previous" if previous else "taken",
            time_major=i % 5 == 0,
        )
    if length == 6:
        yield from (jb.Sequences(2, episodes) for episodes in ("cross", "within", "pad"))


def configs():
    """Rotate streams, rows an add and the clock over the views."""
    turn = itertools.count()
    for length in range(1, 7):
        for view in views(length):
            i = next(turn)
            num_envs, block = ((2, 1), (None, 1), (2, length), (1, 2), (2, 2))[i % 5]
            yield Config(length, view, num_envs, min(block, length), wraps=i % 3 == 0)


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

    Counts of legal windows ``[M, 3T + 1]``, then the windows' times ``[M, 3T + 1, T, K]`` and leaves.
    """
    rows = bank(length)
    padded, counts = [], []
    for layout in range(len(rows["reward"])):
        oracle = OracleReplay(length)
        for time in range(-1, LAPS * length):
            if time >= 0:
                oracle.append(0, row_at(rows, layout, time))
            windows = oracle.windows(view)
            counts.append(len(windows))
            padded += [*windows, *[None] * (length - len(windows))]
    like = leaves_of(ROW)
    if isinstance(view, jb.Transitions):
        like = {k: v for k, v in like.items() if not k.startswith("is_")}
        like |= {"next_obs": like["obs"], "discount": np.float32(0)}
    slots = view.burn_in + view.length if isinstance(view, jb.Sequences) else 1
    times, leaves = windows_to_arrays(padded, slots, like)
    lead = (-1, LAPS * length + 1, length)
    leaves = {path: leaf.reshape(*lead, *leaf.shape[1:]) for path, leaf in leaves.items()}
    return np.reshape(counts, lead[:2]), times.reshape(*lead, slots), leaves


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
    state = replace(state, ring=replace(state.ring, time=jnp.full_like(state.ring.time, cycle - 3)))
    if state.queue is not None:
        almost = jnp.full_like(state.queue.made, cycle - 2)
        state = replace(state, queue=replace(state.queue, made=almost, gone=almost))
    return state, cycle


def program(config):
    """Run blocks ``[C, S, N, E]`` through the replay; return the `Batch` of all windows after each block."""
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
        return state, (replay.sample(state, jax.random.key(0)), replay.size(state), replay.can_sample(state))

    def run(blocks, mask):
        state = replay.init(ROW)
        if config.wraps:
            state, _ = near_the_wrap(replay, state)
        return jax.lax.scan(step, state, (blocks, mask))[1]

    return quick_jit(jax.vmap(run))


@pytest.mark.parametrize("config", [*configs()], ids=str)
def test_the_windows_are_exactly_the_legal_ones_and_hold_exactly_the_rows_stored(config):
    blocks, mask, layout, written = cases(config)
    counts, want_times, want_leaves = expected(config.length, config.view)
    if config.wraps:
        cycle = 2**30 // config.length * config.length
        want_times = np.where(want_times < 0, -1, (want_times + cycle - 3) % cycle)
    batch, size, can_sample = jax.tree.map(np.asarray, program(config)(blocks, mask))

    lead = (*written.shape, config.length)

    def shaped(x):
        """``[C, S, E * T, (K,) ...]`` to ``[C, S, E, T, K, ...]``."""
        if isinstance(config.view, jb.Sequences):
            x = np.moveaxis(x, 2, 3) if config.view.time_major else x
        else:
            x = x[:, :, :, None]
        return x.reshape(*lead, *x.shape[3:])

    want_times = want_times[layout[:, None], written]
    np.testing.assert_array_equal(shaped(batch.index.time), want_times)
    np.testing.assert_array_equal(shaped(batch.mask), want_times >= 0)
    own = np.arange(lead[2])[:, None, None]
    np.testing.assert_array_equal(shaped(batch.index.stream), np.broadcast_to(own, want_times.shape))
    data = leaves_of(batch.data)
    assert data.keys() == want_leaves.keys()
    for path, want in want_leaves.items():
        assert data[path].dtype == want.dtype
        np.testing.assert_array_equal(shaped(data[path]), want[layout[:, None], written], err_msg=path)

    np.testing.assert_array_equal(size, np.minimum(written, config.length).sum(axis=2))
    # Which of the windows are real is told by the oracle's own count, not by their times: a window may be all mask.
    legal = counts[layout[:, None], written]
    np.testing.assert_array_equal(batch.probability.reshape(lead).sum(axis=3), legal)
    np.testing.assert_array_equal(can_sample, legal.sum(axis=2) > 0)
