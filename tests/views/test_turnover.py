"""What samplers are told of windows, for views that need history or whole episodes: all from the oracle's list."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import WrappedOracle, each_of, leaves_of, row_at, small_row
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.windows.base import Added

LENGTH, STREAMS, CASES, STEPS = 6, 2, 24, 7
ROW = small_row()


def reward(achieved, desired):
    return -jnp.abs(achieved - desired).sum().astype(jnp.float32)


VIEWS = [
    jb.Transitions(),
    jb.Episodes(3),
    jb.FrameStack(jb.Sequences(2), 3),
    jb.FrameStack(jb.Transitions(), 4),
    jb.FrameStack(jb.Episodes(3), 3),
    jb.FrameStack(jb.Sequences(2, period=2), 2),
    jb.Hindsight(jb.FrameStack(jb.Sequences(2, "within"), 2), reward, achieved="obs", desired="obs"),
]


every_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: str(view).split(", reward")[0])


def lives(view, block, look):
    """Random rows in blocks: after each what ``look(legal before it, legal after it, rows added)`` returns.

    Yields which rows were written, the legal windows before and after as the oracle lists them, the oracle, and what
    was seen.
    """
    replay = jb.Replay(LENGTH * STREAMS, STREAMS, 1, view, layout="flat")
    rng, shape = np.random.default_rng(block), (CASES, STEPS, block, STREAMS)
    rows = jax.tree.map(lambda x: np.zeros((*shape, *x.shape), x.dtype), ROW)
    rows = rows.replace(is_first=rng.random(shape) < 0.2, is_last=rng.random(shape) < 0.3)
    mask = rng.random(shape) < 0.8

    def step(state, row):
        rows, mask = row
        before = replay.legal(state)
        _, time = before.kind.ring.add(state.ring, rows, mask)
        state = replay.add(state, rows, mask)
        return state, look(before, replay.legal(state), Added(time, mask, rows.is_first, rows.is_last))

    run = each_of(lambda rows, mask: jax.lax.scan(step, replay.init(ROW), (rows, mask))[1])
    seen, leaves = jax.tree.map(np.asarray, run(rows, mask)), leaves_of(rows)
    for case in range(CASES):
        oracle, before = WrappedOracle(view, LENGTH, STREAMS), []
        for step in range(STEPS):
            for n, e in zip(*np.nonzero(mask[case, step]), strict=True):
                oracle.append(e, row_at(leaves, case, step, n, e))
            after = [(window.stream, window.start) for window in oracle.windows(view)]
            yield mask[case, step], before, after, oracle, jax.tree.map(lambda x, at=(case, step): x[at], seen)
            before = after


@pytest.mark.parametrize("block", long_but([1, 3, LENGTH], quick=[1, 2]))
@every_view
def test_the_legal_windows_are_those_of_before_less_the_expired_with_the_completed(view, block):
    def look(before, after, added):
        return after.kind.add(before.windows, after.ring, added)[1]

    counted = 0
    for mask, before, after, _, turnover in lives(view, block, look):
        written = [*zip(*np.nonzero(mask), strict=True)]
        new = {(e, int(turnover.start[n, e])) for n, e in zip(*np.nonzero(turnover.completed), strict=True)}
        gone = {(e, int(turnover.expired[n, e])) for n, e in written}
        assert len(new) == turnover.completed.sum()  # each is told once
        assert not new & {*before}
        assert not turnover.completed[~mask].any()
        assert {*after} == ({*before} - gone) | new
        counted += len(new)
    assert counted > 50


@every_view
def test_windows_are_counted_ranked_and_known_to_be_alive_as_the_list_of_them_says(view):
    stream = jnp.repeat(jnp.arange(STREAMS, dtype=jnp.int32), LENGTH)
    rank = jnp.tile(jnp.arange(LENGTH, dtype=jnp.int32), STREAMS)

    def look(before, legal, added):
        age = jnp.minimum(rank, jnp.maximum(legal.size[stream] - 1, 0))
        time = legal.shift(legal.time[stream], -1 - age)
        alive = legal.alive(stream, legal.shift(time, -2))
        return legal.count(), legal.start(stream, rank), time, legal.older(stream, time), alive

    counted = 0
    for _, before, after, oracle, (count, start, time, older, alive) in lives(view, 2, look):
        for e in range(STREAMS):
            legal = [begin for stream, begin in after if stream == e]
            assert count[e] == len(legal)
            mine = slice(e * LENGTH, (e + 1) * LENGTH)
            assert start[mine][: len(legal)].tolist() == legal
            if oracle.history[e]:
                assert older[mine].tolist() == [sum(begin < t for begin in legal) for t in time[mine]]
                for t, lives_on in zip(time[mine] - 2, alive[mine], strict=True):
                    assert lives_on or (e, t) not in after
                    assert not lives_on or (e, t) in after or (e, t) not in before
                    counted += lives_on
    assert counted > 50
