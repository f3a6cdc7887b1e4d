"""ByEpisode: first an episode, then a window in it; and the bookkeeping of episodes over many laps."""

import jax
import numpy as np
import pytest
from oracle import drawn, filled, fits, likely, quick_jit, told_apart
from oracle.lives import KINDS, life
from tier import long_but

import jaxbuffers as jb

from .catalog import assert_lives_agree, lived, replay_of, show

VIEWS = [jb.Items(), jb.Transitions(), jb.Episodes(3), jb.Sequences(2, period=2)]


@pytest.mark.parametrize("view", long_but(VIEWS, quick=[2]), ids=show)
def test_blocks_as_large_as_the_ring_agree_with_the_oracle_over_many_laps(view):
    # A block may begin more episodes than are kept: T rows of one each, while as many old ones end.
    compared = assert_lives_agree(replay_of(view, [jb.ByEpisode(power=2.0)], length=4, streams=2), block=4, steps=24)
    assert min(compared.values()) > 30


LIVES = [(VIEWS[0], 5, 1, 20), (VIEWS[0], 5, 2, 20), (VIEWS[0], 5, 5, 20), (VIEWS[2], 4, 4, 24)]


@pytest.mark.parametrize("view, length, block, steps", long_but(LIVES, quick=[3]), ids=show)  # those of the test above
def test_the_queue_of_episodes_is_as_long_as_there_are_episodes(view, length, block, steps):
    replay = replay_of(view, [jb.ByEpisode(power=2.0)], length=length, streams=2)
    options = {"block": block, "steps": steps}
    state = lived(replay, **options)[0].sampler[0]
    queued = np.asarray((state.made - state.gone) % (2**30 // length * length))
    for i, kind in enumerate(KINDS):
        legal = life(view, kind, length=length, streams=2, **options).steps[-1].legal
        episodes = {(place.window[0], place.episode) for place in legal}
        assert queued[i].tolist() == [sum(e == stream for e, _ in episodes) for stream in (0, 1)]


def three_episodes(power, size=8):
    """Pairs that begin at 4 to 6, at 8, and at 10 to 15; the first episode has lost its first rows."""
    replay = jb.Replay(13, None, size, jb.Transitions(), jb.ByEpisode(power=power))
    return replay, filled(replay, told_apart(17, first=[0, 8, 10], last=[7, 9]))


TIMES = np.array([4, 5, 6, 8, 10, 11, 12, 13, 14, 15])
OWN = np.array([3, 3, 3, 1, 6, 6, 6, 6, 6, 6])


@pytest.mark.parametrize("power", long_but([0, 0.5, 1, 2, 4], quick=[1]))
def test_an_episode_weighs_its_windows_to_the_power_and_shares_that_equally(power):
    replay, state = three_episodes(power)
    want = OWN ** np.float64(power) / OWN
    want = want / (3.0**power + 1 + 6.0**power)
    np.testing.assert_allclose(likely(replay, state, TIMES), want, rtol=1e-6)
    batch = drawn(replay, state, size=40_000)
    counts = np.bincount(np.searchsorted(TIMES, batch.index.time), minlength=len(TIMES))
    np.testing.assert_allclose(batch.probability, want[np.searchsorted(TIMES, batch.index.time)], rtol=1e-6)
    wrong = {"another power": OWN ** np.float64(1.4 * power + 0.3) / OWN}
    big = want * counts.sum() > 20
    wrong = {name: share[big] / share[big].sum() for name, share in wrong.items()}
    fits(counts[big], want[big] / want[big].sum(), wrong)
    assert set(batch.index.time.tolist()) <= {*TIMES.tolist()}


@pytest.mark.long  # quick: the powers above
def test_power_one_is_as_uniform_as_uniform():
    replay, state = three_episodes(1)
    np.testing.assert_allclose(drawn(replay, state, size=100).probability, np.full(100, 0.1), rtol=1e-6)


@pytest.mark.long  # quick: lives of blocks, above
def test_an_episode_that_goes_on_in_the_next_block_is_still_one():
    replay = jb.Replay(12, None, 4, jb.Items(), jb.ByEpisode())
    rows = told_apart(12, first=[0, 5])
    state = filled(replay, jax.tree.map(lambda x: x[:4], rows))
    state = quick_jit(replay.add)(state, jax.tree.map(lambda x: x[4:8, 0], rows))
    state = quick_jit(replay.add)(state, jax.tree.map(lambda x: x[8:, 0], rows))
    np.testing.assert_allclose(likely(replay, state, np.arange(12)), [1 / 10] * 5 + [1 / 14] * 7, rtol=1e-6)


def test_rows_that_are_masked_neither_begin_nor_end_an_episode():
    replay = jb.Replay(12, None, 4, jb.Items(), jb.ByEpisode())
    rows = told_apart(12, first=[0, 3, 6], last=[8])
    mask = ~np.isin(np.arange(12), [3, 8])  # the first start and the end were never written
    state = filled(replay, rows, mask)
    np.testing.assert_allclose(likely(replay, state, np.arange(10)), [1 / 10] * 10, rtol=1e-6)
    assert int(state.sampler.made[0]) == 2


@pytest.mark.long  # quick: the draws above, of three episodes
def test_long_and_short_episodes_of_many_streams_come_equally_often():
    # 40 streams with an episode of 1 to 40 rows each: 820 windows, each episode 1 in 40.
    replay = jb.Replay(1600, 40, 60_000, jb.Items(), jb.ByEpisode())
    mask = np.arange(40)[:, None] <= np.arange(40)
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0, 0], told_apart(1))), told_apart(40, 40), mask)
    batch = drawn(replay, state)
    counts, rows = np.bincount(batch.index.stream, minlength=40), np.arange(1, 41)
    fits(counts, np.full(40, 1 / 40), {"by length": rows / rows.sum(), "power 0.1": rows**0.1 / (rows**0.1).sum()})
    longest = np.bincount(batch.index.time[batch.index.stream >= 30] // 4, minlength=10)[:7]
    fits(longest, np.full(7, 1 / 7), {"the oldest less often": np.arange(4, 11) / np.arange(4, 11).sum()})


@pytest.mark.long  # quick: test_every_sampler.py
def test_an_empty_replay_gives_no_window_and_no_nan():
    replay = jb.Replay(40, 2, 8, jb.Transitions(), jb.ByEpisode())
    batch = drawn(replay, filled(replay, told_apart(9, 2, first=range(9))))
    assert not batch.valid
    assert not batch.mask.any()
    assert not batch.probability.any()


@pytest.mark.parametrize("power", [-0.1, 4.1, np.nan, np.inf, "1", None, True])
def test_impossible_powers_are_refused(power):
    with pytest.raises(jb.errors.ConfigurationError, match="power"):
        jb.ByEpisode(power)


def test_rows_need_the_flag_of_episode_starts():
    replay = jb.Replay(8, None, 4, sampler=jb.ByEpisode())
    with pytest.raises(jb.errors.MissingFieldError, match="is_first"):
        replay.init({"x": np.float32(0)})
    for name in ("is_first", "is_last"):
        row = {"is_first": np.False_, "is_last": np.False_} | {name: np.int32(0)}
        with pytest.raises(jb.errors.DtypeError, match=name):
            replay.init(row)
    replay.init({"is_first": np.False_, "x": np.float32(0)})
