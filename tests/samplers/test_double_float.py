"""Pairs of float32, as a sum tree needs them, against Python's fractions, as compiled code computes them.

Fractions have no rounding, so each bound below is checked and not assumed. Full compilation is meant:
it may fuse a product into a sum, which is where such arithmetic breaks.
"""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit, users_jit
from tier import budget, long_but

from jaxbuffers.numerics.double_float import Double, add_float, fraction, multiply_finite, quotient

COUNT = budget(400, 4000)
WORDS = np.array([0, 1, 0xFF, 0x100, 0x1FF, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 256, 2**32 - 1], np.uint32)


def random_floats(seed, low=-40, high=40):
    """Positive float32 of random bits over many binary orders."""
    rng = np.random.default_rng(seed)
    return np.ldexp(rng.uniform(1, 2, COUNT), rng.integers(low, high, COUNT)).astype(np.float32)


def random_pairs(seed):
    """Normalized pairs; a tenth have a low part of zero, and some of half a unit in the last place."""
    rng = np.random.default_rng(seed)
    high = random_floats(seed).astype(np.float64)
    step = np.spacing(high.astype(np.float32)).astype(np.float64)
    share = np.where(rng.random(COUNT) < 0.1, 0, np.where(rng.random(COUNT) < 0.1, 0.5, rng.uniform(-0.5, 0.5, COUNT)))
    low = (step * share).astype(np.float32)
    rounded = (high + low).astype(np.float32)
    return Double(rounded, ((high - rounded) + low).astype(np.float32))


def exact(x):
    """The fractions that a pair, or an array, stands for."""
    if isinstance(x, Double):
        return [high + low for high, low in zip(exact(x.high), exact(x.low), strict=True)]
    return [Fraction(float(value)) for value in np.asarray(x).reshape(-1)]


