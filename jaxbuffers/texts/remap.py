"""Remap: ids of one table into those of another, by a gather."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxbuffers.errors import DtypeError
from jaxbuffers.ownership import owned, unshared
from jaxbuffers.replay import ReplayState
from jaxbuffers.texts.live import column, ring_of, text_leaves

UNKNOWN = -2


@struct.dataclass(eq=False)
class Remap:
    """What `TextTable.merge` returns: call it with ids, under ``jit`` or outside.

    Attributes:
      first: int32 ``[]``, the least id that it knows.
      table: int32 ``[n]``, the new id of ``first + i``; -2 where there was no text.

    >>> import jaxbuffers as jb
    >>> here, there = jb.TextTable(), jb.TextTable()
    >>> ids = there.intern(["a", "b"])
    >>> remap = here.merge(there)
    >>> here.lookup(remap(ids))
    ['a', 'b']
    """

    first: jax.Array
    table: jax.Array

    @classmethod
    def of(cls, old: list[int], new: list[int]) -> "Remap":
        """Make it from pairs of ids."""
        first = min(old, default=0)
        table = np.full(max(old, default=0) - first + 1 if old else 1, UNKNOWN, np.int32)
        table[np.array(old, np.int64) - first] = new
        return cls(jnp.int32(first), jnp.asarray(table))

    def __call__(self, ids: Any) -> jax.Array:
        """Return the new ids, int32 of the same shape: -1 and 0 stay, -2 (which no table looks up) for unknown ones."""
        if np.dtype(getattr(ids, "dtype", None)) != np.int32:
            raise DtypeError(f"ids must be an int32 array, got {getattr(ids, 'dtype', type(ids).__name__)}.")
        ids = jnp.asarray(ids)
        place = ids - self.first
        known = (ids > 0) & (place >= 0) & (place < len(self.table))
        new = jnp.where(known, self.table[jnp.where(known, place, 0)], UNKNOWN)
        return jnp.where((ids == 0) | (ids == -1), ids, new)

    def rows(self, state: ReplayState) -> ReplayState:
        """Return a replay state with every text id in its rows replaced; under ``jit``, donate the state.

        Costs the length of the ring. States stacked by ``vmap`` are taken as well.

        Raises:
          StructureError: the rows have no field marked with ``jb.text``.
        """
        if state.ring.time.ndim > 1:
            return jax.vmap(self.rows)(state)
        given, state = state, owned(state)
        ring = ring_of(state.spec, state.ring)
        length, streams = ring.length, ring.num_streams
        new, held = {}, jnp.zeros((length, streams), jnp.bool_)
        for leaf in text_leaves(state.spec):
            ids, held = column(state.spec, leaf, state.ring)
            new[leaf] = self(ids)
        slot, stream = jnp.indices((length, streams), dtype=jnp.int32)
        return unshared(replace(state, ring=ring.write(state.ring, new, slot, stream.astype(jnp.uint32), held)), given)
