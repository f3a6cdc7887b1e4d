"""Checks of what users hand to the verbs of a replay, besides rows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Index
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError
from jaxbuffers.row import check_leaf, field, refuse_masked


def check_part(name: str, value: object, kind: type) -> None:
    """Refuse a view or a sampler that is something else, such as the class itself."""
    if not isinstance(value, kind):
        hint = f" Write {value.__name__}()." if isinstance(value, type) else ""
        raise ConfigurationError(f"{name} must be a {kind.__name__} instance, got {value!r}.{hint}")


def check_capacity(capacity: int, streams: int, span: int, view: object) -> None:
    """Refuse a capacity that does not divide into streams, holds no window or needs wider addresses."""
    length = capacity // streams
    if capacity % streams:
        below = capacity // streams * streams
        near = " or ".join(str(size) for size in (below, below + streams) if size)
        raise ConfigurationError(
            f"capacity={capacity} must be a multiple of num_envs={streams}; the nearest sizes are {near}."
        )
    if length < span:
        raise ConfigurationError(
            f"capacity={capacity} keeps {length} rows of each of {streams} streams, but a window of "
            f"{view} reads {span}; capacity must be at least {span * streams}."
        )
    if capacity > 2**30 or length > 2**28:
        raise ConfigurationError(
            f"capacity must be at most 2**30 rows, 2**28 a stream (int32 addresses), got {capacity}."
        )


def check_index(index: Index) -> None:
    """Refuse an index whose two arrays are not int32 of one shape."""
    if not isinstance(index, Index):
        raise StructureError(f"index must be a jb.Index, such as batch.index; got a {type(index).__name__}.")
    for name in ("stream", "time"):
        check_leaf(("index", name), getattr(index, name), (), np.dtype(np.int32))
    if index.stream.shape != index.time.shape:
        raise ShapeError(
            f"index.stream has shape {index.stream.shape}, index.time {index.time.shape}: make them equal."
        )


def check_priority(sampler: Any, priority: Any, index: Index, anchor: Index | None) -> None:
    """Refuse priorities that the sampler does not take, or that are not float32 ``[B]``."""
    if not sampler.takes_priority:
        raise ConfigurationError(f"{sampler!r} takes no priority; leave it out (see replay.sampler.takes_priority).")
    if anchor is None:
        raise ShapeError(f"priority needs a whole batch.index; the given one has shape {index.time.shape}.")
    refuse_masked("priority", priority)
    if getattr(priority, "dtype", None) != np.float32:
        got = getattr(priority, "dtype", type(priority).__name__)
        raise DtypeError(f"priority must be float32, got {got}; convert it: jnp.asarray(priority, jnp.float32).")
    if priority.shape != anchor.time.shape:
        raise ShapeError(f"priority has shape {priority.shape}, expected {anchor.time.shape}: one for each window.")


def row_mask(mask: Any, lead: tuple[int, ...]) -> jax.Array:
    """Return the mask of rows with leading axes ``lead``: all of them, if None was given."""
    if mask is None:
        return jnp.ones(lead, jnp.bool_)
    refuse_masked("mask", mask)
    got = f"{mask.dtype}{list(mask.shape)}" if hasattr(mask, "dtype") else repr(mask)
    hint = "" if hasattr(mask, "dtype") else " Write numpy.array(mask)."
    wanted = f"mask must be a bool array of shape {list(lead)}, one for each row; got {got}.{hint}"
    if not hasattr(mask, "dtype") or mask.dtype != np.bool_:
        raise DtypeError(wanted)
    if mask.shape != lead:
        raise ShapeError(wanted)
    return jnp.asarray(mask)


def row_flag(rows: Any, name: str, shape: tuple[int, ...]) -> jax.Array:
    """Return one of the rows' episode flags, or False throughout where they have none."""
    # Views that look at episodes have checked their flags at init; to others the name may mean anything.
    flag = field(rows, name)
    ours = isinstance(flag, jax.Array) and flag.dtype == jnp.bool_ and flag.shape == shape
    return flag if ours else jnp.zeros(shape, jnp.bool_)