def worst(got, want, scale=None):
    """The largest error of ``got``, as a multiple of ``scale`` or of the right result."""
    high, low = np.asarray(got.high), np.asarray(got.low)
    assert (high.dtype, low.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal((high.astype(np.float64) + low).astype(np.float32), high, "not normalized")
    scale = scale or want
    errors = (abs(a - b) / abs(s) if s else abs(a - b) for a, b, s in zip(exact(got), want, scale, strict=True))
    return float(max(errors))


@pytest.mark.parametrize("compiled", [users_jit, quick_jit, lambda f: f], ids=["jit", "quick", "eager"])
def test_a_fraction_is_exactly_the_48_leading_bits(compiled):
    rng = np.random.default_rng(0)
    high, low = (rng.integers(0, 2**32, COUNT, np.uint32) for _ in range(2))
    high = np.concatenate([high, np.repeat(WORDS, len(WORDS))])
    low = np.concatenate([low, np.tile(WORDS, len(WORDS))])
    got = compiled(fraction)(high, low)
    want = [Fraction((int(h) << 32 | int(w)) >> 16, 2**48) for h, w in zip(high, low, strict=True)]
    assert worst(got, want) == 0
    assert max(exact(got)) == 1 - Fraction(1, 2**48)
    assert min(exact(got)) == 0


@pytest.mark.parametrize("compiled", [users_jit, quick_jit], ids=["jit", "quick"])
def test_a_product_is_right_to_46_bits(compiled):
    one, other = random_pairs(1), random_pairs(2)
    want = [a * b for a, b in zip(exact(one), exact(other), strict=True)]
    assert worst(compiled(multiply_finite)(one, other), want) < 2**-46
    # Products of the high parts alone, as a compiler that drops the corrections would give, are 2**-24 off.
    rough = Double(one.high * other.high, np.zeros(COUNT, np.float32))
    assert worst(rough, want) > 2**-26


@pytest.mark.parametrize("compiled", [users_jit, quick_jit], ids=["jit", "quick"])
def test_a_difference_is_right_to_46_bits_even_where_nearly_all_of_it_cancels(compiled):
    pair, other = random_pairs(3), random_floats(4)
    near = np.nextafter(pair.high, np.float32(0))
    other = np.where(np.arange(COUNT) % 4 == 0, pair.high, np.where(np.arange(COUNT) % 4 == 1, near, other))
    want = [a - b for a, b in zip(exact(pair), exact(other), strict=True)]
    assert worst(compiled(lambda a, b: add_float(a, -b))(pair, other), want) < 2**-46


DIVISORS = [1, 3, 16, 65_537, 2**24 - 1, 2, 7, 100, 255, 256, 1000, 10_000_019]


@pytest.mark.parametrize("divisor", long_but(DIVISORS, quick=range(5)))
def test_a_quotient_is_right_to_46_bits(divisor):
    number = random_floats(5)
    want = [a / divisor for a in exact(number)]
    assert worst(users_jit(quotient, static_argnums=1)(number, divisor), want) < 2**-46
    assert float(quotient(jnp.float32(0), divisor).high) == float(quotient(jnp.float32(0), divisor).low) == 0


@pytest.mark.parametrize("compiled", [users_jit, quick_jit], ids=["jit", "quick"])
def test_a_whole_number_and_a_fraction_add_up_to_47_bits(compiled):
    rng = np.random.default_rng(6)
    whole = np.concatenate([[0, 1, 2, 255, 2**23, 2**24 - 1], rng.integers(0, 2**24, COUNT - 6)]).astype(np.float32)
    high, low = (np.concatenate([WORDS, rng.integers(0, 2**32, COUNT - len(WORDS), np.uint32)]) for _ in range(2))
    got = compiled(lambda n, h, w: add_float(fraction(h, w), n))(whole, high, low)
    parts = [Fraction((int(h) << 32 | int(w)) >> 16, 2**48) for h, w in zip(high, low, strict=True)]
    assert worst(got, [a + b for a, b in zip(exact(whole), parts, strict=True)]) < 2**-47


def test_below_compares_exactly():
    pair, other = random_pairs(7), random_floats(8)
    kinds = [
        other,
        pair.high,
        np.nextafter(pair.high, np.float32(np.inf)),
        np.nextafter(pair.high, np.float32(0)),
        np.zeros(COUNT, np.float32),
    ]
    for limit in kinds:
        want = [a < b for a, b in zip(exact(pair), exact(limit), strict=True)]
        np.testing.assert_array_equal(users_jit(Double.below)(pair, limit), want)
    assert any(low < 0 for low in pair.low)
    assert any(low == 0 for low in pair.low)
    zero = Double(jnp.zeros(1, jnp.float32), jnp.zeros(1, jnp.float32))
    assert not Double.below(zero, jnp.zeros(1, jnp.float32))[0]


@pytest.mark.parametrize("compiled", [users_jit, quick_jit], ids=["jit", "quick"])
@pytest.mark.parametrize("batch", long_but([1, 3, 256, 4096, 1_000_003], quick=[1, 4]))
def test_a_target_in_its_stratum_is_right_to_44_bits(batch, compiled):
    """What a draw computes: (i + u) * total / B, less where the children before it end."""
    rng = np.random.default_rng(9)
    place = rng.integers(0, batch, COUNT).astype(np.float32)
    high, low = (rng.integers(0, 2**32, COUNT, np.uint32) for _ in range(2))
    total = random_floats(10)

    def target(place, high, low, total):
        return multiply_finite(add_float(fraction(high, low), place), quotient(total, batch))

    got = compiled(target)(place, high, low, total)
    parts = [Fraction((int(h) << 32 | int(w)) >> 16, 2**48) for h, w in zip(high, low, strict=True)]
    want = [(i + u) * t / batch for i, u, t in zip(exact(place), parts, exact(total), strict=True)]
    assert worst(got, want) < 2**-44
    begin = (np.asarray(got.high) * rng.random(COUNT)).astype(np.float32)
    left = [a - b for a, b in zip(want, exact(begin), strict=True)]
    assert worst(compiled(lambda a, b: add_float(a, -b))(got, begin), left, scale=exact(total)) < 2**-44


def test_zero_is_a_number_like_any_other():
    zero, some = jnp.zeros(COUNT, jnp.float32), jax.tree.map(jnp.asarray, random_pairs(11))
    nothing = Double(zero, zero)
    for got in (multiply_finite(nothing, some), multiply_finite(some, nothing), add_float(nothing, -zero)):
        assert worst(got, [Fraction(0)] * COUNT) == 0
    assert worst(add_float(some, -zero), exact(some)) == 0
