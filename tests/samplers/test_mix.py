"""Mix: exact parts of every batch, the mixture's probability, and feedback to whom it concerns."""

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import drawn, filled, fits, likely, quick_jit, told_apart
from tier import budget, long_but

import jaxbuffers as jb

U, NEW = jb.Uniform(), jb.Recent(horizon=2)


def mix(*fractions):
    return jb.Mix(*((fraction, U) for fraction in fractions))


FRACTIONS = [
    (1.0,),
    (0.5, 0.5),
    (0.25, 0.75),
    (1 / 3, 1 / 3, 1 / 3),
    (0.3333333, 0.3333333, 0.3333334),
    (0.9, 0.05, 0.05),
    (0.1,) * 10,
    (1 / 7,) * 7,
    (0.123, 0.456, 0.421),
    (1e-6, 1 - 1e-6),
    (0.5000004, 0.5000004),
    (0.4999998, 0.4999998),
]


@pytest.mark.parametrize("fractions", FRACTIONS, ids=str)
def test_parts_add_up_to_the_batch_by_the_largest_remainder(fractions):
    sampler = mix(*fractions)
    for batch in (1, 2, 3, 5, 7, 31, 64, 255, 256, 1001, 2**20 + 1):
        sizes = sampler.sizes(batch)
        exact = [Fraction(f) / sum(map(Fraction, fractions)) * batch for f in fractions]
        assert sum(sizes) == batch
        for size, want in zip(sizes, exact, strict=True):
            assert abs(size - want) < 1 + 1e-5
        # No part has more than its share by more than another has less: nothing would be gained by a move.
        over = [size - want for size, want in zip(sizes, exact, strict=True)]
        assert max(over) - min(over) <= 1 + 2e-5
    assert sum(mix(*fractions).sizes(10**7)) == 10**7


@pytest.mark.parametrize(
    "fractions, batch, sizes",
    [
        ((0.5, 0.5), 7, (4, 3)),  # of equal remainders the first
        ((0.1, 0.6, 0.3), 10, (1, 6, 3)),  # 0.1 + 0.6 + 0.3 is not 1, nor 0.3 * 10 = 3 in floating point
        ((0.7, 0.2, 0.1), 5, (4, 1, 0)),
        ((0.34, 0.33, 0.33), 2, (1, 1, 0)),
        ((0.05, 0.95), 8, (0, 8)),
        ((0.07, 0.93), 8, (1, 7)),
    ],
)
def test_parts_are_rounded_as_said(fractions, batch, sizes):
    assert mix(*fractions).sizes(batch) == sizes


def ten(sampler, size=8):
    """Ten rows."""
    replay = jb.Replay(10, None, size, jb.Items(), sampler)
    return replay, filled(replay, told_apart(10))


@pytest.mark.parametrize("size", long_but([1, 2, 3, 5, 8, 13], quick=[5]))
def test_each_part_draws_its_windows_in_order_and_every_window_has_the_mixtures_probability(size):
    sampler = jb.Mix((0.4, NEW), (0.35, jb.Recent(horizon=5)), (0.25, U))
    replay, state = ten(sampler, size)
    batch, sizes = drawn(replay, state), sampler.sizes(size)
    time = batch.index.time
    assert (time[: sizes[0]] >= 8).all()
    assert (time[sizes[0] : sizes[0] + sizes[1]] >= 5).all()
    share = np.array(sizes) / size
    want = share[0] * (time >= 8) / 2 + share[1] * (time >= 5) / 5 + share[2] / 10
    np.testing.assert_allclose(batch.probability, want, rtol=1e-6)


def of_every_row(sampler):
    replay, state = ten(sampler)
    return likely(replay, state, np.arange(10))


def test_draws_are_as_frequent_as_the_mixture_says():
    sampler = jb.Mix((0.3, NEW), (0.7, jb.Recent(half_life=2)))
    replay, state = ten(sampler, 60_000)
    batch = drawn(replay, state)
    weight = 2.0 ** (np.arange(10) / 2)
    null = 0.7 * weight / weight.sum() + 0.3 * (np.arange(10) >= 8) / 2
    wrong = {"the other way round": 0.3 * weight / weight.sum() + 0.7 * (np.arange(10) >= 8) / 2}
    fits(np.bincount(batch.index.time, minlength=10), null, wrong | {"one part": weight / weight.sum()})
    np.testing.assert_allclose(batch.probability, null[batch.index.time], rtol=1e-5)
    np.testing.assert_allclose(of_every_row(sampler), null, rtol=1e-5)


def test_a_mix_in_a_mix_is_the_product_of_their_fractions():
    inner = jb.Mix((0.5, NEW), (0.5, jb.Recent(horizon=4)))
    outer = jb.Mix((0.5, inner), (0.5, U))
    row = np.arange(10)
    want = 0.25 * (row >= 8) / 2 + 0.25 * (row >= 6) / 4 + 0.5 / 10
    np.testing.assert_allclose(of_every_row(outer), want, rtol=1e-6)
    replay, state = ten(outer, 8)
    time = drawn(replay, state).index.time
    assert (time[:2] >= 8).all()
    assert (time[2:4] >= 6).all()
    np.testing.assert_allclose(drawn(replay, state).probability, want[time], rtol=1e-6)


