"""What every sampler is: a way to point at legal windows."""

import abc
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxbuffers.batch import Draw, Index
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.row import RowSpec
from jaxbuffers.storage.ring import RingState
from jaxbuffers.windows.base import Added, Turnover, Windows


@dataclass(frozen=True)
class Legal:
    """The legal windows of a replay at one moment: all that a sampler needs to see."""

    windows: Windows
    queue: Any
    ring: RingState

    def count(self) -> jax.Array:
        """How many legal windows each stream has: int32 ``[E]``."""
        return self.windows.count(self.queue, self.ring)

    def start(self, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """When the window of this ``rank`` in its stream (0 is the oldest) begins."""
        return self.windows.start(self.queue, self.ring, stream, rank)

    def older(self, stream: jax.Array, start: jax.Array) -> jax.Array:
        """How many legal windows of the stream begin before ``start``, the time of a row present: int32."""
        return self.windows.older(self.queue, self.ring, stream, start)

    def alive(self, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Whether windows that were legal once, beginning at ``start``, still are: bool."""
        return self.windows.alive(self.ring, stream, start)

    def age(self, stream: jax.Array, start: jax.Array) -> jax.Array:
        """How many rows of the stream came after the one at ``start``: int32."""
        return self.windows.ring.shift(self.ring.time[stream], -1 - start)

    def address(self, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Number the places where windows may begin: uint32 below T * E; one for each slot of each stream."""
        ring = self.windows.ring
        return ring.slot(start) * jnp.uint32(ring.num_streams) + stream.astype(jnp.uint32)

    def window_at(self, address: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the stream and the start of the window at an `address` in use: int32."""
        ring = self.windows.ring
        streams = jnp.uint32(ring.num_streams)
        stream, slot = (address % streams).astype(jnp.int32), (address // streams).astype(jnp.int32)
        newest = ring.shift(self.ring.time[stream], -1)
        back = ring.slot(newest).astype(jnp.int32) - slot
        return stream, ring.shift(newest, -jnp.where(back < 0, back + ring.length, back))


class Sampler(abc.ABC):
    """A frozen configuration with pure methods; what it remembers is its own pytree.

    Subclasses are frozen dataclasses: equal configurations must be equal values.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the row that this sampler needs."""
        return ()

    @property
    def takes_priority(self) -> bool:
        """Whether ``Replay.update(priority=)`` is of use to it."""
        return False

    @property
    def memory(self) -> Any:
        """What must be equal for another sampler to understand what this one remembers, a hashable value.

        By default the sampler itself; None if it remembers nothing, because it has no `init` of its own. A sampler
        of others returns its name and their memories, such as ``("Counted", self.sampler.memory)``.
        """
        return None if type(self).init is Sampler.init else self

    def check(self, spec: RowSpec) -> None:
        """Raise an error that names what the row lacks for this sampler."""
        spec.require(self.fields, f"{type(self).__name__}()")

    @abc.abstractmethod
    def draw(self, state: Any, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        """Point at ``batch_size`` windows. The key is consumed."""

    def can_draw(self, state: Any, legal: Legal, batch_size: int) -> jax.Array:
        """Say whether `draw` of so many windows will be valid, whatever the key: bool ``[]``.

        By default, whether any window is legal. A sampler that does not draw from every legal window, or never draws
        one twice, must say so here.
        """
        return jnp.any(legal.count() > 0)

    def init(self, windows: Windows) -> Any:
        """Return what the sampler remembers about an empty ring; nothing by default."""
        return ()

    def add(self, state: Any, legal: Legal, added: Added, turnover: Turnover) -> Any:
        """Account for rows just added, ``[N, E]``, and for the windows they completed and ended; nothing by default."""
        return state

    def update(self, state: Any, legal: Legal, index: Index, priority: jax.Array | None) -> Any:
        """Take note that the windows beginning at ``index`` ``[B]`` were used; nothing by default.

        Args:
          state: what the sampler remembers.
          legal: the legal windows now; some of those at ``index`` may be gone.
          index: each window's first required row; time -1 where there is none.
          priority: float32 ``[B]``; None unless `takes_priority`.
        """
        return state

    def rewritten(self, state: Any, legal: Legal, index: Index) -> Any:
        """Take note that rows at ``index``, of any shape, have been replaced in the ring; nothing by default."""
        return state

    def probability(self, state: Any, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return the probability with which one draw points at each of these legal windows: float32."""
        raise ConfigurationError(f"{type(self).__name__} does not say how likely a window is: it cannot be mixed.")
