"""Prioritized sampling against a dict of priorities: after every add and every update, for every kind of window."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import OracleReplay, each_of, leaves_of, row_at
from oracle.priorities import OraclePriorities
from oracle.tree import sums
from tier import long_but

import jaxbuffers as jb

CASES, BATCH, LAG = 4, 5, 2


@dataclass(frozen=True)
class Config:
    """A replay of T rows of E streams, N rows an add; whether the clock wraps on the way."""

    view: jb.View
    sampler: jb.Prioritized
    length: int
    num_envs: int | None
    block: int
    wraps: bool

    @property
    def steps(self):
        """Enough to go round the ring more than twice."""
        return max(26, 5 * self.length // (2 * self.block))

    def __str__(self):
        sizes = f"T={self.length}-E={self.num_envs}-N={self.block}-alpha={self.sampler.alpha}"
        return f"{self.view}-{sizes}".replace(" ", "")


VIEWS = [
    jb.Items(),
    jb.Transitions(),
    jb.Transitions(3, gamma=0.5),
    jb.Sequences(3),
    jb.Sequences(2, period=2, time_major=True),
    jb.Sequences(2, burn_in=1, actions="previous", time_major=True),
    jb.Sequences(3, "within"),
    jb.Sequences(2, "within", burn_in=2, period=2, actions="previous", time_major=True),
    jb.Sequences(3, "pad"),
    jb.Sequences(1, "pad", actions="previous"),
    jb.Sequences(3, "pad", burn_in=1, period=2, actions="previous"),
]
SAMPLERS = [
    jb.Prioritized(),
    jb.Prioritized(alpha=1.0, eps=1e-3, initial=0.25),
    jb.Prioritized(alpha=0.5, eps=0.01, decay=0.75, stratified=False),
    jb.Prioritized(alpha=2.0, eps=1e-4, initial=0, stratified=False),
]


def configs():
    # 48 rows of two streams make a tree of two levels, of which an add or a batch changes a few nodes only.
    sizes = ((6, 2, 4), (6, 3, 6), (48, 2, 1), (7, None, 2), (5, 2, 1))
    turns = [*enumerate(VIEWS), *enumerate(VIEWS[1::2], start=len(VIEWS) + 1)]
    for i, view in turns:
        yield Config(view, SAMPLERS[i % 4], *sizes[i % 5], wraps=i % 3 == 0)


def inputs(config):
    """Blocks of rows ``[C, S, N, E]`` in episodes of all lengths, masks, and priorities ``[C, S, B]``, some bad."""
    rng = np.random.default_rng(len(str(config)))
    shape = (CASES, config.steps, config.block, config.num_envs or 1)
    number = np.arange(1, np.prod(shape) + 1, dtype=np.int32).reshape(shape)
    chance = np.array([0.05, 0.2, 0.5, 0.3]).reshape(-1, 1, 1, 1)
    flags = (rng.random((3, *shape)) < chance) & (np.arange(CASES) != 2)[:, None, None, None]
    rows = jb.Row(number, -number, number.astype(np.float32), flags[0], flags[1], flags[1] & flags[2])
    mask = rng.random(shape) < np.array([0.9, 0.6, 0.8, 0.3]).reshape(-1, 1, 1, 1)
    if config.num_envs is None:
        mask[...] = mask[:, :, :, :1]
    mask[0, :2] = False  # nothing to draw from at first
    priority = np.exp(rng.normal(0, 2, (CASES, config.steps, BATCH))).astype(np.float32)
    huge = 3e38 if config.sampler.alpha >= 1 else np.inf  # smaller powers of it are weights like any other
    bad = rng.choice(np.array([np.nan, np.inf, -np.inf, -1, -1e-6, huge, 0, -0.0], np.float32), priority.shape)
    return rows, mask, np.where(rng.random(priority.shape) < 0.25, bad, priority)


def program(config):
    """Add, sample, and send priorities for the batch drawn `LAG` steps before; return what there is to see."""
    streams = config.num_envs or 1
    replay = jb.Replay(config.length * streams, config.num_envs, BATCH, config.view, config.sampler, layout="flat")

    def step(carry, inputs):
        state, earlier = carry
        rows, mask, priority, number = inputs
        if config.num_envs is None:
            rows, mask = jax.tree.map(lambda x: x[:, 0], rows), mask[:, 0]
        state = replay.add(state, rows, mask)
        added = state.sampler
        batch = replay.sample(state, jax.random.fold_in(jax.random.key(0), number))
        state = replay.update(state, earlier[0], priority=priority)
        seen = {"added": added, "updated": state.sampler, "count": replay.count(state), "index": batch.index}
        seen |= {"probability": batch.probability, "valid": batch.valid}
        return (state, [*earlier[1:], batch.index]), seen

    def run(rows, mask, priority):
        state = replay.init(jax.tree.map(lambda x: x[0, 0, 0], rows))
        if config.wraps:
            state = replace(state, ring=replace(state.ring, time=jnp.full_like(state.ring.time, clock(config))))
        nothing = replay.sample(state, jax.random.key(0)).index
        return jax.lax.scan(step, (state, [nothing] * LAG), (rows, mask, priority, jnp.arange(config.steps)))[1]

    return each_of(run)


def clock(config):
    """The time of the very first row."""
    return 2**30 // config.length * config.length - 3 if config.wraps else 0


def windows_of(config, index):
    """The (stream, start) of each window of a batch's index, counted from the first row; None if no row is known."""
    stream, time = index.stream.astype(int), index.time.astype(int)
    view, cycle = config.view, 2**30 // config.length * config.length
    if not isinstance(view, jb.Sequences):
        stream, time = stream[:, None], time[:, None]
    elif view.time_major:
        stream, time = stream.T, time.T
    found = []
    for streams, times in zip(stream, time, strict=True):
        known = np.flatnonzero(times >= 0)
        if known.size:
            start = times[known[0]] - known[0] + getattr(view, "burn_in", 0)
            found.append((int(streams[0]), int((start - clock(config)) % cycle)))
        else:
            found.append(None)
    return found


