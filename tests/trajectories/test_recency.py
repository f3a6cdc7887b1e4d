"""Steps are drawn without replacement with weights (rank + 1)^power: exactly, for every power, at every size."""

from itertools import permutations

import jax
import numpy as np
import pytest
from scipy import stats
from tier import budget, long_but

from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError
from jaxbuffers.trajectories import TrajectoryPool, draw_recent
from jaxbuffers.trajectories.recency import _log_share, _noise, dense_ranks, recent
from trajectories.made import trajectory

DRAWS = budget(2000, 40_000)
POWERS = [-10.0, -2.0, 0.0, 0.5, 2.0, 3.7]


def inclusion(weights, count):
    """How likely each thing is drawn, by all orders in which ``count`` can be."""
    chance = np.zeros(len(weights))
    for order in permutations(range(len(weights)), count):
        left, likely = sum(weights), 1.0
        for i in order:
            likely *= weights[i] / left
            left -= weights[i]
        for i in order:
            chance[i] += likely
    return chance


def draws_of_numpy(ranks, count, power, **options):
    return np.array([recent((7, i), np.array(ranks), count, power, **options) for i in range(DRAWS)])


def draws_of_jax(ranks, count, power, **options):
    keys = jax.random.split(jax.random.key(3), DRAWS)
    eligible = jax.numpy.ones(len(ranks), bool)
    given = jax.numpy.array(ranks, "int32")
    return np.asarray(jax.vmap(lambda key: draw_recent(key, eligible, count, power, rank=given, **options)[0])(keys))


FORMS = {"numpy": draws_of_numpy, "jax": draws_of_jax}


def check_counts(draws, weights, count):
    """Each thing as often as it should be, at a false alarm of 1e-6, Bonferroni over the things."""
    assert all(len(set(draw)) == count for draw in draws.tolist())
    for i, chance in enumerate(inclusion(weights, count)):
        seen = int((draws == i).any(axis=1).sum())
        assert stats.binomtest(seen, len(draws), chance).pvalue > 1e-6 / len(weights)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("power", long_but(POWERS, quick=[0, 3, 5]))
def test_each_of_four_is_among_two_as_often_as_enumeration_says(form, power):
    """With 2000 draws, a chance off by 0.07 is noticed with a power above 0.99; with 40,000 one off by 0.016."""
    check_counts(FORMS[form](range(4), 2, power), np.arange(1.0, 5.0) ** power, 2)


@pytest.mark.parametrize("form", FORMS)
def test_equal_ranks_have_equal_weights(form):
    check_counts(FORMS[form]([0, 0, 1, 1], 2, 2.0), [1, 1, 4, 4], 2)


