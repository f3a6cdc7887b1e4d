"""Sharded: a replay over the devices of a mesh axis, each with the streams of some environments."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxbuffers import checks
from jaxbuffers.batch import Batch, Data, Draw, Index, check_draw
from jaxbuffers.batch_axes import Axes, axes_of
from jaxbuffers.memory import allocated, room_on
from jaxbuffers.replay import Replay
from jaxbuffers.row import RowSpec
from jaxbuffers.sharding import plans
from jaxbuffers.sharding.checks import (
    check_batch,
    check_hashable,
    check_mesh,
    check_order,
    check_priority,
    check_stacked,
    divided,
    local_of,
    parts,
)
from jaxbuffers.sharding.shards import Planner, Shards, check_holdable
from jaxbuffers.state import ReplayState
from jaxbuffers.storage import writeback
from jaxbuffers.storage.ring import Ring


@dataclass(frozen=True)
class Sharded(Generic[Data]):
    """A replay over many devices: a frozen configuration, compared by value, with the verbs of `Replay`.

    Each of the S shards of a mesh axis holds a replay of its own, for E / S of the environments. Their states are one,
    laid one after the other along the first axis of each array and sharded over the mesh axis. Every verb is that of
    `local`, the replay of one shard, under ``jax.shard_map``: rows, rings and batches never leave their device.
    ``add``, ``update``, ``get`` and ``fence`` communicate nothing; ``size``, ``count``, ``can_sample`` and
    ``batch.valid`` sum one number over the shards if they are used. Works on Auto and Explicit meshes, under ``jit``,
    ``vmap`` and ``scan``, in place where the state is donated. Along the other axes of the mesh everything is
    replicated.

    **What is drawn.** Each shard draws B / S windows of its own, with the key ``jax.random.fold_in(key, shard)``. So
    every shard has the same part of a batch, however many windows it has. ``batch.probability`` is that of the whole
    law: the probability that an entry of the batch, chosen at random, points at this window, which is that of its
    shard's sampler divided by S. It sums to 1 over all windows of all shards, and ``jb.importance_weights(
    batch.probability, sharded.count(state), beta)`` corrects for shards that have more windows than others.
    A sampler that looks at all windows (`Prioritized`, `WithoutReplacement`) looks at those of its shard.

    **Streams** are numbered over the whole replay: shard s has the streams from ``s * E / S`` on. Where an index is
    given (`update`, `get`, `age`, `read`), part s of S along its windows must be of shard s, as in every batch. Other
    entries are refused outside of ``jit``. Compiled, they are as good as stale: nothing is written or read, and
    `update` counts them in ``state.dropped``.

    Args:
      replay: the whole replay. ``num_envs`` and ``batch_size`` must be multiples of S.
      mesh: the devices, from ``jax.make_mesh``.
      axis: the mesh axis over which the environments are sharded.

    Raises:
      ConfigurationError: for a number that does not divide, or an axis that is not there.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> mesh = jax.make_mesh((len(jax.devices()),), ("data",))
    >>> sharded = jb.Sharded(jb.Replay(capacity=64, num_envs=8, batch_size=16), mesh)
    >>> state = sharded.init({"x": jnp.float32(0)})
    >>> state = sharded.add(state, {"x": jnp.arange(8.0)})
    >>> batch = sharded.sample(state, jax.random.key(0))
    >>> batch.data["x"].shape, int(sharded.size(state))
    ((16,), 8)
    """

    replay: Replay[Data]
    mesh: Mesh
    axis: str = "data"

    def __post_init__(self) -> None:
        checks.check_part("replay", self.replay, Replay)
        check_mesh(self.mesh, self.axis)
        self.local  # noqa: B018, refuses what does not divide
        check_hashable(self.replay)

    @cached_property
    def shards(self) -> Shards:
        """The shards: how many, and over which devices."""
        return Shards(self.mesh, self.axis)

    @cached_property
    def local(self) -> Replay[Data]:
        """The replay of one shard."""
        return replace(self.replay, **local_of(self.replay, self.shards.count, self.axis))  # type: ignore[arg-type]

    def init(self, row: Any) -> ReplayState:
        """Allocate an empty replay, on each device what it holds.

        Args:
          row: one row of one environment, as for `Replay.init`.

        Returns:
          A `ReplayState` of the local states, one after the other along the first axis of each array: such as
          ``ring.time`` int32 ``[E]``. ``dropped`` and ``adds`` are int32 ``[S]``, one number for each shard.

        Raises:
          OutOfMemoryError: the devices have no room for so many rows.
        """
        spec = RowSpec.of(row)
        checks.check_reachable(row, (*self.replay.view.fields, *self.replay.sampler.fields))
        return allocated(lambda: self._run(plans.init, spec), self.local, spec, self._room, self.shards.count)

    def add(self, state: ReplayState, rows: Any, mask: Any = None) -> ReplayState:
        """Append rows to every stream, or to those that ``mask`` names; see `Replay.add`.

        Args:
          state: from `init` or an earlier verb; donate it to update in place.
          rows: leaves ``[E, ...]`` or ``[N, E, ...]``, best sharded over E.
          mask: bool ``[E]`` or ``[N, E]``; None for all.
        """
        state = self._ours(state)
        lead = state.spec.leading(rows)
        checks.block_size(lead, self.replay, state.spec)
        if mask is not None:
            checks.row_mask(mask, lead)
        return self._run(plans.add, len(lead) - 1, to=(state, rows, mask))

    def sample(self, state: ReplayState, key: jax.Array, batch_size: int | None = None) -> Batch[Data]:
        """Draw ``batch_size`` windows, the same number on each shard; the arguments are those of `Replay.sample`.

        Returns:
          `Batch`, sharded over the windows. Entries of a shard with nothing to draw are zero, with ``mask`` False and
          probability 0; ``valid`` is False if there is such a shard.
        """
        state = self._ours(state)
        checks.check_key(key)
        return self._run(plans.sample, self._share(batch_size), self._axes(state), to=(state, key))

    def read(self, state: ReplayState, draw: Draw, key: jax.Array) -> Batch[Data]:
        """Read windows of your own choice; see `Replay.read`.

        Args:
          state: from `add`.
          draw: which windows; part s of S must be windows of shard s.
          key: a PRNG key for what the view leaves to chance; it is consumed.
        """
        state = self._ours(state)
        checks.check_key(key)
        check_draw(draw)
        self._checked("read", state, Index(draw.stream, jnp.where(draw.valid, draw.start, -1)), 0)
        return self._run(plans.read, self._axes(state), to=(state, draw, key))

    def update(self, state: ReplayState, index: Index, *, priority: Any = None, rows: Any = None) -> ReplayState:
        """Say that a batch was used, and write values back to its rows; see `Replay.update`.

        Args:
          state: any later state of the replay that was sampled.
          index: ``batch.index``, its windows in the order of the batch.
          priority: float32 ``[B]``, for samplers that take one.
          rows: the fields to replace, with the axes of ``batch.mask`` before their own.
        """
        state = self._ours(state)
        axis = self._checked("update", state, index)
        if priority is not None:
            check_priority(priority, index.time.shape[axis])
        if rows is not None:
            writeback.checked(self._ring(state), index, rows)
        return self._run(plans.update, axis, to=(state, index, priority, rows))

    def size(self, state: ReplayState) -> jax.Array:
        """Count the rows present, over all shards: int32 ``[]``."""
        return self._run(plans.size, to=(self._ours(state),))

    def count(self, state: ReplayState) -> jax.Array:
        """Count the legal windows, over all shards: int32 ``[]``."""
        return self._run(plans.count, to=(self._ours(state),))

    def can_sample(self, state: ReplayState, batch_size: int | None = None) -> jax.Array:
        """Say whether a sample would be valid, whatever its key: bool ``[]``, True if every shard can draw its part."""
        return self._run(plans.can_sample, self._share(batch_size), to=(self._ours(state),))

    def age(self, state: ReplayState, index: Index) -> jax.Array:
        """Say how many rows of its stream came after each row: int32; -1 where the row is gone."""
        state = self._ours(state)
        return self._run(plans.age, self._checked("age", state, index), to=(state, index))

    def get(self, state: ReplayState, index: Index) -> tuple[Any, jax.Array]:
        """Read rows by address: the rows, and a mask, False where there is none; see `Replay.get`."""
        state = self._ours(state)
        return self._run(plans.get, self._checked("get", state, index), to=(state, index))

    def fence(self, state: ReplayState, batch: Batch[Data]) -> ReplayState:
        """Make later writes on each shard wait until it has read its part of ``batch``, as `jaxbuffers.fence` does."""
        state = self._ours(state)
        check_batch(batch, self._axes(state), self.shards.count)
        return self._run(plans.fence, self._axes(state), to=(state, batch))

    def stats(self, state: ReplayState) -> dict[str, jax.Array]:
        """Describe every shard: what `jaxbuffers.stats` returns, with an axis of shards before all others."""
        return self._run(plans.stats, to=(self._ours(state),))

    def nbytes(self, row: Any) -> int:
        """Count the bytes of the state for rows like ``row``, over all shards, without allocating it.

        Each device holds 1 / S of them, and along other axes of the mesh the same.
        """
        return self.shards.count * self.local.nbytes(row)

    def _run(self, plan: Planner, *settings: Any, to: tuple[Any, ...] = ()) -> Any:
        return self.shards.run(plan, (self.local, *settings), *to)

    def _room(self) -> int | None:
        mine = [device for device in self.mesh.devices.flat if device.process_index == jax.process_index()]
        return room_on(mine, self.shards.count)

    def _ours(self, state: ReplayState) -> ReplayState:
        checks.check_state(state, ReplayState)
        check_stacked(state, self.shards.count, self.axis)
        check_holdable(state)
        return state

    def _share(self, batch_size: int | None) -> int:
        size = checks.positive("batch_size", self.replay.batch_size if batch_size is None else batch_size)
        return divided("batch_size", size, self.shards.count, self.axis)

    def _axes(self, state: ReplayState) -> Axes:
        return axes_of(self.replay.view, state.spec)

    def _windows_axis(self, state: ReplayState) -> int:
        axes = self._axes(state)
        axis: int = jax.tree.unflatten(axes.structure, axes.axes)["index"].time
        return axis

    def _ring(self, state: ReplayState) -> Ring:
        return Ring(state.spec, self.replay.length, self.replay.num_streams)

    def _checked(self, verb: str, state: ReplayState, index: Index, axis: int | None = None) -> int:
        """Return the axis along which the shards have their parts of an index; refuse entries out of order."""
        axis = parts(verb, index, self._windows_axis(state) if axis is None else axis, self.shards.count)
        if all(isinstance(leaf, np.ndarray | jax.Array) and _known(leaf) for leaf in (index.stream, index.time)):
            found = self._run(plans.strangers, axis, self._ring(state).cycle, to=(index,))
            check_order(verb, found, self.replay.num_streams)
        return axis


def _known(leaf: Any) -> bool:
    return not isinstance(leaf, jax.core.Tracer)
