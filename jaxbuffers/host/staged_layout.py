"""How rows lie while they wait on the host: as in the ring, small leaves in words, so that few arrays are transferred.

The last word of each row says what the row is: bit 0 that it is written, bit 1 that a call brought it. A row that
its call's mask left out has bit 1 alone; one that no call has brought yet is 0.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.row import RowSpec
from jaxbuffers.storage.bits import bits_dtype
from jaxbuffers.storage.packing import Packing

WRITTEN, CALLED = 1, 2
ALIGNMENT = 64  # bytes


class Arrays(NamedTuple):
    """K rows of every stream that wait, ``[K, *lead]`` with the axes of one row of each stream.

    Attributes:
      words: uint32 ``[K, *lead, W + 1]``.
      large: the leaves that are not in the words, ``[K, *lead, ...]``.
    """

    words: Any
    large: tuple[Any, ...]


@dataclass(frozen=True)
class Layout:
    """Rows like ``spec`` of some streams, for hosts to write and devices to read.

    Attributes:
      spec: what one row looks like.
      lead: the axes of one row of each stream: ``(E,)``, or ``()`` for one stream without an axis.
    """

    spec: RowSpec
    lead: tuple[int, ...]

    @cached_property
    def packing(self) -> Packing:
        """Where small leaves lie in the words."""
        return Packing.of(self.spec)

    @cached_property
    def large(self) -> tuple[int, ...]:
        """The leaves that have an array of their own; narrow integers are among them: the ring has them as bytes."""
        return tuple(
            i
            for i, (offset, dtype) in enumerate(zip(self.packing.offsets, self.spec.dtypes, strict=True))
            if offset is None or (bits_dtype(dtype) != dtype and not jnp.issubdtype(dtype, jnp.floating))
        )

    @cached_property
    def nbytes(self) -> int:
        """How many bytes one row of each stream takes."""
        row = 4 * (self.packing.words + 1)
        row += sum(math.prod(self.spec.shapes[i]) * self.spec.dtypes[i].itemsize for i in self.large)
        return row * math.prod(self.lead)

    def arrays(self, size: int) -> Arrays:
        """Allocate ``size`` rows of every stream that no call has brought."""
        lead = size, *self.lead
        large = tuple(_aligned((*lead, *self.spec.shapes[i]), self.spec.dtypes[i]) for i in self.large)
        return Arrays(_aligned((*lead, self.packing.words + 1), np.dtype(np.uint32)), large)

    def columns(self, arrays: Arrays) -> list[np.ndarray]:
        """Return for each leaf the memory of its values, ``[K, *lead, *shape]``, to be written to."""
        large = dict(zip(self.large, arrays.large, strict=True))
        row = arrays.words.view(np.uint8)

        def column(i: int) -> np.ndarray:
            if i in large:
                return large[i]
            shape, dtype, offset = self.spec.shapes[i], self.spec.dtypes[i], self.packing.offsets[i] or 0
            items = row[..., offset : offset + math.prod(shape) * dtype.itemsize].view(dtype)
            return items.reshape(*row.shape[:-1], *shape)

        return [column(i) for i in range(len(self.spec.paths))]

    def read(self, arrays: Arrays) -> tuple[Any, jax.Array, jax.Array]:
        """Return on the device the rows ``[K, *lead, ...]``, which are written ``[K, *lead]``, and how many calls."""
        large = dict(zip(self.large, arrays.large, strict=True))
        leaves = [large[i] if i in large else self.packing.unpack(arrays.words, i) for i in range(len(self.spec.paths))]
        kind = arrays.words[..., -1]
        calls = jnp.sum(kind.reshape(len(kind), -1)[:, 0] >= CALLED, dtype=jnp.int32)
        return self.spec.treedef.unflatten(leaves), kind % CALLED == WRITTEN, calls


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros that begin where JAX on CPU takes an array as it is, without a copy."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)
