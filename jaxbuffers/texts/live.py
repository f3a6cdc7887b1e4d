"""Which text ids a state refers to."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxbuffers.errors import DtypeError, StructureError
from jaxbuffers.replay import ReplayState
from jaxbuffers.ring import Ring, RingState
from jaxbuffers.row import RowSpec


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
            f"expected states of a replay, such as buffer.state, got {type(states).__name__}; ids that are held "
            f"elsewhere go in as pins."
        )
    return np.concatenate([column for state in found for column in _columns(state)])


def as_ids(pins: Any) -> np.ndarray:
    """Return the ids in a pytree of int32 arrays, int64 ``[n]``."""
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(pins)]
    for array in arrays:
        if array.dtype.kind != "i":
            raise DtypeError(f"pins must be text ids, int32 arrays; got {array.dtype}{list(array.shape)}.")
    return np.concatenate([np.zeros(0, np.int32), *(array.ravel() for array in arrays)]).astype(np.int64)


def text_leaves(spec: RowSpec) -> list[int]:
    """Return the numbers of the leaves of a row that hold text ids."""
    if not spec.texts:
        raise StructureError("the state has no text fields; mark them in the row given to init() with jb.text.")
    return [spec.paths.index(path) for path in spec.texts]


def ring_of(spec: RowSpec, rows: RingState) -> Ring:
    """Return the ring that some rows are in, stacked ones too."""
    return Ring(spec, *jax.tree.leaves((rows.words, rows.blocks))[0].shape[-4:-2])


def column(spec: RowSpec, leaf: int, rows: RingState) -> tuple[jax.Array, jax.Array]:
    """Return the ids of a leaf, int32 ``[T, E, ...]``, and which slots hold a row, bool ``[T, E]``."""
    return ring_of(spec, rows).column(rows, leaf)


def _columns(state: ReplayState) -> Iterable[np.ndarray]:
    for leaf in text_leaves(state.spec):
        ids, held = _column(state.spec, leaf, state.ring)
        yield np.asarray(ids)[np.asarray(held)].ravel()


@partial(jax.jit, static_argnums=(0, 1))
def _column(spec: RowSpec, leaf: int, rows: RingState) -> tuple[jax.Array, jax.Array]:
    read = partial(column, spec, leaf)
    for _ in rows.time.shape[:-1]:  # of stacked states
        read = jax.vmap(read)
    return read(rows)


def _is_state(x: Any) -> bool:
    return isinstance(x, ReplayState)
