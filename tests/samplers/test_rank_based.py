"""RankBased: ranks by half octaves, sums of rank**-alpha as exact as float32 allows, and what priorities do."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from oracle import drawn, filled, likely, quick_jit, told_apart
from oracle.samplers import RankBased as Oracle
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.numerics import count_tree
from jaxbuffers.samplers import rank_based
from jaxbuffers.samplers.rank_based import CLASSES

ALPHAS = [0, 0.5, 0.7, 1, 1.0000001, 2]
half_octave = quick_jit(rank_based._class)


def at(time, stream=0):
    time = jnp.atleast_1d(jnp.asarray(time, jnp.int32))
    return jb.Index(jnp.full_like(time, stream), time)


@functools.cache
def verbs(replay):
    return quick_jit(replay.add), quick_jit(
        lambda state, index, priority: replay.update(state, index, priority=priority)
    )


def ranked(priorities, alpha=1, size=4):
    """A ring with a row for each priority."""
    replay = jb.Replay(len(priorities), None, size, jb.Items(), jb.RankBased(alpha))
    state = filled(replay, told_apart(len(priorities)))
    return replay, verbs(replay)[1](state, at(np.arange(len(priorities))), np.float32(priorities))


def probability(replay, state):
    """The probability of each row of one stream."""
    return likely(replay, state, np.arange(replay.length))


def sum_of_ranks(begin, end, alpha):
    """The sum of rank**-alpha over the ranks after ``begin`` up to ``end``."""
    return np.sum(np.arange(begin + 1, end + 1, dtype=np.float64) ** -np.float64(alpha))


SIZES = {
    "one class": [4_000_000],
    "single windows far down": [1, 0, 1_999_997, 1, 1, 0, 2_000_000],
    "around the 64 exact ranks": [60, 1, 1, 1, 1, 1, 1, 1, 70],
    "growing": [3**i for i in range(14)],
    "falling": [3**i for i in range(13, -1, -1)],
    "all of one": [1] * CLASSES,
    "small": [2, 0, 5],
    "nothing": [],
}


@pytest.mark.parametrize("alpha", long_but([*ALPHAS, 8], quick=[0, 2, 4, 6]))
def test_the_sum_of_a_classs_shares_is_that_of_its_ranks_up_to_millions(alpha):
    shares = quick_jit(jb.RankBased(alpha)._shares)
    for name, sizes in SIZES.items():
        sizes = np.array(sizes + [0] * (CLASSES - len(sizes)), np.int32)
        ends = np.cumsum(sizes)
        want = [sum_of_ranks(end - size, end, alpha) for end, size in zip(ends, sizes, strict=True)]
        got = np.asarray(shares(sizes))
        # float32 cannot hold less than 1e-38, nor the powers on the way to it.
        np.testing.assert_allclose(got, want, rtol=2e-5 if alpha == 8 else 3e-6, atol=1e-35, err_msg=name)
        assert not got[sizes == 0].any()
        assert (got[sizes > 0] > 0).all() or alpha == 8


def test_ten_million_ranks_add_up():
    sizes = np.zeros(CLASSES, np.int32)
    sizes[[3, 40, 90]] = 1, 9_999_998, 1
    for alpha in budget((1,), (0.5, 1)):
        got = quick_jit(jb.RankBased(alpha)._shares)(sizes)[jnp.array([3, 40, 90])]
        np.testing.assert_allclose(got, [1, sum_of_ranks(1, 9_999_999, alpha), 1e7**-alpha], rtol=3e-6)


def test_classes_are_half_octaves_exactly():
    octaves = np.arange(-23, 24)
    for octave, number in zip(octaves.tolist(), (47 - 2 * octaves).tolist(), strict=True):
        start, middle = np.float32(2.0**octave), np.float32(2.0**octave * np.sqrt(2))  # the nearest is below the root
        below, above = np.nextafter(start, np.float32(0)), np.nextafter(middle, np.float32(np.inf))
        assert half_octave(np.stack([below, start, middle, above])).tolist() == [number + 1, number, number, number - 1]
    outer = np.float32([0, -0.0, 1e-45, 1e-30, 2**-24, 2**-23.6, 2**23.6, 2**24, 1e20, 3.4e38])
    assert half_octave(outer).tolist() == [95] * 6 + [0] * 4
    ordered = np.sort(np.exp(np.random.default_rng(0).normal(0, 6, 100_000)).astype(np.float32))
    assert (np.diff(half_octave(ordered)) <= 0).all()
    np.testing.assert_array_equal(47 - np.asarray(half_octave(ordered)), [Oracle.half_octave(p) for p in ordered])


@pytest.mark.parametrize("alpha", long_but(ALPHAS, quick=[2]))
def test_probability_is_rank_to_the_minus_alpha_with_ties_shared(alpha):
    priorities = np.array([5, 5.1, 100, 0, 1e-20, 7e7, 1e30, 1, 1.3, 1.5, 1.99, 0.7])
    classes = [95 - 48 - Oracle.half_octave(p) for p in priorities]
    replay, state = ranked(priorities, alpha)
    weight = np.arange(1, 13) ** -np.float64(alpha)
    order = np.sort(classes)
    want = [weight[order == c].mean() / weight.sum() for c in classes]
    np.testing.assert_allclose(probability(replay, state), want, rtol=1e-6)
    assert len({*np.round(want, 12)}) == (1 if alpha == 0 else 7)


def grid(monkeypatch, replay, state, count):
    """The windows that an even grid of targets points at, with classes and places within them on the same grid."""
    number = np.arange(count, dtype=np.uint64)
    high = ((2 * number + 1) * (2**31 // count)).astype(np.uint32)
    within = (number * 2654435761 % 2**32).astype(np.uint32)
    words = np.concatenate([high, within]), np.zeros(2 * count, np.uint32)
    monkeypatch.setattr(rank_based, "bits64", lambda key, total: tuple(map(jnp.asarray, words)))

    def draw(state):
        return replay.sampler.draw(state.sampler, replay.legal(state), jax.random.key(0), count)

    return jax.tree.map(np.asarray, quick_jit(draw)(state))


@pytest.mark.parametrize("alpha", long_but([0, 0.7, 2], quick=[1]))
def test_each_class_is_drawn_as_often_as_its_ranks_say(alpha, monkeypatch):
    size, count = 3000, 2**16
    priorities = np.exp(np.random.default_rng(1).normal(0, 5, size))
    replay, state = ranked(priorities, alpha)
    classes = np.array([Oracle.half_octave(p) for p in np.float32(priorities)])
    draw = grid(monkeypatch, replay, state, count)
    want = probability(replay, state)
    np.testing.assert_allclose(want.sum(dtype=np.float64), 1, rtol=2e-6)
    np.testing.assert_allclose(draw.probability, want[draw.start], rtol=2e-6)
    for one in np.unique(classes):  # n spacings of an even grid have n points, or one more
        drawn_of_it = np.sum(classes[draw.start] == one)
        assert abs(drawn_of_it - count * want[classes == one].sum(dtype=np.float64)) < 2


def test_the_least_likely_class_is_drawn_too(monkeypatch):
    # Its share is 1e-8, less than one in 2**24: a target of 24 bits finds it by luck of rounding, or never.
    sampler = jb.RankBased(2)
    replay = jb.Replay(10_000, None, 1, jb.Items(), sampler)
    state = filled(replay, told_apart(10_000))
    state = verbs(replay)[1](state, at([17, 4000]), np.float32([1e-9, 1e9]))
    share = probability(replay, state)[17]
    assert 0 < share < 2**-25
    targets = (np.arange(0.02, 3, 0.04) * float(share) * 2**64).astype(np.uint64)  # small shares come first
    words = np.concatenate([targets, np.full(len(targets), 2**63, np.uint64)])
    halves = tuple(jnp.asarray(x.astype(np.uint32)) for x in (words >> 32, words & 0xFFFFFFFF))
    monkeypatch.setattr(rank_based, "bits64", lambda key, total: halves)
    draw = quick_jit(lambda s: sampler.draw(s.sampler, replay.legal(s), jax.random.key(0), len(targets)))(state)
    np.testing.assert_array_equal(draw.start == 17, np.arange(0.02, 3, 0.04) < 1)
    np.testing.assert_allclose(draw.probability[0], share, rtol=1e-6)


def test_one_outlier_is_rank_one_however_large_it_is():
    for outlier in (3.0, 1e9, 3e38):
        got = probability(*ranked([1, 1, 1, outlier], alpha=1))
        np.testing.assert_allclose(got, np.array([1 / 2 + 1 / 3 + 1 / 4] * 3 + [3]) / 3 / (25 / 12), rtol=1e-6)


@pytest.mark.long  # quick: the ranks above, and test_every_sampler.py
def test_alpha_zero_is_uniform_whatever_the_priorities():
    got = probability(*ranked(np.exp(np.random.default_rng(0).normal(0, 9, 257)), alpha=0))
    np.testing.assert_allclose(got, np.full(257, 1 / 257), rtol=1e-6)


@pytest.mark.long  # quick: test_every_sampler.py
def test_a_new_window_is_tied_with_the_highest_priority_so_far_and_one_at_first():
    replay = jb.Replay(8, None, 1, jb.Items(), jb.RankBased())
    state, (add, update) = replay.init(np.float32(0)), verbs(replay)
    classes = []
    for time, sent in enumerate([None, 0.25, None, 64.0, None, 2.0, None]):
        state = add(state, np.float32(time))
        if sent is not None:
            state = update(state, at(time), np.float32([sent]))
        classes.append(int(count_tree.group_at(state.sampler.tree, jnp.array([time], jnp.uint32))[0]))
    assert classes == [47 - 2 * octave for octave in (0, -2, 0, 6, 6, 1, 6)]


@pytest.mark.long  # quick: test_every_sampler.py
def test_of_a_window_drawn_twice_the_highest_priority_is_kept():
    replay, state = ranked([1.0] * 4)
    for order in ([1, 900, 30], [900, 30, 1], [30, 1, 900], [np.nan, 900, -1]):
        after = verbs(replay)[1](state, at([2, 2, 2]), np.float32(order))
        np.testing.assert_allclose(probability(replay, after)[2], 12 / 25, rtol=1e-6)
        newer = verbs(replay)[0](after, jax.tree.map(lambda x: x[0, 0], told_apart(1)))
        got = [int(count_tree.group_at(newer.sampler.tree, jnp.array([i], jnp.uint32))[0]) for i in (0, 2)]
        assert got[0] == got[1] == 47 - 19, "a new window is tied with the highest priority so far"


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, -1, -1e-30])
def test_what_is_no_priority_is_counted_and_changes_nothing(bad):
    replay, state = ranked([1, 2, 4, 8])
    after = verbs(replay)[1](state, at([0, 1, 2]), np.float32([bad] * 3))
    assert int(after.sampler.refused) == 3
    assert int(after.sampler.stale) == 0
    jax.tree.map(np.testing.assert_array_equal, after.sampler.tree, state.sampler.tree)
    assert int(after.sampler.best) == int(state.sampler.best)
    after = verbs(replay)[1](state, at([0, 1, 2]), np.float32([bad, 99, bad]))
    np.testing.assert_allclose(probability(replay, after)[1], 12 / 25, rtol=1e-6)


@pytest.mark.long  # quick: test_every_sampler.py
def test_a_priority_that_comes_too_late_is_counted_and_revives_nothing():
    replay = jb.Replay(6, None, 64, jb.Sequences(2, "within"), jb.RankBased())
    rows = told_apart(12, first=[0, 3, 7], last=[4])
    state = filled(replay, jax.tree.map(lambda x: x[:6], rows))
    index = jax.tree.map(jnp.asarray, drawn(replay, state).index)
    for time in range(6, 12):
        state = verbs(replay)[0](state, jax.tree.map(lambda x, t=time: x[t, 0], rows))
        after = verbs(replay)[1](state, index, np.full(64, 50, np.float32))
        gone = int(np.sum(np.asarray(index.time)[:, 0] <= time - 6))
        assert int(after.sampler.stale) == gone
        np.testing.assert_array_equal(
            np.asarray(after.sampler.tree.group) >= 0, np.asarray(state.sampler.tree.group) >= 0
        )
        assert int(after.sampler.best) == (47 if gone == 64 else 47 - 11)
    assert gone == 64


@pytest.mark.parametrize("time, stream", [(1, 0), (6, 0), (-7, 0), (3, 1), (3, -1), (2**30, 0), (2**31 - 1, 0)])
def test_an_address_that_no_window_has_is_never_ranked(time, stream):
    replay = jb.Replay(4, None, 4, jb.Items(), jb.RankBased())
    state = filled(replay, told_apart(6))
    after = verbs(replay)[1](state, at(time, stream), np.float32([9]))
    jax.tree.map(np.testing.assert_array_equal, after.sampler.tree, state.sampler.tree)
    assert int(after.sampler.stale) == (time >= 0)


def test_debug_checks_raise_on_stale_and_on_bad_priorities():
    replay = jb.Replay(4, None, 4, jb.Items(), jb.RankBased())
    state = filled(replay, told_apart(6))
    with jb.debug_checks():
        checked = jax.jit(checkify.checkify(lambda time, priority: replay.update(state, at(time), priority=priority)))
        stale, _ = checked(jnp.int32([3, 0, 4]), jnp.float32([1, 1, 1]))
        bad, _ = checked(jnp.int32([2, 3, -1]), jnp.float32([1, np.nan, np.nan]))
        fine, _ = checked(jnp.int32([2, 3, -1]), jnp.float32([1, 0, np.nan]))
    assert "1 priorities are for windows that are gone" in stale.get()
    assert "1 priorities are NaN" in bad.get()
    fine.throw()


@pytest.mark.long  # quick: test_every_sampler.py
def test_an_empty_replay_gives_no_window_and_no_nan():
    replay = jb.Replay(40, 2, 8, jb.Transitions(), jb.RankBased())
    state = filled(replay, told_apart(9, 2, first=range(9)))  # episodes of one row: no pair at all
    batch = drawn(replay, state)
    assert not batch.valid
    assert not batch.mask.any()
    assert not batch.probability.any()
    after = verbs(replay)[1](state, jax.tree.map(jnp.asarray, batch.index), np.ones(8, np.float32))
    jax.tree.map(np.testing.assert_array_equal, after.sampler, state.sampler)


@pytest.mark.parametrize("alpha", [-0.1, 9, np.nan, np.inf, "1", None, True])
def test_impossible_exponents_are_refused(alpha):
    with pytest.raises(jb.errors.ConfigurationError, match="alpha"):
        jb.RankBased(alpha)
    assert replace(jb.RankBased(), alpha=1) == jb.RankBased(1.0)
