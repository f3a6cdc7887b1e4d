"""Filters select the trajectories that a sort in NumPy would, ties and NaN included."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers import filters

SCORES = st.sampled_from([0.0, 1.0, 2.0, -1.0, math.inf, -math.inf, math.nan])


def kept(score, fraction, mask):
    """The best k that count, and whatever ties with the worst of them."""
    counts = [x for x, m in zip(score, mask, strict=True) if m and not math.isnan(x)]
    number = math.ceil(Fraction(str(fraction)) * len(counts))
    if not number:
        return [False] * len(score)
    least = sorted(counts, reverse=True)[number - 1]
    return [bool(m and x >= least) for x, m in zip(score, mask, strict=True)]


@given(rows=st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=9), tenths=st.integers(1, 10))
@settings(max_examples=budget(5, 150), deadline=None)
def test_the_top_quantile_is_that_of_a_sort(rows, tenths):
    score, mask = map(list, zip(*rows, strict=True))
    got = filters.top_quantile(np.float32(score), tenths / 10, np.array(mask))
    assert got.tolist() == kept(score, tenths / 10, mask)


@pytest.mark.parametrize("size", long_but([3, 7, 10, 30, 100, 1000], quick=[1, 5]))
def test_the_number_kept_is_exact_for_every_decimal_fraction(size):
    score = np.random.default_rng(0).permutation(size).astype(np.float32)
    for percent in range(1, 101):
        assert int(filters.top_quantile(score, percent / 100).sum()) == math.ceil(Fraction(percent * size, 100))


def test_successful_wants_the_threshold_reached_and_never_selects_nan():
    score = jnp.array([0.5, 0.49, jnp.nan, jnp.inf, 2.0], jnp.float32)
    np.testing.assert_array_equal(filters.successful(score, 0.5), [True, False, False, True, True])
    np.testing.assert_array_equal(filters.successful(score, 0.5, score < 1), [True, False, False, False, False])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_narrow_floats_without_an_infinity_too(dtype):
    score = jnp.asarray([1, 2, 3, np.nan], dtype)
    np.testing.assert_array_equal(filters.top_quantile(score, 0.5), [False, True, True, False])
    np.testing.assert_array_equal(filters.successful(score, 2), [False, True, True, False])


@given(
    ends=st.lists(st.sampled_from(["", "terminated", "truncated"]), min_size=1, max_size=12),
    begins=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=budget(10, 100), deadline=None)
def test_trajectory_returns_are_those_of_episodes_cut_in_python(ends, begins, seed):
    steps = 12  # one shape, one trace: what is left over is an episode that does not end
    ends = ends + [""] * (steps - len(ends))
    reward = np.random.default_rng(seed).integers(-3, 4, steps).astype(np.float32)
    want, whole, start = np.zeros(steps), np.zeros(steps, bool), 0
    for t in range(steps):
        if ends[t] or t == steps - 1:
            want[start : t + 1] = reward[start : t + 1].sum()
            whole[start : t + 1] = bool(ends[t]) and (start > 0 or begins)
            start = t + 1
    flags = [np.array([e == kind for e in ends]) for kind in ("terminated", "truncated")]
    total, here = jax.jit(filters.trajectory_returns)(reward, *flags, np.bool_(begins))
    np.testing.assert_array_equal(total, want)
    np.testing.assert_array_equal(here, whole)


def test_steps_of_the_best_episodes_of_a_rollout_under_jit_and_vmap():
    """The use in the documentation: filter the steps of a rollout by the return of their episode."""
    reward = jnp.array([[1, 5], [1, 0], [4, 0], [0, 9]], jnp.float32)
    ends = jnp.array([[0, 0], [1, 1], [0, 0], [1, 0]], bool)

    @jax.jit
    def select(reward, ends):
        over = jax.vmap(filters.trajectory_returns, in_axes=(1, 1, 1, None), out_axes=1)
        total, whole = over(reward, ends, jnp.zeros_like(ends), jnp.array(True))
        return filters.successful(total.ravel(), 4, whole.ravel()).reshape(total.shape)

    np.testing.assert_array_equal(select(reward, ends), [[0, 1], [0, 1], [1, 0], [1, 0]])


@pytest.mark.parametrize("mask", [None, np.zeros(0, bool)])
def test_of_nothing_nothing_is_selected(mask):
    none = np.zeros(0, np.float32)
    for select in (filters.successful, filters.top_quantile):
        for call in (select, jax.jit(select, static_argnums=1)):
            got = call(none, 0.5, mask)
            assert (got.shape, got.dtype) == ((0,), np.bool_)


ONE = np.ones(3, np.float32)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: filters.top_quantile(ONE, 0), jb.errors.ConfigurationError, "above 0, at most 1"),
        (lambda: filters.top_quantile(ONE, 1.5), jb.errors.ConfigurationError, "1.5"),
        (lambda: filters.top_quantile(ONE, True), jb.errors.ConfigurationError, "True"),
        (lambda: filters.top_quantile(ONE, math.nan), jb.errors.ConfigurationError, "nan"),
        (lambda: filters.top_quantile(ONE.astype(int), 0.5), jb.errors.DtypeError, "score"),
        (lambda: filters.top_quantile([1.0], 0.5), jb.errors.DtypeError, r"score is a list.*numpy\.array"),
        (lambda: filters.top_quantile([], 0.5), jb.errors.DtypeError, r"score is a list.*numpy\.array"),
        (
            lambda: filters.top_quantile(np.zeros((0, 2), np.float32), 0.5),
            jb.errors.ShapeError,
            r"score has shape \(0, 2\)",
        ),
        (lambda: filters.top_quantile(np.zeros(0, ">f4"), 0.5), jb.errors.DtypeError, r"score has dtype >f4.*astype"),
        (lambda: filters.top_quantile(np.array(["a"]), 0.5), jb.errors.DtypeError, "expected a float one"),
        (lambda: filters.successful(np.zeros(0, np.float32), 0.5, np.ones(1, bool)), jb.errors.ShapeError, "mask"),
        (
            lambda: filters.trajectory_returns(*[ONE[:0], *[ONE[:0] > 0] * 2], True),
            jb.errors.ShapeError,
            "T of at least 1",
        ),
        (lambda: filters.top_quantile(ONE[None], 0.5), jb.errors.ShapeError, "score"),
        (lambda: filters.top_quantile(ONE, 0.5, np.ones(2, bool)), jb.errors.ShapeError, "mask"),
        (lambda: filters.top_quantile(ONE, 0.5, ONE), jb.errors.DtypeError, "mask"),
        (lambda: filters.successful(ONE, math.nan), jb.errors.ConfigurationError, "threshold"),
        (lambda: filters.successful(ONE, ONE), jb.errors.ConfigurationError, "threshold must be a number, got"),
        (
            lambda: filters.successful(jnp.zeros(3, "float8_e4m3fn"), -1e6),
            jb.errors.ConfigurationError,
            "beyond float8",
        ),
        (lambda: filters.successful(ONE, "1"), jb.errors.ConfigurationError, "threshold"),
        (lambda: filters.trajectory_returns(ONE, ONE > 0, ONE > 0, ONE > 0), jb.errors.ShapeError, "begins"),
        (lambda: filters.trajectory_returns(ONE, ONE > 0, ONE > 0, True), jb.errors.ShapeError, "begins"),
    ],
)
def test_mistakes_raise_and_name_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()
