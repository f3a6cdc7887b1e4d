"""Where each row's episode begins and ends among the rows present, and the windows kept beside that."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import OracleReplay, each_of, episode_of, quick_jit
from oracle.exhaustive import LAPS, ROW, bank, cases, near_the_wrap
from oracle.exhaustive import Config as Case
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.row import RowSpec
from jaxbuffers.storage.ring import Ring
from jaxbuffers.windows.episode_bounds import Bounded


def reward(achieved, desired):
    return -jnp.abs(achieved - desired).sum().astype(jnp.float32)


def hindsight(view):
    return jb.Hindsight(view, reward, achieved="obs", desired="obs")


@pytest.mark.parametrize(
    "length, streams, block, wraps",
    long_but([(1, 2, 1, False), (3, 1, 2, True), (5, 2, 5, True), (6, 2, 1, False)], quick=[0, 2]),
)
def test_bounds_are_those_of_the_rows_present_of_each_rows_episode(length, streams, block, wraps):
    """For every row present, after every add, of every layout of episodes."""
    config = Case(length, hindsight(jb.Items()), streams, block, wraps)
    replay = jb.Replay(length * streams, streams, 1, config.view, layout="flat")
    blocks, mask, layout, written = cases(config)

    def step(state, rows):
        state = replay.add(state, *jax.tree.map(lambda x: x[0] if block == 1 else x, rows))
        legal = replay.legal(state)
        stream = jnp.repeat(jnp.arange(streams, dtype=jnp.int32), length)
        age = jnp.tile(jnp.arange(length, dtype=jnp.int32), streams)
        time = legal.shift(legal.time[stream], -1 - age)
        return state, legal.bounds(stream, time)

    def run(blocks, mask):
        state = replay.init(ROW)
        state = near_the_wrap(replay, state)[0] if wraps else state
        return jax.lax.scan(step, state, (blocks, mask))[1]

    got = [np.asarray(x).reshape(*written.shape, length) for x in each_of(run)(blocks, mask)]
    cycle, begin = 2**30 // length * length, -3 if wraps else 0
    flags, checked = bank(length), 0
    for number in range(len(flags["is_first"])):
        rows = [{name: flags[name][number, t] for name in ("is_first", "is_last")} for t in range(LAPS * length)]
        whole = OracleReplay(length)
        whole.history = [rows]
        for case, stream in zip(*np.nonzero(layout == number), strict=True):
            for count in np.unique(written[case, :, stream]):
                at = (case, np.argmax(written[case, :, stream] == count), stream)
                for age in range(min(count, length)):
                    time = count - 1 - age
                    present = episode_of(length, rows[:count], time)
                    want = [(t + begin) % cycle for t in (present[0], present[-1])]
                    assert [int(got[0][at][age]), int(got[1][at][age])] == want
                    assert got[2][at][age] == whole.opens(0, present[0])
                    checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    "view",
    long_but([jb.Items(), jb.Transitions(), jb.Episodes(4), jb.FrameStack(jb.Sequences(2, period=2), 2)], quick=[1, 3]),
    ids=str,
)
def test_the_windows_are_those_of_the_view_alone(view):
    """Their number, their beginnings, which are older and which are alive."""
    rng, steps, streams, length = np.random.default_rng(0), 40, 2, 6
    shape = (steps, streams)
    rows = jax.tree.map(lambda x: rng.integers(0, 2, (*shape, *x.shape)).astype(x.dtype), ROW)
    rows = rows.replace(is_first=rng.random(shape) < 0.2, is_last=rng.random(shape) < 0.2)
    mask = rng.random(shape) < 0.8
    stream = jnp.repeat(jnp.arange(streams, dtype=jnp.int32), length)
    rank = jnp.tile(jnp.arange(length, dtype=jnp.int32), streams)

    def look(replay):
        def step(state, row):
            state = replay.add(state, *row)
            legal = replay.legal(state)
            age = jnp.minimum(rank, jnp.maximum(legal.size[stream] - 1, 0))
            present = legal.shift(legal.time[stream], -1 - age)
            start = jnp.where(rank < legal.count()[stream], legal.start(stream, rank), -1)
            older, alive = legal.older(stream, present), legal.alive(stream, present - 3)
            return state, (legal.count(), start, older, alive)

        return quick_jit(lambda: jax.lax.scan(step, replay.init(ROW), (rows, mask))[1])()

    plain = jb.Replay(length * streams, streams, 1, view)
    want, got = look(plain), look(replace(plain, view=hindsight(view)))
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert (np.asarray(want[1]) >= 0).sum() > 20


def test_more_history_is_asked_of_the_windows_and_not_of_the_bounds():
    ring = Ring(RowSpec.of(ROW), 8, 1)
    bounded = Bounded(jb.Transitions().windows(ring))
    deeper = bounded.with_history(3)
    assert (deeper.history, deeper.reach, deeper.required) == (3, 5, 2)
    assert (bounded.history, bounded.reach) == (0, 8)
    assert deeper == Bounded(jb.Transitions().windows(ring).with_history(3))


def test_states_with_and_without_bounds_are_not_mixed_up():
    for view in (jb.Items(), jb.Transitions()):
        plain, bounded = jb.Replay(8, None, 1, view), jb.Replay(8, None, 1, hindsight(view))
        for ours, theirs in ((plain, bounded), (bounded, plain)):
            with pytest.raises(jb.errors.ConfigurationError, match="another configuration"):
                ours.sample(theirs.init(ROW), jax.random.key(0))


def test_flags_that_bounds_were_made_of_cannot_be_replaced():
    replay = jb.Replay(8, None, 2, hindsight(jb.Items()))
    state, index = replay.init(ROW), jb.Index(jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32))
    for flag in ("is_first", "is_last"):
        with pytest.raises(jb.errors.StructureError, match=flag):
            replay.update(state, index, rows={flag: jnp.zeros(2, bool)})
