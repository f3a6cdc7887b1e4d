"""The recursion that all returns are: backward in time, with rounding errors carried along."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxbuffers.numerics.double_float import Double, add, choose, multiply, zeros


def backward(x: Double, weight: Double, cut: jax.Array) -> Double:
    """Return ``y[t] = x[t] + weight[t] * y[t + 1]``, without the second term where ``cut`` is True.

    Args:
      x: ``[T]``.
      weight: ``[]`` or ``[T]``.
      cut: bool ``[T]``, True in the end; what lies beyond a cut may be anything, NaN included.
    """
    start = beyond(x)
    weight = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, cut.shape), weight)
    return lax.scan(_step, start, (x, weight, cut), reverse=True)[1]


def beyond(x: Double) -> Double:
    """Return something to begin with behind the last step, where nothing is read: ``[]``.

    It is taken from the steps because under ``jax.vmap``, over an axis that is sharded over an Explicit mesh, JAX
    refuses loops that begin with a constant.
    """
    return jax.tree.map(lambda leaf: leaf[-1] if len(leaf) else jnp.zeros((), leaf.dtype), x)


def _step(after: Double, now: Any) -> tuple[Double, Double]:
    x, weight, cut = now
    y = add(x, multiply(weight, choose(cut, zeros(after), after)))
    return y, y
