"""Text ids as they lie in the rows of a state."""

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from jaxbuffers.replay import ReplayState
from jaxbuffers.row import RowSpec
from jaxbuffers.storage.ring import Ring, RingState


def text_leaves(spec: RowSpec) -> list[int]:
    """Return the numbers of the leaves of a row that hold text ids."""
    return [spec.paths.index(path) for path in spec.texts]


def ring_of(spec: RowSpec, rows: RingState) -> Ring:
    """Return the ring that some rows are in, stacked ones too."""
    return Ring(spec, *jax.tree.leaves((rows.words, rows.blocks))[0].shape[-4:-2])


def column(spec: RowSpec, leaf: int, rows: RingState) -> tuple[jax.Array, jax.Array]:
    """Return the ids of a leaf, int32 ``[T, E, ...]``, and which slots hold a row, bool ``[T, E]``."""
    return ring_of(spec, rows).column(rows, leaf)


def columns(state: ReplayState) -> Iterator[np.ndarray]:
    """Return the ids in each text field of the rows that are held, int32 ``[n]``; of stacked states too."""
    for leaf in text_leaves(state.spec):
        ids, held = _column(state.spec, leaf, state.ring)
        yield np.asarray(ids)[np.asarray(held)].ravel()


@partial(jax.jit, static_argnums=(0, 1))
def _column(spec: RowSpec, leaf: int, rows: RingState) -> tuple[jax.Array, jax.Array]:
    read = partial(column, spec, leaf)
    for _ in rows.time.shape[:-1]:  # of stacked states
        read = jax.vmap(read)
    return read(rows)
