"""Bit-exact packing of a row's small leaves into one block of uint32 words.

One scatter and one gather then serve all of them; see ``docs/decisions/0002-packing.md``.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxbuffers.row import RowSpec

SMALL = 512  # bytes; a larger leaf keeps a block of its own, in its own dtype


@dataclass(frozen=True)
class Packing:
    """Where each leaf of a row lives: ``offsets[i]`` words into the block, or None for its own."""

    spec: RowSpec
    offsets: tuple[int | None, ...]
    words: int

    @classmethod
    def of(cls, spec: RowSpec) -> "Packing":
        """Lay the small leaves out one after the other, each from a whole word on."""
        offsets: list[int | None] = []
        words = 0
        for shape, dtype in zip(spec.shapes, spec.dtypes, strict=True):
            small = math.prod(shape) * dtype.itemsize <= SMALL and _packable(dtype)
            offsets.append(words if small else None)
            words += _words(shape, dtype) if small else 0
        return cls(spec, tuple(offsets), words)

    @property
    def large(self) -> tuple[int, ...]:
        """The leaves that keep a block of their own."""
        return tuple(i for i, offset in enumerate(self.offsets) if offset is None)

    @property
    def small(self) -> tuple[int, ...]:
        """The leaves that share the word block."""
        return tuple(i for i, offset in enumerate(self.offsets) if offset is not None)

    def pack(self, leaves: dict[int, jax.Array], lead: tuple[int, ...], kept: jax.Array | None = None) -> jax.Array:
        """Pack small leaves ``[*lead, *shape]`` into words ``[*lead, W]``; the others stay as in ``kept``."""
        parts = []
        for i in self.small:
            shape, dtype, offset = self.spec.shapes[i], self.spec.dtypes[i], self.offsets[i]
            if i in leaves:
                parts.append(_to_words(leaves[i], lead))
            else:
                assert kept is not None
                assert offset is not None
                parts.append(lax.slice_in_dim(kept, offset, offset + _words(shape, dtype), axis=-1))
        return jnp.concatenate(parts, axis=-1)

    def unpack(self, words: jax.Array, leaf: int) -> jax.Array:
        """Read one small leaf ``[*lead, *shape]`` back out of words ``[*lead, W]``."""
        shape, dtype, offset = self.spec.shapes[leaf], self.spec.dtypes[leaf], self.offsets[leaf]
        assert offset is not None
        part = lax.slice_in_dim(words, offset, offset + _words(shape, dtype), axis=-1)
        return _from_words(part, shape, dtype)


def _packable(dtype: np.dtype) -> bool:
    # Complex numbers have no bitcast and 2- or 4-bit integers no whole bytes: both keep their own block.
    return dtype.kind != "c" and "int2" not in dtype.name and "int4" not in dtype.name


def _words(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return -(-math.prod(shape) * dtype.itemsize // 4)


def _to_words(leaf: jax.Array, lead: tuple[int, ...]) -> jax.Array:
    flat = leaf.reshape(*lead, -1)
    if flat.dtype == bool:
        flat = flat.astype(jnp.uint8)
    size = flat.dtype.itemsize
    if size == 4:
        return lax.bitcast_convert_type(flat, jnp.uint32)
    if size == 8:
        return lax.bitcast_convert_type(flat, jnp.uint32).reshape(*lead, -1)
    per_word = 4 // size
    padding = -flat.shape[-1] % per_word
    flat = lax.bitcast_convert_type(flat, jnp.dtype(f"uint{8 * size}"))
    flat = jnp.pad(flat, [(0, 0)] * len(lead) + [(0, padding)])
    return lax.bitcast_convert_type(flat.reshape(*lead, -1, per_word), jnp.uint32)


def _from_words(words: jax.Array, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
    lead, count = words.shape[:-1], math.prod(shape)
    if dtype == np.bool_:
        return _from_words(words, shape, np.dtype(np.uint8)).astype(jnp.bool_)
    if dtype.itemsize == 4:
        flat = lax.bitcast_convert_type(words, dtype)
    elif dtype.itemsize == 8:
        flat = lax.bitcast_convert_type(words.reshape(*lead, count, 2), dtype)
    else:
        flat = lax.bitcast_convert_type(words, jnp.dtype(f"uint{8 * dtype.itemsize}")).reshape(*lead, -1)
        flat = lax.bitcast_convert_type(lax.slice_in_dim(flat, 0, count, axis=-1), dtype)
    return flat.reshape(*lead, *shape)