@pytest.mark.parametrize("form", FORMS)
def test_the_first_of_fifty_follows_the_weights(form):
    """Chi-square over nine groups of five, false alarm 1e-6: a power of 2.3 is noticed at 40,000 draws, 3 at 2000."""
    firsts = FORMS[form](range(50), 3, 2.0)[:, 0]
    weights = np.arange(1.0, 51.0) ** 2
    bins = np.minimum(np.arange(50) // 5, 9)
    expected = np.bincount(bins, weights) / weights.sum() * DRAWS
    seen = np.bincount(bins[firsts], minlength=10)
    assert stats.chisquare(seen[1:], expected[1:] * seen[1:].sum() / expected[1:].sum()).pvalue > 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_a_power_of_one_is_uniform_unless_that_is_switched_off(form):
    check_counts(FORMS[form](range(4), 2, 1.0), np.ones(4), 2)
    check_counts(FORMS[form](range(4), 2, 1.0, one_is_uniform=False), np.arange(1.0, 5.0), 2)


@pytest.mark.parametrize("power", long_but([-10.0, -1.0, 1.0, 2.0, 7.0, 100.0, 1000.0], quick=[0, 6]))
def test_every_power_is_finite_at_a_million_steps(power):
    count, size = 1800, 10**6
    place = recent((0,), np.arange(size), count, power, one_is_uniform=False)
    assert len(set(place.tolist())) == count
    there = np.asarray(
        draw_recent(jax.random.key(0), jax.numpy.ones(size, bool), count, power, one_is_uniform=False)[1]
    )
    assert there.all()
    if power >= 100:  # weights fall to 1/e in a hundredth of the steps: 1800 of the newest 10^6 * log(10^6) / power
        assert place.min() > size * (1 - 20 / power)
    if power <= -10:
        assert 0 in place
        assert 1 in place


@pytest.mark.parametrize("power", [-10.0, -1.0, 2.0, 100.0])
def test_weights_of_the_likeliest_among_a_million_are_exact_in_float32(power):
    rank = np.arange(10**6)
    likeliest = rank[-1000:] if power > 0 else rank[:1000]
    weight = power * np.asarray(jax.jit(lambda x: _log_share(jax.numpy, x, power))(rank.astype(np.float32)))
    true = power * np.log(rank + 1.0)
    found, wanted = weight[likeliest] - weight.max(), true[likeliest] - true.max()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_ties_do_not_favor_the_oldest_of_a_million():
    """With 23 random bits for each, about five of the best hundred are equal to others, and the older ones win."""
    equal = jax.jit(lambda key: jax.lax.top_k(_noise(key, (10**6,)), 100)[0])
    draws = [np.asarray(equal(jax.random.key(i))) for i in range(budget(4, 40))]
    assert sum(100 - len(np.unique(best)) for best in draws) <= len(draws) / 2


def test_the_jit_form_has_static_shapes_and_says_what_is_there():
    eligible = jax.numpy.array([True, False, True, False, True])

    @jax.jit
    def draw(key, eligible):
        return draw_recent(key, eligible, 4, 2.0)

    place, there = draw(jax.random.key(1), eligible)
    assert there.tolist() == [True, True, True, False]
    assert sorted(place.tolist()[:3]) == [0, 2, 4]
    assert draw(jax.random.key(1), jax.numpy.zeros(5, bool))[1].tolist() == [False] * 4
    firsts = np.array([int(draw(jax.random.key(i), eligible)[0][0]) for i in range(200)])
    assert (firsts == 4).mean() > (firsts == 0).mean() + 0.3  # 9/14 against 1/14: ranks are counted among the eligible


def test_wrong_arguments_are_refused():
    key, eligible = jax.random.key(0), jax.numpy.ones(4, bool)
    for error, given in (
        (ConfigurationError, {"num_samples": 5}),
        (ConfigurationError, {"num_samples": 0}),
        (ConfigurationError, {"recency_bias_power": float("nan")}),
        (ConfigurationError, {"recency_bias_power": 1001}),
        (DtypeError, {"eligible": jax.numpy.ones(4)}),
        (DtypeError, {"rank": jax.numpy.ones(4)}),
        (ShapeError, {"rank": jax.numpy.ones(3, "int32")}),
    ):
        with pytest.raises(error):
            draw_recent(**{"key": key, "eligible": eligible, "num_samples": 2} | given)


def test_a_pool_ranks_steps_trajectories_or_iterations():
    """Shares of the newest, by weights: each is estimated within 0.05 (five standard deviations of 2000 draws)."""
    pool = TrajectoryPool()
    pool.extend([trajectory(i, 2, iteration=i // 2) for i in range(4)])  # ranks 0..7, 0..3, 0..1
    last = {"step": 64 / 204 + 49 / 204, "trajectory": 16 / 30, "iteration": 4 / 10}
    draws = budget(600, 2000)
    for rank_by, share in last.items():
        seen = [
            int(pool.get_training_samples(1, 2.0, rank_by=rank_by, seed=seed).trajectory[0]) == 3
            for seed in range(draws)
        ]
        assert abs(np.mean(seen) - share) < 0.1
    assert dense_ranks(np.array([5, -1, 5, 9])).tolist() == [1, 0, 1, 2]
