"""Numbers in two words, a value and what its rounding left over, and their backward recursion.

In plain float32 a recursion of 20,000 steps drifts from the true one by 1e-4 of the largest return where
gamma is 0.9999 or 1. Here sums and products keep their rounding errors (Dekker 1971; Joldes, Muller and
Popescu 2017), and results are as good as those of a float64 recursion rounded once at the end, for some ten
times the arithmetic. Gradients are those of the plain recursion: the left-overs are constants to them.
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


def words(x: jax.Array) -> Double:
    """Return an array as numbers in two words; 16-bit and narrower floats as float32."""
    high = x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
    return Double(high, _masked(high, 0))


def constant(value: float, like: Double) -> Double:
    """Return a Python number as one number of the dtype of ``like``, closer than one float could be."""
    dtype = like.high.dtype
    return Double(jnp.asarray(value, dtype), jnp.asarray(value - float(np.asarray(value, dtype)), dtype))


def add(a: Double, b: Double) -> Double:
    """Return the sum."""
    total, lost = _sum(a.high, b.high)
    return _rounded(total, lost + (a.low + b.low))


def subtract(a: Double, b: Double) -> Double:
    """Return the difference."""
    return add(a, Double(-b.high, -b.low))


def multiply(a: Double, b: Double) -> Double:
    """Return the product."""
    # Compilers differ in whether they round a product before they add to it. These are exact either way:
    (a1, a2), (b1, b2) = _halves(a.high), _halves(b.high)
    middle, lost = _sum(a1 * b2, a2 * b1)
    product = a1 * b1 + middle
    lost = ((a1 * b1 - product) + middle) + (lost + a2 * b2) + (a.high * b.low + a.low * b.high)
    # This one, which gradients take, is not; what it becomes here is what is accounted for.
    plain = a.high * b.high
    plain = plain + _finite(product - plain)
    return _rounded(plain, (product - plain) + lost)


def choose(where: jax.Array, a: Double, b: Double) -> Double:
    """Return ``a`` where the flag is True and ``b`` elsewhere."""
    return Double(jnp.where(where, a.high, b.high), jnp.where(where, a.low, b.low))


def zeros(like: Double) -> Double:
    """Return zeros."""
    return jax.tree.map(lambda leaf: _masked(leaf, 0), like)


def backward(x: Double, weight: Double, cut: jax.Array) -> Double:
    """Return ``y[t] = x[t] + weight[t] * y[t + 1]``, without the second term where ``cut`` is True.

    Args:
      x: ``[T]``.
      weight: ``[]`` or ``[T]``.
      cut: bool ``[T]``, True in the end; what lies beyond a cut may be anything, NaN included.
    """
    start = jax.tree.map(lambda leaf: jnp.zeros((), leaf.dtype), x)
    weight = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, cut.shape), weight)
    return lax.scan(_step, start, (x, weight, cut), reverse=True)[1]


def _step(after: Double, now: Any) -> tuple[Double, Double]:
    x, weight, cut = now
    y = add(x, multiply(weight, choose(cut, zeros(after), after)))
    return y, y


def _sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rounded sum and its exact error (Knuth 1969)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


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
