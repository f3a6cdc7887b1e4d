"""A store's windows are those of a replay whose streams hold one episode each, read bit for bit the same."""

import jax
import numpy as np
import pytest
from contract.catalog import VIEWS, at_goal, show
from oracle import quick_jit, users_jit
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.episodes.laws import UniformWindows
from jaxbuffers.episodes.sampling import Sampling
from jaxbuffers.episodes.window_draw import WindowDraw

from .twins import LENGTHS, legal_windows, same, twins

ROUNDING = 1e-6  # of a sum of a few rewards, in two programs: XLA joins a product and a sum where it likes
GOALS = {"achieved": "obs.place", "desired": "obs.goal"}
MORE = [
    jb.Sequences(2, "cross", burn_in=3, period=3, actions="previous"),
    jb.Sequences(4, "pad", burn_in=2, actions="previous", time_major=True),
    jb.Sequences(1, "within", burn_in=4),
    jb.Transitions(n_step=20),
    jb.Episodes(3),
    jb.Episodes(9),
    jb.FrameStack(jb.Sequences(2, "pad", burn_in=1, actions="previous"), 4),
    jb.FrameStack(jb.FrameStack(jb.Items(), 2), 3, pad="zero"),
    jb.FrameStack(jb.Episodes(6), 2),
    jb.Hindsight(jb.Items(), at_goal, "future", 1.0, **GOALS),
    jb.Hindsight(jb.Sequences(2, "pad"), at_goal, "episode", 0.7, **GOALS),
    jb.Hindsight(jb.FrameStack(jb.Transitions(n_step=3), 3), at_goal, "final", 1.0, **GOALS),
    jb.Hindsight(jb.Episodes(9), at_goal, "future", 1.0, **GOALS),
    jb.Hindsight(jb.Hindsight(jb.Transitions(), at_goal, "final", 0.5, **GOALS), at_goal, "future", 0.5, **GOALS),
]


def test_narrow_floats_keep_every_bit_where_xla_optimizes():
    view = jb.Sequences(3, actions="previous")
    store, replay, state, ids = twins(view)
    stream, start = legal_windows(replay, state)
    draw = WindowDraw(ids[stream], start, np.array([LENGTHS[e] for e in stream]), np.ones(len(stream), np.float32))
    key = jax.random.key(0)
    stored = Sampling(store).read(view, draw, key).batch.data
    assert np.isnan(np.asarray(stored.extras[0], np.float32)).any()
    read = users_jit(jb.Replay.read, static_argnums=0)(replay, state, jb.Draw.of(stream, start), key)
    same(stored, read.data)


def of_one_rounding(theirs, ours):
    """A batch with the other's sums of rewards, which must be the same but for the order of rounding."""
    if not isinstance(theirs.data, jb.Transition):
        return theirs  # rewards are as they were stored
    np.testing.assert_allclose(ours.data.reward, theirs.data.reward, rtol=ROUNDING, atol=ROUNDING)
    return theirs.replace(data=theirs.data.replace(reward=ours.data.reward))


# Across episodes, and padded with goals; the exhaustive tests have every kind of view, in a ring.
@pytest.mark.parametrize("view", long_but([*VIEWS, *MORE], quick=[16, 26]), ids=show)
def test_every_window_is_legal_in_both_and_read_bit_for_bit_the_same(view):
    store, replay, state, ids = twins(view)
    stream, start = legal_windows(replay, state)
    assert len(stream)
    sampling = Sampling(store)
    chances = sampling.chances(view, UniformWindows())
    ours = [
        (number, begin)
        for number, windows in zip(chances.episode, chances.windows, strict=True)
        for begin in chances.kind.start_in(np.arange(windows))
    ]
    assert ours == list(zip(ids[stream], start, strict=True))

    length = np.array([LENGTHS[e] for e in stream])
    probability = np.linspace(0, 1, len(stream), dtype=np.float32)
    draw = WindowDraw(ids[stream], start.astype(np.int64), length, probability)
    read = quick_jit(jb.Replay.read, static_argnums=0)
    for seed in range(3):
        key = jax.random.key(seed)
        batch = sampling.read(view, draw, key)
        theirs = read(replay, state, jb.Draw.of(stream, start, probability), key)
        assert theirs.valid
        index = jb.Index(ids[np.asarray(theirs.index.stream)].astype(np.int32), theirs.index.time)
        same(batch.batch, of_one_rounding(theirs.replace(index=index), batch.batch))
        same(batch.mask, theirs.mask)
