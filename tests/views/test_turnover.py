"""What samplers are told of windows that come and go, for views that need history or whole episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import WrappedOracle, leaves_of, quick_jit, row_at, small_row

import jaxbuffers as jb
from jaxbuffers.windows import Added

LENGTH, STREAMS, CASES, STEPS = 6, 2, 24, 7
ROW = small_row()


def reward(achieved, desired):
    return -jnp.abs(achieved - desired).sum().astype(jnp.float32)


VIEWS = [
    jb.Transitions(),
    jb.Episodes(3),
    jb.FrameStack(jb.Items(), 3),
    jb.FrameStack(jb.Transitions(), 4),
    jb.FrameStack(jb.Episodes(3), 3),
    jb.FrameStack(jb.Sequences(2, period=2), 2),
    jb.Hindsight(jb.FrameStack(jb.Sequences(2, "within"), 2), reward, achieved="obs", desired="obs"),
]


@pytest.mark.parametrize("block", [1, 3, LENGTH])
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: str(view).split(", reward")[0])
def test_the_legal_windows_are_those_of_before_less_the_expired_with_the_completed(view, block):
    replay = jb.Replay(LENGTH * STREAMS, STREAMS, 1, view, layout="flat")
    rng, shape = np.random.default_rng(block), (CASES, STEPS, block, STREAMS)
    rows = jax.tree.map(lambda x: np.zeros((*shape, *x.shape), x.dtype), ROW)
    rows = rows.replace(is_first=rng.random(shape) < 0.2, is_last=rng.random(shape) < 0.3)
    mask = rng.random(shape) < 0.8

    def step(state, row):
        rows, mask = row
        windows, queue = replay._windows(state), state.queue
        ring, time = replay._ring(state).add(state.ring, rows, mask)
        _, turnover = windows.add(queue, ring, Added(time, mask, rows.is_first, rows.is_last))
        return replay.add(state, rows, mask), turnover

    run = quick_jit(jax.vmap(lambda rows, mask: jax.lax.scan(step, replay.init(ROW), (rows, mask))[1]))
    turnover, counted = jax.tree.map(np.asarray, run(rows, mask)), 0
    leaves = leaves_of(rows)
    for case in range(CASES):
        oracle, before = WrappedOracle(view, LENGTH, STREAMS), set()
        for step in range(STEPS):
            places = [(n, e) for n in range(block) for e in range(STREAMS) if mask[case, step, n, e]]
            for n, e in places:
                oracle.append(e, row_at(leaves, case, step, n, e))
            start, completed, expired = (x[case, step] for x in jax.tree.leaves(turnover))
            new = {(e, int(start[n, e])) for n, e in zip(*np.nonzero(completed), strict=True)}
            gone = {(e, int(expired[n, e])) for n, e in places}
            legal = {(window.stream, window.start) for window in oracle.windows(view)}
            assert len(new) == completed.sum()  # each is told once
            assert not new & before
            assert not completed[~mask[case, step]].any()
            assert legal == (before - gone) | new
            before, counted = legal, counted + len(new)
    assert counted > 50
