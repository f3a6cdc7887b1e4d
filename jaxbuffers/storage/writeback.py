"""Writing values back to rows that are still there."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxbuffers.batch import Index
from jaxbuffers.errors import ShapeError, StructureError
from jaxbuffers.row import Path, check_leaf, paths_of, show
from jaxbuffers.storage.ring import Ring, RingState


def write(ring: Ring, state: RingState, index: Index, rows: Any) -> tuple[RingState, jax.Array]:
    """Replace the leaves named in ``rows`` at ``index``; return the ring and how many rows were stale.

    The last of several entries for the same row wins, on every backend.
    """
    new = checked(ring, index, rows)
    time, stream = index.time.reshape(-1), index.stream.reshape(-1)
    wanted = time >= 0
    present = ring.present(state, time, stream)
    winner = _last_of_each(jnp.where(present, stream * ring.length + time % ring.length, -1))
    target = present & winner
    new = {i: leaf.reshape(time.shape + ring.spec.shapes[i]) for i, leaf in new.items()}
    state = ring.write(state, new, time, stream, target)
    return state, jnp.sum(wanted & ~present, dtype=jnp.int32)


def checked(ring: Ring, index: Index, rows: Any) -> dict[int, jax.Array]:
    """Return the new leaves by their number in the row; refuse what does not fit the rows or the index."""
    places = {path: i for i, path in enumerate(ring.spec.paths)}
    new: dict[int, jax.Array] = {}
    for path, leaf in paths_of(rows).items():
        if path not in places:
            raise StructureError(f"update(rows=...) names {show(path)}, which the rows do not have: {_known(places)}.")
        i = places[path]
        lead = check_leaf(path, leaf, ring.spec.shapes[i], ring.spec.dtypes[i])
        if lead != index.time.shape:
            raise ShapeError(
                f"update(rows=...): {show(path)} has leading axes {lead}, expected {index.time.shape} as in batch.mask."
            )
        new[i] = jnp.asarray(leaf)
    if not new:
        raise StructureError(f"update(rows=...) has no leaves; name some of {_known(places)}.")
    return new


def _known(places: dict[Path, int]) -> str:
    return ", ".join(".".join(path) for path in places) or "a single unnamed leaf"


def _last_of_each(address: jax.Array) -> jax.Array:
    """Mark the last occurrence of each value: bool, like ``address``."""
    order = jnp.argsort(address, stable=True)
    ordered = address[order]
    last = jnp.concatenate([ordered[1:] != ordered[:-1], jnp.ones(min(len(address), 1), jnp.bool_)])
    return jnp.zeros_like(last).at[order].set(last, unique_indices=True)
