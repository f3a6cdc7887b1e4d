"""Checks of what belongs to all shards together; what belongs to one is checked by its replay."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jaxbuffers.batch import Batch, Index
from jaxbuffers.batch_axes import Axes
from jaxbuffers.checks import check_index
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError
from jaxbuffers.replay import Replay
from jaxbuffers.row import refuse_masked


def check_mesh(mesh: object, axis: object) -> None:
    """Refuse what is no mesh of devices, and an axis that it does not have."""
    if not isinstance(mesh, Mesh):
        example = "jax.make_mesh((8,), ('data',))"
        raise ConfigurationError(f"mesh must be a jax.sharding.Mesh, such as {example}; got {mesh!r}.")
    if axis not in mesh.axis_names:
        raise ConfigurationError(f"the mesh has no axis {axis!r}; it has {', '.join(map(repr, mesh.axis_names))}.")
    if AxisType.Manual in mesh.axis_types:
        raise ConfigurationError("the mesh has a Manual axis; make it with axis_types Auto or Explicit.")


def check_hashable(replay: Replay) -> None:
    """Refuse a replay by which no compiled program can be looked up."""
    try:
        hash(replay)
    except TypeError as error:
        raise ConfigurationError(
            f"the view and the sampler of a jb.Sharded must be hashable: {error}. Keep tuples in them, not lists."
        ) from error


def divided(name: str, number: int, shards: int, axis: str) -> int:
    """Return the share of each shard; refuse a number that does not divide."""
    if number % shards:
        below = number // shards * shards
        near = " or ".join(str(size) for size in (below, below + shards) if size)
        raise ConfigurationError(
            f"{name}={number} does not divide into the {shards} shards of the mesh axis {axis!r}; the nearest sizes "
            f"are {near}."
        )
    return number // shards


def local_of(replay: Replay, shards: int, axis: str) -> dict[str, int]:
    """Return the sizes of the replay of one shard."""
    if replay.num_envs is None:
        raise ConfigurationError(
            f"num_envs=None is one stream, which the {shards} shards of the mesh axis {axis!r} cannot share. Give "
            f"num_envs={shards} or a multiple of it, and rows with an environment axis."
        )
    streams = divided("num_envs", replay.num_envs, shards, axis)
    batch = divided("batch_size", replay.batch_size, shards, axis)
    return {"capacity": replay.length * streams, "num_envs": streams, "batch_size": batch}


def check_stacked(state: Any, shards: int, axis: str) -> None:
    """Refuse a state that is not stacked over so many shards."""
    each = np.shape(state.dropped)  # one number for each shard
    if not each:
        raise ShapeError(
            "the state is that of a plain Replay, and not one for each shard: begin with the init() of the jb.Sharded."
        )
    if len(each) > 1:
        raise ShapeError(f"the state is stacked, {each[:-1]} times over all shards: it goes through jax.vmap.")
    if each[0] != shards:
        raise ConfigurationError(
            f"The state comes from another configuration: it has {each[0]} shards, the mesh axis {axis!r} has {shards}."
        )


def parts(what: str, index: Index, axis: int, shards: int) -> int:
    """Return the axis of an index along which the shards have their parts; refuse one that does not divide."""
    check_index(index)
    axis = axis if index.time.ndim > axis else 0
    if not index.time.ndim or index.time.shape[axis] % shards:
        raise ShapeError(
            f"{what}: the index has shape {index.time.shape}; its axis {axis} must divide into {shards} parts, one for "
            f"each shard. Fill it up with entries of time -1, which stand for no row."
        )
    return axis


def check_order(what: str, strangers: Any, streams: int) -> None:
    """Refuse an index whose entries lie on other shards than their streams, where that is known.

    Args:
      what: is done; in an ``update`` all streams and times must be some that the replay can have.
      strangers: how many entries lie on another shard, and how many are no rows of any, int32 ``[2]``.
      streams: E.
    """
    if isinstance(strangers, jax.core.Tracer):
        return
    elsewhere, nowhere = np.asarray(strangers).tolist()
    if nowhere and what == "update":
        raise ShapeError(
            f"{nowhere} entries of the index name streams or times that this replay never has: it has streams 0 to "
            f"{streams - 1}. The index comes from another replay."
        )
    if elsewhere:
        raise ShapeError(
            f"{what}: {elsewhere} entries of the index lie in the part of another shard than their streams. Keep "
            f"the windows of a batch in the order in which sample() returned them, or sort them back."
        )


def check_batch(batch: Any, axes: Axes, shards: int) -> None:
    """Refuse what is not a batch as the replay samples it, whose arrays could not be told apart by shard."""
    said = {"data": batch.data, "index": batch.index} if isinstance(batch, Batch) else None
    if jax.tree.structure(said) != axes.structure:
        raise StructureError("the batch must have the structure in which sample() returned it, data and index.")
    for axis, leaf in zip((*axes.axes, 0), (*jax.tree.leaves(said), batch.probability), strict=True):
        if np.ndim(leaf) <= axis or leaf.shape[axis] % shards:
            raise ShapeError(
                f"the batch has an array of shape {np.shape(leaf)}; its axis {axis} must divide into {shards} parts, "
                f"one for each shard, as in the batch that sample() returned."
            )


def check_priority(priority: Any, windows: int) -> None:
    """Refuse priorities that are not float32, one for each window."""
    refuse_masked("priority", priority)
    if getattr(priority, "dtype", None) != np.float32:
        got = getattr(priority, "dtype", type(priority).__name__)
        raise DtypeError(f"priority must be float32, got {got}; convert it: jnp.asarray(priority, jnp.float32).")
    if priority.shape != (windows,):
        raise ShapeError(f"priority has shape {priority.shape}, expected {(windows,)}: one for each window.")