def test_equal_parts_draw_independently_of_each_other():
    inner = mix(0.5, 0.5)
    for sampler in [*budget([], [mix(0.5, 0.5)]), jb.Mix((0.5, inner), (0.5, inner))]:
        replay = jb.Replay(6, None, 80_000, jb.Items(), sampler)
        time = drawn(replay, filled(replay, told_apart(6))).index.time
        for other in (time.reshape(2, -1), time.reshape(4, -1)[::2], time.reshape(4, -1)[1:3]):
            counts, null = np.bincount(other[0] * 6 + other[1], minlength=36), np.full(36, 1 / 36)
            again = 0.9 * null + 0.1 * np.eye(6).reshape(-1) / 6
            fits(counts, null, {"one in ten is the other part's": again})


def test_a_part_of_size_zero_is_not_asked_and_need_not_have_a_window():
    # The newest rows of the stream end episodes: no pair begins among the last two.
    replay = jb.Replay(10, None, 2, jb.Transitions(), jb.Mix((0.9, U), (0.1, NEW)))
    state = filled(replay, told_apart(10, first=[0, 8, 9]))
    assert replay.sampler.sizes(2) == (2, 0)
    batch = drawn(replay, state)
    assert batch.valid
    np.testing.assert_allclose(batch.probability, np.full(2, 1 / 7), rtol=1e-6)
    # With a place in the batch it must have one: the batch is not valid, and all of it is empty.
    batch = drawn(replay, state, size=10)
    assert not batch.valid
    assert not batch.mask.any()
    assert not batch.probability.any()
    assert not batch.data.obs.any()


def update(replay, **values):
    return quick_jit(lambda state, index: replay.update(state, index, **values))


@pytest.mark.long  # quick: a mixture in test_every_sampler.py
def test_priorities_reach_those_that_take_them_and_uses_reach_all():
    prioritized, once = jb.Prioritized(alpha=1.0, eps=1e-9), jb.WithoutReplacement()
    sampler = jb.Mix((0.25, U), (0.25, prioritized), (0.25, jb.RankBased()), (0.25, once))
    replay, state = ten(sampler)
    assert sampler.takes_priority
    index = jb.Index(jnp.zeros(3, jnp.int32), jnp.array([1, 4, 4], jnp.int32))
    priority = np.float32([5, 2, 7])
    state = update(replay, priority=priority)(state, index)
    for i, part in enumerate((U, prioritized, jb.RankBased(), once)):
        alone, plain = ten(part)
        plain = update(alone, **({"priority": priority} if part.takes_priority else {}))(plain, index)
        jax.tree.map(np.testing.assert_array_equal, state.sampler[i], plain.sampler)
    without = update(replay)(state, index)  # no priority: nothing changes but what has come
    jax.tree.map(np.testing.assert_array_equal, without.sampler[:3], state.sampler[:3])


@pytest.mark.long  # quick: a mixture in test_every_sampler.py
def test_values_written_back_reach_the_parts_that_look_at_them():
    sampler = jb.Mix((0.5, jb.Clustered("group", groups=2)), (0.5, jb.Mix((1.0, jb.Clustered("group", groups=2)))))
    replay = jb.Replay(4, None, 4, jb.Items(), sampler)
    state = filled(replay, {"group": np.int32([[0], [0], [0], [1]])})
    index = jb.Index(jnp.zeros(2, jnp.int32), jnp.array([0, 1], jnp.int32))
    state = update(replay, rows={"group": jnp.ones(2, jnp.int32)})(state, index)
    np.testing.assert_allclose(np.sort(drawn(replay, state, size=64).probability)[[0, -1]], [1 / 6, 1 / 2], rtol=1e-6)


def test_a_batch_that_straddles_an_epoch_gives_no_window_the_probability_zero():
    replay, state = ten(jb.Mix((0.5, NEW), (0.5, jb.WithoutReplacement())))
    turn = quick_jit(lambda s, k: (b := replay.sample(s, k), replay.update(s, b.index)))
    seen = []
    for seed in range(12):
        batch, state = turn(state, jax.random.key(seed))
        assert (batch.probability > 0).all()
        assert (batch.probability <= 1).all()
        seen += batch.index.time[4:].tolist()
    assert {*seen} == {*range(10)}


@pytest.mark.parametrize(
    "parts, match",
    [
        ((), "at least one pair"),
        (((0.5, U),), "add up to"),
        (((0.5, U), (0.6, U)), "add up to"),
        (((0.0, U), (1.0, U)), "above 0"),
        (((-0.5, U), (1.5, U)), "above 0"),
        (((math.nan, U), (1.0, U)), "above 0"),
        (((True, U),), "above 0"),
        ((("0.5", U), (0.5, U)), "above 0"),
        ((U, U), "pairs"),
        (((1.0, jb.Uniform),), r"Write Uniform\(\)"),
        (([1.0, U],), "pairs"),
        (((1.0, U, 2),), "pairs"),
        (((0.5, U), (0.5, jb.OnlineFirst())), r"OnlineFirst\(.*\) does not say how likely"),
    ],
)
def test_impossible_mixtures_are_refused(parts, match):
    with pytest.raises(jb.errors.ConfigurationError, match=match):
        jb.Mix(*parts)


def test_a_mixture_asks_of_the_row_what_its_parts_ask_and_is_a_value():
    sampler = jb.Mix((0.5, jb.ByEpisode()), (0.5, jb.Clustered("extras.group", groups=2)))
    assert sampler.fields == ("is_first", "extras")
    assert not sampler.takes_priority
    with pytest.raises(jb.errors.MissingFieldError, match="is_first"):
        jb.Replay(4, None, 2, sampler=sampler).init({"extras": {"group": np.int32(0)}})
    assert sampler == jb.Mix(*sampler.parts)
    assert hash(sampler) == hash(jb.Mix(*sampler.parts))
    assert sampler != jb.Mix(*sampler.parts[::-1])
    make = functools.partial(jb.Mix, (1, U))
    assert make() == make()
