"""Bit-exact packing of a row's small leaves into one block of uint32 words.

One scatter and one gather then serve all of them; see ``docs/decisions/0002-packing.md``.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxbuffers.row import RowSpec
from jaxbuffers.storage.bits import bits_dtype, from_bits, to_bits

SMALL = 512  # bytes; a larger leaf keeps a block of its own, in its own dtype
SIZES = (8, 4, 2, 1)  # leaves of one item size lie side by side, the widest first; each group fills whole words


@dataclass(frozen=True)
class Packing:
    """Where each leaf of a row lives: at byte ``offsets[i]`` of the block, or None for a block of its own."""

    spec: RowSpec
    offsets: tuple[int | None, ...]
    words: int

    @classmethod
    def of(cls, spec: RowSpec) -> "Packing":
        """Lay the small leaves out, group after group."""
        offsets: list[int | None] = [None] * len(spec.shapes)
        end = 0
        for size in SIZES:
            for i, (shape, dtype) in enumerate(zip(spec.shapes, spec.dtypes, strict=True)):
                if dtype.itemsize == size and _packable(dtype) and math.prod(shape) * size <= SMALL:
                    offsets[i], end = end, end + math.prod(shape) * size
            end += -end % 4
        return cls(spec, tuple(offsets), end // 4)

    @property
    def large(self) -> tuple[int, ...]:
        """The leaves that keep a block of their own."""
        return tuple(i for i, offset in enumerate(self.offsets) if offset is None)

    @property
    def small(self) -> tuple[int, ...]:
        """The leaves that share the word block."""
        return tuple(i for i, offset in enumerate(self.offsets) if offset is not None)

    def pack(self, leaves: dict[int, jax.Array], lead: tuple[int, ...]) -> jax.Array:
        """Pack all small leaves ``[*lead, *shape]`` into words ``[*lead, W]``."""
        groups = []
        for size in SIZES:
            group = [i for i in self.small if self.spec.dtypes[i].itemsize == size]
            if group:
                items = [_to_unsigned(leaves[i]).reshape(*lead, math.prod(self.spec.shapes[i])) for i in group]
                alone = size < 4 and all(item.shape[-1] == 1 for item in items)
                groups.append(_side_by_side(items, size) if alone else _to_words(jnp.concatenate(items, axis=-1)))
        return jnp.concatenate(groups, axis=-1)

    def unpack(self, words: jax.Array, leaf: int) -> jax.Array:
        """Read one small leaf ``[*lead, *shape]`` back out of words ``[*lead, W]``."""
        shape, dtype, offset = self.spec.shapes[leaf], self.spec.dtypes[leaf], self.offsets[leaf]
        assert offset is not None
        size, count = dtype.itemsize, math.prod(shape)
        first, last = offset // 4, -(-(offset + count * size) // 4)
        found = lax.slice_in_dim(words, first, last, axis=-1)
        if count == 1 and size < 4:  # a flag, such as is_terminal: one shift instead of a word taken apart
            items = (found >> jnp.uint32(8 * (offset - 4 * first))).astype(f"uint{8 * size}")
        else:
            skip = (offset - 4 * first) // size
            items = lax.slice_in_dim(_from_words(found, size), skip, skip + count, axis=-1)
        items = items.reshape(*words.shape[:-1], *shape)
        if dtype == np.bool_:
            return items.astype(jnp.bool_)
        return from_bits(lax.bitcast_convert_type(items, bits_dtype(dtype)), dtype)


def _packable(dtype: np.dtype) -> bool:
    return dtype.kind != "c"  # complex numbers have no bitcast: they keep a block of their own


def _to_unsigned(leaf: jax.Array) -> jax.Array:
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint8)
    return lax.bitcast_convert_type(to_bits(leaf), jnp.dtype(f"uint{8 * leaf.dtype.itemsize}"))


def _to_words(items: jax.Array) -> jax.Array:
    """Reinterpret unsigned integers ``[*lead, n]`` of any width as words, the last one filled up with zeros."""
    lead, size = items.shape[:-1], items.dtype.itemsize
    if size == 8:
        return lax.bitcast_convert_type(items, jnp.uint32).reshape(*lead, 2 * items.shape[-1])
    if size == 4:
        return items
    per_word = 4 // size
    items = jnp.pad(items, [(0, 0)] * len(lead) + [(0, -items.shape[-1] % per_word)])
    return lax.bitcast_convert_type(items.reshape(*lead, items.shape[-1] // per_word, per_word), jnp.uint32)


def _side_by_side(items: list[jax.Array], size: int) -> jax.Array:
    """Do the same for single integers ``[*lead, 1]`` of less than a word, such as flags, in fewer operations."""
    per_word = 4 // size
    words = []
    for first in range(0, len(items), per_word):
        some = enumerate(items[first : first + per_word])
        words.append(
            functools.reduce(jnp.bitwise_or, [x.astype(jnp.uint32) << jnp.uint32(8 * size * k) for k, x in some])
        )
    return jnp.concatenate(words, axis=-1)


def _from_words(words: jax.Array, size: int) -> jax.Array:
    """Reinterpret words ``[*lead, W]`` as unsigned integers of ``size`` bytes ``[*lead, n]``."""
    lead = words.shape[:-1]
    if size == 8:
        return lax.bitcast_convert_type(words.reshape(*lead, words.shape[-1] // 2, 2), jnp.uint64)
    if size == 4:
        return words
    items = lax.bitcast_convert_type(words, jnp.dtype(f"uint{8 * size}"))
    return items.reshape(*lead, words.shape[-1] * 4 // size)
