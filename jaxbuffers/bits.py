"""Moving values without changing a bit of them.

XLA for CPU selects, gathers and scatters bfloat16 and 8-bit floats by way of float32, which alters
the payload of NaNs. Narrow floats are therefore moved as integers of their width.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def bits_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which values of ``dtype`` are stored and moved."""
    narrow = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
    return np.dtype(f"uint{8 * dtype.itemsize}") if narrow else dtype


def to_bits(x: jax.Array) -> jax.Array:
    """Reinterpret narrow floats as integers; anything else stays as it is."""
    bits = bits_dtype(x.dtype)
    return x if bits == x.dtype else lax.bitcast_convert_type(x, bits)


def from_bits(x: jax.Array, dtype: np.dtype) -> jax.Array:
    """Undo `to_bits`."""
    return x if x.dtype == dtype else lax.bitcast_convert_type(x, dtype)


def expand(flag: jax.Array, ndim: int) -> jax.Array:
    """Append axes of size 1 until ``flag`` has ``ndim`` axes, for explicit broadcasting."""
    return flag.reshape(flag.shape + (1,) * (ndim - flag.ndim))


def zero_where_not(mask: jax.Array, tree: Any) -> Any:
    """Zero the entries of every leaf whose leading axes are False in ``mask``."""

    def select(x: jax.Array) -> jax.Array:
        bits = to_bits(x)
        return from_bits(jnp.where(expand(mask, x.ndim), bits, jnp.zeros((), bits.dtype)), x.dtype)

    return jax.tree.map(select, tree)
