"""What each verb runs on a shard: the same verb of the local replay, told of its own streams only."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxbuffers.batch import Batch, Draw, Index
from jaxbuffers.batch_axes import Axes
from jaxbuffers.fence import fence as fence_one
from jaxbuffers.replay import Replay
from jaxbuffers.row import RowSpec, row_of
from jaxbuffers.sharding.shards import Plan, Shards
from jaxbuffers.sharding.stacking import listed, stacked, unstacked
from jaxbuffers.stats import stats as stats_of_one


def init(shards: Shards, local: Replay, spec: RowSpec) -> Plan:
    """Allocate on every shard what it holds."""
    return Plan(lambda: stacked(local.init(row_of(spec))), (), shards.along(0))


def add(shards: Shards, local: Replay, axis: int) -> Plan:
    """Add the rows that have the streams of a shard along ``axis``."""

    def on_shard(state: Any, rows: Any, mask: Any) -> Any:
        return stacked(local.add(unstacked(local, state), rows, mask))

    return Plan(on_shard, (shards.along(0), shards.along(axis), shards.along(axis)), shards.along(0))


def sample(shards: Shards, local: Replay, size: int, axes: Axes) -> Plan:
    """Draw ``size`` windows on every shard."""

    def on_shard(state: Any, key: jax.Array) -> Batch:
        batch = local.sample(unstacked(local, state), jax.random.fold_in(key, shards.number()), size)
        return _whole(shards, local, replace(batch, probability=batch.probability / shards.count))

    return Plan(on_shard, (shards.along(0), shards.whole), _batch_specs(shards, axes))


def read(shards: Shards, local: Replay, axes: Axes) -> Plan:
    """Read the windows of a draw, each on the shard whose part of the draw it is in."""

    def on_shard(state: Any, draw: Draw, key: jax.Array) -> Batch:
        draw = replace(draw, stream=_here(shards, local, draw.stream))
        batch = local.read(unstacked(local, state), draw, jax.random.fold_in(key, shards.number()))
        return _whole(shards, local, batch)

    ins = shards.along(0), shards.along(0), shards.whole
    return Plan(on_shard, ins, _batch_specs(shards, axes))


def update(shards: Shards, local: Replay, axis: int) -> Plan:
    """Write back the part of a batch that a shard has along ``axis``."""

    def on_shard(state: Any, index: Index, priority: Any, rows: Any) -> Any:
        mine = unstacked(local, state), _local(shards, local, index)
        return stacked(local.update(*mine, priority=priority, rows=rows))

    ins = shards.along(0), shards.along(axis), shards.along(0), shards.along(axis)
    return Plan(on_shard, ins, shards.along(0))


def get(shards: Shards, local: Replay, axis: int) -> Plan:
    """Read the rows of the part of an index that a shard has."""

    def on_shard(state: Any, index: Index) -> tuple[Any, jax.Array]:
        return local.get(unstacked(local, state), _local(shards, local, index))

    return Plan(on_shard, (shards.along(0), shards.along(axis)), shards.along(axis))


def age(shards: Shards, local: Replay, axis: int) -> Plan:
    """Tell the ages of the rows of the part of an index that a shard has."""

    def on_shard(state: Any, index: Index) -> jax.Array:
        return local.age(unstacked(local, state), _local(shards, local, index))

    return Plan(on_shard, (shards.along(0), shards.along(axis)), shards.along(axis))


def fence(shards: Shards, local: Replay, axes: Axes) -> Plan:
    """Let later writes wait for the reads of the shard's own part of a batch."""

    def on_shard(state: Any, batch: Batch) -> Any:
        return stacked(fence_one(unstacked(local, state), batch))

    return Plan(on_shard, (shards.along(0), _batch_specs(shards, axes)), shards.along(0))


def size(shards: Shards, local: Replay) -> Plan:
    """Sum the rows present."""
    return _sum(shards, local, local.size)


def count(shards: Shards, local: Replay) -> Plan:
    """Sum the legal windows."""
    return _sum(shards, local, local.count)


def can_sample(shards: Shards, local: Replay, batch_size: int) -> Plan:
    """Ask whether every shard can draw its part of a batch."""

    def on_shard(state: Any) -> jax.Array:
        return _all(shards, local.can_sample(unstacked(local, state), batch_size))

    return Plan(on_shard, (shards.along(0),), shards.whole)


def stats(shards: Shards, local: Replay) -> Plan:
    """Describe every shard."""

    def on_shard(state: Any) -> Any:
        return listed(stats_of_one(unstacked(local, state)))

    return Plan(on_shard, (shards.along(0),), shards.along(0))


def strangers(shards: Shards, local: Replay, axis: int, cycle: int) -> Plan:
    """Count the entries of an index that lie on another shard than their stream, and those that are of none."""

    def on_shard(index: Index) -> jax.Array:
        stream, some = index.stream, index.time >= 0
        real = (stream >= 0) & (stream < shards.count * local.num_streams) & (index.time < cycle)
        elsewhere = real & (_here(shards, local, stream) == local.num_streams)
        return shards.total(jnp.stack([jnp.sum(some & each, dtype=jnp.int32) for each in (elsewhere, ~real)]))

    return Plan(on_shard, (shards.along(axis),), shards.whole)


def _sum(shards: Shards, local: Replay, verb: Callable[[Any], jax.Array]) -> Plan:
    def on_shard(state: Any) -> jax.Array:
        return shards.total(verb(unstacked(local, state)))

    return Plan(on_shard, (shards.along(0),), shards.whole)


def _all(shards: Shards, flag: jax.Array) -> jax.Array:
    return shards.total((~flag).astype(jnp.int32)) == 0


def _here(shards: Shards, local: Replay, stream: jax.Array) -> jax.Array:
    """Number streams as this shard does; one past its last for all that are not its own."""
    mine = stream - shards.number() * local.num_streams
    return jnp.where((mine >= 0) & (mine < local.num_streams), mine, local.num_streams)


def _local(shards: Shards, local: Replay, index: Index) -> Index:
    return replace(index, stream=_here(shards, local, index.stream))


def _whole(shards: Shards, local: Replay, batch: Batch) -> Batch:
    """Number the streams of a batch as the whole replay does."""
    stream = batch.index.stream + shards.number() * local.num_streams
    return replace(batch, index=replace(batch.index, stream=stream), valid=_all(shards, batch.valid))


def _batch_specs(shards: Shards, axes: Axes) -> Any:
    specs = jax.tree.unflatten(axes.structure, [shards.along(axis) for axis in axes.axes])
    each: dict[str, Any] = {"probability": shards.along(0), "valid": shards.whole}
    return Batch(data=specs["data"], index=specs["index"], **each)
