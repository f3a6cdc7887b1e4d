"""The rate limiter refuses what it cannot count exactly, or what would never be allowed."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxbuffers as jb
from jaxbuffers.rate_limiter import RateLimiter


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0.0, 1, 1), "samples_per_insert must be a finite number above 0"),
        ((-1, 1, 1), "samples_per_insert"),
        ((math.nan, 1, 1), "samples_per_insert"),
        ((math.inf, 1, math.inf), "samples_per_insert"),
        ((True, 1, 1), "samples_per_insert"),
        (("1", 1, 1), "samples_per_insert"),
        ((np.float32(0.3), 1, 1), r"nearest is Fraction\(3, 10\)"),
        ((np.ones(1), 1, 1), "samples_per_insert"),
        ((math.pi, 1, 4), r"nearest is Fraction\(\d+, \d+\)"),
        ((1e-7, 1, 1), "the nearest is"),
        ((Fraction(1, 10**6 + 1), 1, 1), "the nearest is"),
        ((1.0, 0, 1), "min_size must be an int of at least 1"),
        ((1.0, 1.0, 1), "Write 1"),
        ((1.0, 2**31, 1), "min_size below"),
        ((1.0, 1, 0.999), "tolerance must be from .* = 1"),
        ((0.5, 1, 0.75), "tolerance must be from .* = 1"),
        ((3.5, 1, 3.4), r"tolerance must be from .* = 7/2"),
        ((1.0, 1, math.inf), "tolerance must be a finite"),
        ((1.0, 1, math.nan), "tolerance"),
        ((1.0, 1, None), "tolerance"),
        ((1.0, 1, 2.0**29 + 1), "tolerance must be from"),
        ((0.123457, 1, 600), "tolerance must be from"),
    ],
)
def test_an_impossible_configuration_is_refused(arguments, message):
    with pytest.raises(jb.errors.ConfigurationError, match=message):
        RateLimiter(*arguments)


@pytest.mark.parametrize(
    "n, error, message",
    [
        (-1, jb.errors.ConfigurationError, "n must be an int of at least 0"),
        (True, jb.errors.ConfigurationError, "n must be"),
        (1.0, jb.errors.DtypeError, "int32"),
        (np.int64(-1), jb.errors.ConfigurationError, "n must be an int of at least 0"),
        (jnp.uint32(1), jb.errors.DtypeError, "int32"),
        (jnp.float32(1), jb.errors.DtypeError, "int32"),
        (np.ones(2, np.int32), jb.errors.ShapeError, "int32"),
        (None, jb.errors.DtypeError, "None"),
    ],
)
@pytest.mark.parametrize("verb", ["can_insert", "can_sample", "due", "insert", "sample"])
def test_a_count_that_is_no_int32_is_refused(verb, n, error, message):
    limiter = RateLimiter(1, 1, 10)
    with pytest.raises(error, match=message):
        getattr(limiter, verb)(limiter.init(), n)


@pytest.mark.parametrize("verb", ["can_sample", "due", "sample"])
def test_more_samples_at_once_than_any_state_allows_are_refused(verb):
    limiter = RateLimiter(0.5, 1, 2.75)
    getattr(limiter, verb)(limiter.init(), 5)
    with pytest.raises(jb.errors.ConfigurationError, match="a tolerance of 6 would be enough"):
        getattr(limiter, verb)(limiter.init(), 6)


@pytest.mark.parametrize("verb", ["insert", "sample"])
def test_a_violation_raises_under_debug_checks(verb):
    limiter = RateLimiter(1, 1, 1)
    with jb.debug_checks():
        error, _ = jax.jit(checkify.checkify(getattr(limiter, verb)))(limiter.init(), jnp.int32(9))
        fine, _ = jax.jit(checkify.checkify(limiter.insert))(limiter.init())
    assert "without leave" in error.get()
    assert fine.get() is None
