"""A small ring that holds the rows around B drawn windows, each with a stream of its own, for the ordinary views."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Index
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.row import RowSpec
from jaxbuffers.storage.bits import exactly, zero_where_not
from jaxbuffers.storage.ring import Ring, RingState
from jaxbuffers.views.base import Reader
from jaxbuffers.windows.base import Added, Turnover, Windows

LONGEST = 2**28  # rows of an episode: times are counted modulo a multiple of this


@struct.dataclass
class Away:
    """Single rows from elsewhere in the episodes.

    Attributes:
      rows: leaves ``[B, X, ...]``.
      time: int32 ``[B, X]``, their times; -1 for none.
    """

    rows: Any
    time: jax.Array


@struct.dataclass
class WindowRingState(RingState):
    """What was fetched of B episodes. Stream b is the whole of its episode; only some of its rows are here.

    Attributes:
      rows: leaves ``[B, L, ...]``: consecutive rows, zero where the episode has none.
      begin: int32 ``[B]``, the time of the first of them, below 0 where it would lie before the episode.
      away: rows from elsewhere; None if there are none.
    """

    rows: Any
    begin: jax.Array
    away: Away | None


@dataclass(frozen=True)
class WindowRing(Ring):
    """A ring whose rows are where `WindowRingState` has them. What was not fetched is not present."""

    @classmethod
    def of(cls, spec: RowSpec, streams: int) -> "WindowRing":
        """Return the ring for so many windows."""
        return cls(spec, LONGEST, streams)

    @override
    def present(self, state: RingState, time: jax.Array, stream: jax.Array) -> jax.Array:
        assert isinstance(state, WindowRingState)
        stream = jnp.broadcast_to(stream, time.shape)
        exists = (stream >= 0) & (stream < self.num_streams) & (time >= 0)
        stream = jnp.where(exists, stream, 0)
        fetched = _near(state, time, stream)
        if state.away is not None:
            fetched = fetched | jnp.any(state.away.time[stream] == time[..., None], axis=-1)
        return exists & (time < state.time[stream]) & fetched

    @override
    def read(self, state: RingState, time: jax.Array, stream: jax.Array, mask: jax.Array) -> Any:
        assert isinstance(state, WindowRingState)
        stream = jnp.where(mask, stream, 0)
        place = jnp.where(mask, time - state.begin[stream], 0)
        near = exactly(lambda x: x.at[stream, jnp.clip(place, 0, x.shape[1] - 1)].get(), state.rows)
        if state.away is not None:
            at = jnp.argmax(state.away.time[stream] == time[..., None], axis=-1)
            away = exactly(lambda x: x.at[stream, at].get(), state.away.rows)
            near = _choose(_near(state, time, stream), near, away)
        return zero_where_not(mask, near)


def _near(state: WindowRingState, time: jax.Array, stream: jax.Array) -> jax.Array:
    place = time - state.begin[stream]
    return (place >= 0) & (place < jax.tree.leaves(state.rows)[0].shape[1])


def _choose(mask: jax.Array, yes: Any, no: Any) -> Any:
    def choose(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x, y)

    return exactly(choose, yes, no)


@dataclass(frozen=True)
class Fetched(Windows):
    """The windows that were fetched, each legal, and the bounds of their episodes: the whole of each stream."""

    ring: Ring
    required: int
    history: int

    @override
    def alive(self, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
        return self.ring.present(ring, start, stream)

    @override
    def bounds(
        self, state: Any, ring: RingState, stream: jax.Array, time: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        return jnp.zeros_like(time), ring.size[stream] - 1, jnp.ones_like(time, jnp.bool_)

    @override
    def init(self) -> Any:
        raise _only_read()

    @override
    def add(self, state: Any, ring: RingState, added: Added) -> tuple[Any, Turnover]:
        raise _only_read()

    @override
    def count(self, state: Any, ring: RingState) -> jax.Array:
        raise _only_read()

    @override
    def start(self, state: Any, ring: RingState, stream: jax.Array, rank: jax.Array) -> jax.Array:
        raise _only_read()


def _only_read() -> ConfigurationError:
    return ConfigurationError("a view that reads from a store sees the windows of one batch: it can only read them.")


@struct.dataclass
class Consecutive(Index):
    """An index of rows whose distances from their window's first required row are known when it is traced.

    Attributes:
      offsets: the distances (static).
    """

    offsets: tuple[int, ...] = struct.field(pytree_node=False)


@dataclass(frozen=True)
class WindowReader(Reader):
    """A reader that takes consecutive rows out as one slice, which costs nothing where it is the whole window.

    Attributes:
      lead: how many of the fetched rows lie before each window's first required one.
    """

    lead: int = 0

    @override
    def index(self, offsets: Any) -> Index:
        found = super().index(offsets)
        steps = () if isinstance(offsets, jax.Array) else tuple(map(int, offsets))
        if steps and steps == tuple(range(steps[0], steps[0] + len(steps))):
            return Consecutive(found.stream, found.time, steps)
        return found

    @override
    def stored(self, index: Index) -> Any:
        if isinstance(index, Consecutive):
            first, count = index.offsets[0] + self.lead, len(index.offsets)
            rows = self.legal.ring.rows  # type: ignore[attr-defined]
            length = jax.tree.leaves(rows)[0].shape[1]
            if first == 0 and count == length:
                return rows
            if first >= 0 and first + count <= length:
                return exactly(lambda x: x[:, first : first + count], rows)
        return super().stored(Index(index.stream, index.time))
