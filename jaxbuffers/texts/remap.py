"""Remap: ids of one table into those of another, by a search and a gather."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxbuffers.errors import DtypeError, StructureError
from jaxbuffers.replay import ReplayState
from jaxbuffers.states.ownership import owned, unshared
from jaxbuffers.texts.columns import column, ring_of, text_leaves
from jaxbuffers.texts.nested import UNKNOWN

_NOTHING = np.array([[0], [UNKNOWN]], np.int32)  # 0 is no text, so that nothing is found


@struct.dataclass(eq=False)
class Remap:
    """What `TextTable.merge` returns: call it with ids, under ``jit`` or outside.

    Attributes:
      old: int32 ``[n]``, the ids that it knows, ascending.
      new: int32 ``[n]``, what each becomes.

    >>> import jaxbuffers as jb
    >>> here, there = jb.TextTable(), jb.TextTable()
    >>> ids = there.intern(["a", "b"])
    >>> remap = here.merge(there)
    >>> here.lookup(remap(ids))
    ['a', 'b']
    """

    old: jax.Array
    new: jax.Array

    @classmethod
    def of(cls, old: Sequence[int], new: Sequence[int]) -> "Remap":
        """Make it from pairs of ids."""
        order = np.argsort(np.array(old, np.int32), kind="stable")
        pairs = np.array([old, new], np.int32)[:, order]
        return cls(*map(jnp.asarray, pairs if len(old) else _NOTHING))

    def __call__(self, ids: Any) -> jax.Array:
        """Return the new ids, int32 of the same shape: -1 and 0 stay, -2 (which no table looks up) for unknown ones."""
        if np.dtype(getattr(ids, "dtype", None)) != np.int32:
            raise DtypeError(f"ids must be an int32 array, got {getattr(ids, 'dtype', type(ids).__name__)}.")
        ids = jnp.asarray(ids)
        place = jnp.minimum(jnp.searchsorted(self.old, ids), len(self.old) - 1)
        new = jnp.where(self.old[place] == ids, self.new[place], UNKNOWN)
        return jnp.where((ids == 0) | (ids == -1), ids, new)

    def rows(self, state: ReplayState) -> ReplayState:
        """Return a replay state with every text id in its rows replaced; under ``jit``, donate the state.

        Costs the length of the ring. States stacked by ``vmap`` are taken as well.

        Raises:
          StructureError: it is no replay state, or its rows have no field marked with ``jb.text``.
        """
        if not isinstance(state, ReplayState):
            raise StructureError(f"expected a state of a replay, such as buffer.state, got {type(state).__name__}.")
        if not state.spec.texts:
            raise StructureError("the state has no text fields; mark them in the row given to init() with jb.text.")
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
