"""Moving values without changing a bit of them.

XLA for CPU selects, gathers and scatters bfloat16 and 8-bit floats by way of float32, which alters
the payload of NaNs, and 2- and 4-bit integers by rewriting the whole array. Narrow floats are
therefore stored and moved as integers of their width, narrow integers as bytes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def bits_dtype(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which values of ``dtype`` are stored and moved."""
    if dtype.name in ("int2", "int4", "uint2", "uint4"):
        return np.dtype(np.uint8 if dtype.name.startswith("u") else np.int8)
    narrow = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
    return np.dtype(f"uint{8 * dtype.itemsize}") if narrow else dtype


def to_bits(x: jax.Array) -> jax.Array:
    """Reinterpret narrow floats and widen narrow integers; anything else stays as it is."""
    bits = bits_dtype(x.dtype)
    if bits == x.dtype:
        return x
    return lax.bitcast_convert_type(x, bits) if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(bits)


def from_bits(x: jax.Array, dtype: np.dtype) -> jax.Array:
    """Undo `to_bits`."""
    if x.dtype == dtype:
        return x
    return lax.bitcast_convert_type(x, dtype) if jnp.issubdtype(dtype, jnp.floating) else x.astype(dtype)


def exactly(fn: Callable[..., jax.Array], *trees: Any) -> Any:
    """Apply a function that only moves values to every leaf, by its bits."""

    def move(*leaves: jax.Array) -> jax.Array:
        leaves = tuple(map(jnp.asarray, leaves))
        return from_bits(fn(*map(to_bits, leaves)), leaves[0].dtype)

    return jax.tree.map(move, *trees)


def expand(flag: jax.Array, ndim: int) -> jax.Array:
    """Append axes of size 1 until ``flag`` has ``ndim`` axes, for explicit broadcasting."""
    return flag.reshape(flag.shape + (1,) * (ndim - flag.ndim))


def zero_where_not(mask: jax.Array, tree: Any) -> Any:
    """Zero the entries of every leaf whose leading axes are False in ``mask``."""
    return exactly(lambda x: jnp.where(expand(mask, x.ndim), x, jnp.zeros((), x.dtype)), tree)


def in_words(x: jax.Array) -> bool:
    """Whether the last axis of an array of narrow numbers fills whole 32-bit words."""
    return x.dtype.itemsize in (1, 2) and x.dtype != jnp.bool_ and x.shape[-1] * x.dtype.itemsize % 4 == 0


def through_words(fn: Callable[..., jax.Array], x: jax.Array, *args: Any) -> jax.Array:
    """Apply a function that moves whole rows of ``x`` to its 32-bit words: the same bytes, four at a time.

    A GPU copies bytes one by one at half the speed of words (``docs/decisions/0022-accelerators.md``). There, both
    reinterpretations are free. For arrays that are `in_words`.
    """
    each = 4 // x.dtype.itemsize
    words = lax.bitcast_convert_type(x.reshape(*x.shape[:-1], x.shape[-1] // each, each), jnp.uint32)
    moved = lax.bitcast_convert_type(fn(words, *args), x.dtype)
    return moved.reshape(*moved.shape[:-2], moved.shape[-2] * each)


def write_row(stored: jax.Array, place: jax.Array, row: jax.Array) -> jax.Array:
    """Replace ``stored[place]`` by ``row``, in place; nothing is written beyond the end."""

    def write(stored: jax.Array, row: jax.Array) -> jax.Array:
        return stored.at[place].set(row, mode="drop")

    # XLA for CPU writes these by way of a wider float, which alters NaN.
    if jnp.issubdtype(stored.dtype, jnp.floating) and (stored.dtype == jnp.bfloat16 or stored.dtype.itemsize == 1):
        return lax.platform_dependent(stored, row, cpu=partial(exactly, write), default=write)
    return write(stored, row)
