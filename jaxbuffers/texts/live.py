"""Which text ids a state refers to."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxbuffers.errors import DtypeError, StructureError
from jaxbuffers.replay import ReplayState
from jaxbuffers.ring import Ring


def ids_of(states: Any) -> np.ndarray:
    """Return every text id in the rows of some states, int32 ``[n]``, repeated ones included.

    Args:
      states: a `ReplayState`, or any pytree that has some among its nodes; states stacked by ``vmap`` too.

    Raises:
      StructureError: there is no `ReplayState`, or one without a field marked with ``jb.text``.
    """
    found = [x for x in jax.tree.leaves(states, is_leaf=_is_state) if _is_state(x)]
    if not found:
        raise StructureError(
            f"expected states of a replay, got {type(states).__name__}; give ids that are held elsewhere as pins."
        )
    return np.concatenate([column for state in found for column in _columns(state)])


def as_ids(pins: Any) -> np.ndarray:
    """Return the ids in a pytree of int32 arrays, int32 ``[n]``."""
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(pins)]
    for array in arrays:
        if array.dtype.kind != "i":
            raise DtypeError(f"pins must be text ids, int32 arrays; got {array.dtype}{list(array.shape)}.")
    return np.concatenate([np.zeros(0, np.int32), *(array.ravel() for array in arrays)]).astype(np.int64)


def _columns(state: ReplayState) -> Iterable[np.ndarray]:
    if not state.spec.texts:
        raise StructureError("the state has no text fields; mark them in the row given to init() with jb.text.")
    blocks = (*state.ring.blocks, *jax.tree.leaves(state.ring.words))
    stacked, (length, streams) = blocks[0].shape[:-4], blocks[0].shape[-4:-2]
    ring = Ring(state.spec, length, streams)
    for path in state.spec.texts:
        leaf = state.spec.paths.index(path)
        read = lambda rows, leaf=leaf: ring.column(rows, leaf)  # noqa: E731
        for _ in stacked:
            read = jax.vmap(read)
        ids, held = jax.jit(read)(state.ring)
        yield np.asarray(ids)[np.asarray(held)].ravel()


def _is_state(x: Any) -> bool:
    return isinstance(x, ReplayState)
