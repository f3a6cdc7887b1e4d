"""Numbers as unevaluated sums of two floats, the rounded value and what the rounding lost: twice the bits.

Two things need them. A random number of 24 bits has 16.8 million values, too few to point fairly at ten million leaves
of a tree. And in plain float32 a recursion of 20,000 steps drifts from the true one by 1e-4 of the largest return where
gamma is 0.9999 or 1; with rounding errors carried along, results are as good as those of a float64 recursion rounded
once at the end, for some ten times the arithmetic.

Sums follow Knuth (1969), products Dekker (1971), both in the arrangement of Joldes, Muller and Popescu (2017). Factors
are split by their bits, so that a compiler which fuses a product into a sum does not change the result. Gradients are
those of the plain operations: what rounding lost is a constant to them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Double(NamedTuple):
    """The number ``high + low``, of which ``high`` is the nearest float."""

    high: jax.Array
    low: jax.Array

    def below(self, other: jax.Array) -> jax.Array:
        """Say whether the number is less than a float."""
        return (self.high < other) | ((self.high == other) & (self.low < 0))


def of(x: jax.Array) -> Double:
    """Return an array as numbers in two words; 16-bit and narrower floats as float32."""
    high = x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    return Double(high, _masked(high, 0))


def constant(value: float, like: Double) -> Double:
    """Return a Python number as one number of the dtype of ``like``, closer than one float could be."""
    dtype = like.high.dtype
    return Double(jnp.asarray(value, dtype), jnp.asarray(value - float(np.asarray(value, dtype)), dtype))


def zeros(like: Double) -> Double:
    """Return zeros."""
    return jax.tree.map(lambda leaf: _masked(leaf, 0), like)


def fraction(high: jax.Array, low: jax.Array) -> Double:
    """Turn 64 random bits, two uint32 arrays, into the 48 leading ones as a number in ``[0, 1)``."""
    leading = (high >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)
    following = ((high & jnp.uint32(0xFF)) << jnp.uint32(16)) | (low >> jnp.uint32(16))
    return Double(*_sum(leading, following.astype(jnp.float32) * jnp.float32(2**-48)))


def quotient(number: jax.Array, divisor: int) -> Double:
    """Return ``number / divisor`` for a float32 and a whole number below 2**24."""
    by = jnp.float32(divisor)
    high = number / by
    product, error = _product(high, by)
    return Double(*_sum(high, ((number - product) - error) / by))


def add(a: Double, b: Double) -> Double:
    """Return the sum."""
    total, lost = _sum(a.high, b.high)
    return _rounded(total, lost + (a.low + b.low))


def subtract(a: Double, b: Double) -> Double:
    """Return the difference."""
    return add(a, Double(-b.high, -b.low))


def multiply(a: Double, b: Double) -> Double:
    """Return the product."""
    # The factors in halves: the four products of halves are exact, whether or not the compiler rounds a product
    # before it adds to it.
    (a1, a2), (b1, b2) = _halves(a.high), _halves(b.high)
    middle, lost = _sum(a1 * b2, a2 * b1)
    product = a1 * b1 + middle
    # What that sum has lost, and what the low words contribute.
    lost = ((a1 * b1 - product) + middle) + (lost + a2 * b2) + (a.high * b.low + a.low * b.high)
    # Gradients take the plain product. Compilers differ in how they round it; what it becomes here is accounted for.
    plain = a.high * b.high
    plain = plain + _finite(product - plain)
    return _rounded(plain, (product - plain) + lost)


def choose(where: jax.Array, a: Double, b: Double) -> Double:
    """Return ``a`` where the flag is True and ``b`` elsewhere."""
    return Double(jnp.where(where, a.high, b.high), jnp.where(where, a.low, b.low))


def add_float(a: Double, b: jax.Array) -> Double:
    """Return the sum of a number and a float, both finite: cheaper than `add`, and without a thought for gradients."""
    high, low = _sum(a.high, b)
    return Double(*_sum(high, low + a.low))


def multiply_finite(a: Double, b: Double) -> Double:
    """Return the product of two finite numbers: cheaper than `multiply`, and without a thought for gradients."""
    high, low = _product(a.high, b.high)
    return Double(*_sum(high, low + (a.high * b.low + a.low * b.high)))


def _sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rounded sum and what the rounding lost, exactly."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _product(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rounded product and what the rounding lost, exactly."""
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    product = a * b
    return product, (((a1 * b1 - product) + a1 * b2) + a2 * b1) + a2 * b2


def _rounded(high: jax.Array, low: jax.Array) -> Double:
    """Return ``high + low`` in two words, of any smaller ``low``."""
    low = _finite(low)
    total = high + low
    # Infinity leaves NaN over, which the next operation ignores.
    return Double(total, lax.stop_gradient((high - total) + low))


def _finite(x: jax.Array) -> jax.Array:
    """Return x where it is finite and 0 elsewhere, without a gradient."""
    bits = _bits(x.dtype)
    return _masked(x, jnp.zeros((), bits) - jnp.isfinite(x).astype(bits))


def _halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split a float into two of half as many bits, without a gradient."""
    upper = _masked(x, -(2 ** (jnp.finfo(x.dtype).nmant // 2 + 1)))
    return upper, lax.stop_gradient(x) - upper


def _masked(x: jax.Array, mask: Any) -> jax.Array:
    """Keep the bits of a float that are set in the mask, without a gradient."""
    # Instead of a choice between x and 0, for which vmap would move the axes of whole arrays.
    bits = _bits(x.dtype)
    mask = mask if isinstance(mask, jax.Array) else np.array(mask).astype(bits)
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, bits) & mask, x.dtype)


def _bits(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"uint{8 * dtype.itemsize}")
