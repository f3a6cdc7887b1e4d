"""Numbers as unevaluated sums of two float32: 48 bits where 24 are too few.

A random number of 24 bits has 16.8 million values: too few to point fairly at ten million leaves.
Sums and differences follow Knuth (1969), products Dekker (1971), with the factors split by their bits, so
that a compiler which fuses a product into a sum does not change the result.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Pair(NamedTuple):
    """``high + low``, where ``high`` is the float32 nearest to the sum."""

    high: jax.Array
    low: jax.Array

    def minus(self, other: jax.Array) -> "Pair":
        """Return ``self - other`` for a float32 ``other``."""
        return _renormalized(*_sum(self.high, -other), self.low)

    def below(self, other: jax.Array) -> jax.Array:
        """Say whether ``self < other`` for a float32 ``other``."""
        return (self.high < other) | ((self.high == other) & (self.low < 0))

    def times(self, other: "Pair") -> "Pair":
        """Return ``self * other``."""
        high, low = _product(self.high, other.high)
        return _renormalized(high, low, self.high * other.low + self.low * other.high)


def unit(high: jax.Array, low: jax.Array) -> Pair:
    """Turn 64 random bits, two uint32 arrays, into the 48 leading ones as a fraction in ``[0, 1)``."""
    leading = (high >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)
    following = ((high & jnp.uint32(0xFF)) << jnp.uint32(16)) | (low >> jnp.uint32(16))
    return Pair(*_sum(leading, following.astype(jnp.float32) * jnp.float32(2**-48)))


def plus_whole(number: jax.Array, fraction: Pair) -> Pair:
    """Return ``number + fraction`` for whole numbers below 2**24, as float32."""
    return _renormalized(*_sum(number, fraction.high), fraction.low)


def quotient(number: jax.Array, divisor: int) -> Pair:
    """Return ``number / divisor`` for a float32 and a whole number below 2**24."""
    by = jnp.float32(divisor)
    high = number / by
    product, error = _product(high, by)
    return Pair(*_sum(high, ((number - product) - error) / by))


def _sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rounded sum and what the rounding lost, exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _product(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rounded product and what the rounding lost, exactly."""
    (a1, a0), (b1, b0) = _halves(a), _halves(b)
    product = a * b
    return product, (((a1 * b1 - product) + a1 * b0) + a0 * b1) + a0 * b0


def _halves(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    bits = lax.bitcast_convert_type(a, jnp.uint32) & jnp.uint32(0xFFFFF000)
    high = lax.bitcast_convert_type(bits, jnp.float32)
    return high, a - high


def _renormalized(high: jax.Array, low: jax.Array, more: jax.Array) -> Pair:
    return Pair(*_sum(high, low + more))