def assert_holds(config, priorities, seen):
    """The sampler's state is what the dict says: weights where windows are legal, zeros elsewhere."""
    want = priorities.leaves(config.length, config.num_envs or 1, clock(config) % config.length)
    leaves = seen.tree[0]
    np.testing.assert_array_equal(leaves[: len(want)] > 0, want > 0)
    np.testing.assert_allclose(leaves[: len(want)], want, rtol=2e-6)
    assert not leaves[len(want) :].any()
    for level, sums_of in zip(seen.tree[1:], sums(leaves)[0], strict=True):
        np.testing.assert_array_equal(level[: len(sums_of)], sums_of)
    np.testing.assert_allclose(seen.highest, priorities.highest, rtol=1e-6)
    assert (seen.stale, seen.refused) == (priorities.stale, priorities.refused)
    return want


# In the quick tier: a tree of one level and of two, stratified draws and others. Clocks wrap in test_every_sampler.py.
@pytest.mark.parametrize("config", long_but([*configs()], quick=[2, 15]), ids=str)
def test_the_tree_holds_the_priority_of_every_legal_window_and_nothing_else(config):
    rows, mask, priority = inputs(config)
    leaves, streams = leaves_of(rows), config.num_envs or 1
    seen = jax.tree.map(np.asarray, program(config)(rows, mask, priority))
    drawn = stale = refused = hidden = 0
    for case in range(CASES):
        oracle = OracleReplay(config.length, streams)
        priorities = OraclePriorities(config.sampler, config.length * streams)
        earlier = [[None] * BATCH] * LAG
        for step in range(config.steps):
            now = jax.tree.map(lambda x, i=(case, step): x[i], seen)
            block = [[row_at(leaves, case, step, n, e) for e in range(streams)] for n in range(config.block)]
            oracle.add(block, mask[case, step].tolist())
            legal = [(window.stream, window.start) for window in oracle.windows(config.view)]
            priorities.follow(legal)
            want = assert_holds(config, priorities, now["added"])

            windows = windows_of(config, now["index"])
            assert now["valid"] == bool(legal)
            assert now["count"] == len(legal)
            shares = {window: weight / want.sum() for window, weight in priorities.weight.items()}
            assert set(windows) <= {*legal, None}
            for window, probability in zip(windows, now["probability"], strict=True):
                if window is not None:
                    np.testing.assert_allclose(probability, shares[window], rtol=5e-6)
                assert (probability > 0) == bool(legal)

            priorities.update(earlier[0], priority[case, step])
            assert_holds(config, priorities, now["updated"])
            earlier = [*earlier[1:], windows]
            drawn += len(legal) > 0
            hidden += sum(_first_is_hidden(config, now["index"]))
        stale, refused = stale + priorities.stale, refused + priorities.refused
    # The run was worth it: there were windows to draw, bad priorities, stale ones and masked first rows.
    assert drawn > config.steps
    assert refused > 2
    assert stale > 2
    assert hidden > 0 or getattr(config.view, "actions", "taken") == "taken"


def _first_is_hidden(config, index):
    """Which windows of a sequence are known only by rows after their first required one."""
    if not isinstance(config.view, jb.Sequences):
        return []
    time = index.time.T if config.view.time_major else index.time
    return (time[:, : config.view.burn_in + 1] < 0).all(axis=1)
