"""Replay: a ring that remembers rows, a sampler that points at windows, a view that reads them."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal

import jax
import jax.numpy as jnp

from jaxbuffers import checks
from jaxbuffers.batch import Batch, Data, Draw, Index
from jaxbuffers.checks import one_of, positive, settle
from jaxbuffers.errors import check
from jaxbuffers.memory import allocated, nbytes_of, room_on
from jaxbuffers.numerics.materialize import after, materialize
from jaxbuffers.row import RowSpec
from jaxbuffers.samplers import Sampler, Uniform
from jaxbuffers.state import ReplayState as ReplayState
from jaxbuffers.state import empty, kind_of, one_more, told
from jaxbuffers.states.eager import one_program
from jaxbuffers.states.explicit import REPLAY
from jaxbuffers.states.ownership import owned, unshared
from jaxbuffers.storage import writeback
from jaxbuffers.storage.ring import Ring
from jaxbuffers.views import Items, Reader, View
from jaxbuffers.windows.base import Added
from jaxbuffers.windows.legal import Legal


@dataclass(frozen=True)
class Replay(Generic[Data]):
    """A replay buffer: a frozen configuration, compared by value, with pure methods.

    Every method works under ``jit``, ``vmap`` and ``scan``, and updates in place where its state is donated; a state
    that is not donated stays usable. Over many devices: `Sharded`. Lin (1992) introduced experience replay.

    Args:
      capacity: rows kept, over all streams; a multiple of ``num_envs``.
      num_envs: E, the number of streams; None for one stream whose rows have no environment axis.
      batch_size: B, windows in a sample unless `sample` is told otherwise.
      view: what a sample is.
      sampler: where to point.
      layout: how rows lie in memory: ``"flat"`` without padding, ``"tiled"`` in whole 128-lane tiles, as TPUs need (a
        small row then takes 512 bytes), or ``"auto"``, by the default backend at the time of `init`.

    Raises:
      ConfigurationError: for impossible sizes and unknown modes.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=6, num_envs=2, batch_size=4, view=jb.Items(), sampler=jb.Uniform())
    >>> state = replay.init({"x": jnp.zeros(3)})
    >>> state = replay.add(state, {"x": jnp.ones((2, 3))})
    >>> int(replay.size(state)), replay.sample(state, jax.random.key(0)).data["x"].shape
    (2, (4, 3))
    """

    capacity: int
    num_envs: int | None
    batch_size: int = 256
    view: View[Data] = field(default_factory=Items)
    sampler: Sampler = field(default_factory=Uniform)
    layout: Literal["auto", "flat", "tiled"] = "auto"
    _on_meshes: ClassVar[str] = REPLAY

    def __post_init__(self) -> None:
        settle(self, capacity=positive("capacity", self.capacity), batch_size=positive("batch_size", self.batch_size))
        one_of("layout", self.layout, ("auto", "flat", "tiled"))
        if self.num_envs is not None:
            settle(self, num_envs=positive("num_envs", self.num_envs))
        checks.check_part("view", self.view, View)
        checks.check_part("sampler", self.sampler, Sampler)
        checks.check_capacity(self.capacity, self.num_streams, self.view.span, self.view)

    @property
    def num_streams(self) -> int:
        """E, with one stream for ``num_envs=None``."""
        return 1 if self.num_envs is None else self.num_envs

    @property
    def length(self) -> int:
        """T, the rows kept of each stream."""
        return self.capacity // self.num_streams

    def init(self, row: Any) -> ReplayState:
        """Allocate an empty replay for rows like ``row``.

        Args:
          row: one row of one environment, no leading axes: arrays or ``jax.ShapeDtypeStruct``. Its values are not used.

        Raises:
          MissingFieldError: a field that the view needs is not there.
          DtypeError: a leaf is not an array of a dtype that JAX can hold.
          OutOfMemoryError: the device has no room for so many rows.
        """
        spec = RowSpec.of(row)
        self.view.check(spec)
        self.sampler.check(spec)
        checks.check_reachable(row, (*self.view.fields, *self.sampler.fields))
        return allocated(lambda: self._empty(spec), self, spec, lambda: room_on(jnp.zeros(()).devices()))

    def _empty(self, spec: RowSpec) -> ReplayState:
        tiled = self.layout == "tiled" or (self.layout == "auto" and jax.default_backend() == "tpu")
        windows = self.view.windows(Ring(spec, self.length, self.num_streams, tiled))
        sampler = self.sampler.init(windows)
        checks.check_memory(self.sampler, sampler)
        return unshared(empty(self, windows, sampler))

    @one_program()
    def add(self, state: ReplayState, rows: Any, mask: Any = None) -> ReplayState:
        """Append one row, or N consecutive rows, to every stream or to those that ``mask`` names.

        Args:
          state: from `init` or an earlier verb; donate it to update in place.
          rows: leaves ``[E, ...]`` or ``[N, E, ...]``, oldest first, of exactly the structure,
            shapes and dtypes given to `init`; for ``num_envs=None`` ``[...]`` or ``[N, ...]``. Time
            comes first: where N is E, swapped axes cannot be seen.
          mask: bool ``[E]`` or ``[N, E]`` (``[]`` or ``[N]``), which rows to write; None for all.
            Rows that are not written leave their stream as it was.

        Returns:
          The new state. Once a stream holds T rows, each new one replaces its oldest. ``state.adds`` has grown by 1,
          whatever the mask; with N = 0 rows nothing changes.

        Raises:
          StructureError, ShapeError, DtypeError: naming the leaf.
          ConfigurationError: the state comes from another configuration; every verb refuses it.
        """
        rows, written = checks.block(rows, mask, self, state.spec)
        if not len(written):
            return state
        first, last = checks.episode_flags(rows, written)
        kind = kind_of(self, state)
        ring, time = kind.ring.add(state.ring, rows, written)
        added = Added(time, written, first, last)
        windows, turnover = kind.add(state.windows, ring, added)
        state = replace(state, ring=ring, windows=windows, adds=one_more(state.adds))
        return told(state, self.sampler.add(state.sampler, Legal(kind, windows, ring), added, turnover))

    @one_program("batch_size")
    def sample(self, state: ReplayState, key: jax.Array, batch_size: int | None = None) -> Batch[Data]:
        """Draw ``batch_size`` windows.

        Args:
          state: from `add`.
          key: a PRNG key; it is consumed.
          batch_size: B, static; None for the configured one.

        Returns:
          `Batch`. If there is nothing that the sampler can draw yet (see `can_sample`), ``batch.valid`` is False,
          ``batch.mask`` is False throughout and the data is zero; never a row that was not added.
        """
        size = positive("batch_size", self.batch_size if batch_size is None else batch_size)
        checks.check_key(key)
        draw = self.sampler.draw(state.sampler, self.legal(state), key, size)
        check(draw.valid.all(), "sample: there is no legal window to draw, or too few for it; see can_sample()")
        # One key serves both: samplers draw its first words, views take theirs from far behind (`Reader.bits`).
        return self._read(state, draw, key)

    @one_program()
    def read(self, state: ReplayState, draw: Draw, key: jax.Array) -> Batch[Data]:
        """Read windows of your own choice, such as every legal one.

        Args:
          state: from `add`.
          draw: which windows (see `legal`). One that is not legal now is read as an invalid entry: zeros, masked.
          key: a PRNG key for what the view leaves to chance, such as the goals of `Hindsight`; it is consumed.

        >>> import jax, jax.numpy as jnp, jaxbuffers as jb
        >>> replay = jb.Replay(capacity=6, num_envs=None)
        >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(6.0))
        >>> replay.read(state, jb.Draw.of(stream=jnp.int32([0, 0]), start=jnp.int32([2, 5])), jax.random.key(0)).data
        Array([2., 5.], dtype=float32)
        """
        checks.check_key(key)
        return self._read(state, self.legal(state).only_known(draw), key)

    def update(self, state: ReplayState, index: Index, *, priority: Any = None, rows: Any = None) -> ReplayState:
        """Say that a batch was used, and write values back to its rows, in place.

        Rows overwritten since the batch was drawn are left alone. Samplers that remember what has been used
        (`WithoutReplacement`, `OnlineFirst`, `Counted`) learn it here: call it once for each batch, with values or not.

        Args:
          state: any later state of the replay that was sampled.
          index: ``batch.index``. One of another shape may be given with ``rows``; it only says which rows to replace.
          priority: float32 ``[B]``, for samplers that take one.
          rows: the fields to replace, as a (nested) dict of stored names; leaves have the axes of ``batch.mask`` and
            then those of the stored leaf. Where a row was sampled twice, the entry that comes last in the batch is
            kept. Flags that decide which windows are legal cannot be replaced.

        Returns:
          The new state; ``dropped`` has grown by the number of stale rows. Entries with no row behind them
          (``batch.mask`` False) are ignored and not counted.

        Raises:
          ShapeError: outside of ``jit``, if the index names streams that this replay does not have. Compiled,
            such entries count as stale.

        In one compiled function with the `sample`, values that do not depend on what was read need
        ``jb.fence(state, batch)`` first, or the ring may be copied (``docs/in-place.md``).
        """
        index = checks.checked_index(index)
        checks.check_places(self.legal(state), index)
        return self._update(state, index, priority, rows)

    @one_program()
    def _update(self, state: ReplayState, index: Index, priority: Any, rows: Any) -> ReplayState:
        anchor = self.view.anchor(self.legal(state), index)
        if priority is not None:
            checks.check_priority(self.sampler, priority, index, anchor)
            if index.time.size:
                # Priorities come from probabilities, so whatever was read for those has been read by then.
                priority = materialize(jnp.asarray(priority))
                index = replace(index, time=after(index.time, priority))
                anchor = self.view.anchor(self.legal(state), index)
        state = state if rows is None else self._write(state, index, rows)
        if anchor is not None and index.time.size:
            state = replace(state, sampler=self.sampler.update(state.sampler, self.legal(state), anchor, priority))
        return state

    def _write(self, state: ReplayState, index: Index, rows: Any) -> ReplayState:
        if state.windows is not None:
            checks.check_no_flags(rows, self.view)
        ring, dropped = writeback.write(self.legal(state).kind.ring, state.ring, index, rows)
        check(dropped == 0, "update: {n} rows are stale: they have been overwritten", n=dropped)
        if not index.time.size:
            return state
        state = replace(state, ring=ring, dropped=state.dropped + dropped)
        return told(state, self.sampler.rewritten(state.sampler, self.legal(state), index))

    @one_program()
    def size(self, state: ReplayState) -> jax.Array:
        """Count the rows present, over all streams: int32 ``[]``."""
        return jnp.sum(state.ring.size, dtype=jnp.int32)

    @one_program()
    def count(self, state: ReplayState) -> jax.Array:
        """Count the legal windows, over all streams: int32 ``[]``."""
        return jnp.sum(self.legal(state).count(), dtype=jnp.int32)

    @one_program("batch_size")
    def can_sample(self, state: ReplayState, batch_size: int | None = None) -> jax.Array:
        """Say whether a sample of ``batch_size`` windows would be valid, whatever its key: bool ``[]``.

        There must be enough legal windows for the sampler: `Recent` needs one within its horizon, `Clustered` one of a
        group, `Weighted` without replacement B different ones. `stats` may tell why there are none. O(rows) for
        `Weighted`, little for all others.

        Args:
          state: from `add`.
          batch_size: B, static; None for the configured one. `Weighted` raises a ShapeError if no ring could hold B.

        >>> import jax.numpy as jnp, jaxbuffers as jb
        >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=4, view=jb.Sequences(3))
        >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(2.0))
        >>> bool(replay.can_sample(state)), bool(replay.can_sample(replay.add(state, jnp.float32(2))))
        (False, True)
        """
        size = positive("batch_size", self.batch_size if batch_size is None else batch_size)
        return self.sampler.can_draw(state.sampler, self.legal(state), size)

    @one_program()
    def age(self, state: ReplayState, index: Index) -> jax.Array:
        """Say how many rows of its stream came after each row: int32, 0 for the newest; -1 where the row is gone."""
        index = checks.checked_index(index)
        return kind_of(self, state).ring.age(state.ring, index.time, index.stream)

    @one_program()
    def get(self, state: ReplayState, index: Index) -> tuple[Any, jax.Array]:
        """Read rows by address.

        Args:
          state: any state of this replay.
          index: `Index` of any shape ``[*S]``.

        Returns:
          The rows, leaves ``[*S, ...]``, and a mask bool ``[*S]``: False, with zeros in the rows, where the row has
          been overwritten, was never added or the address is not one.
        """
        index, legal = checks.checked_index(index), self.legal(state)
        present = legal.present(index.stream, index.time)
        return legal.read(index.stream, index.time, present), present

    def legal(self, state: ReplayState) -> Legal:
        """Return the rows and the legal windows of a state, for a closer look: counts, starts, ages, presence."""
        state = self._ours(state)
        return Legal(kind_of(self, state), state.windows, state.ring)

    def nbytes(self, row: Any) -> int:
        """Count the bytes that the state for rows like ``row`` takes, without allocating it."""
        return nbytes_of(lambda: self.init(row))

    def _ours(self, state: ReplayState) -> ReplayState:
        """Return a state that this configuration made, its arrays in JAX's hands."""
        checks.check_state(state, ReplayState)
        kind_of(self, state)
        return owned(state)

    def _read(self, state: ReplayState, draw: Draw, key: jax.Array) -> Batch[Data]:
        data, index = self.view.read(Reader(self.legal(state), draw, key))
        return Batch(data=data, index=index, probability=draw.probability, valid=jnp.all(draw.valid))
