"""Legal: the one face of rows and legal windows. It decides nothing: the kinds of windows do, in the other files."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxbuffers.batch import Draw, check_draw
from jaxbuffers.storage.ring import RingState
from jaxbuffers.windows.base import Windows


@dataclass(frozen=True)
class Legal:
    """The rows of a replay at one moment, and its legal windows: all that samplers and views see of it.

    `Replay.legal` returns it. A row is named by its stream and its time, int32; times are counted modulo `cycle`, so
    use `shift` and `age` instead of sums and differences. Windows are named by the stream and the time of their first
    required row, their **start**; the **rank** of a window is how many legal windows of its stream are older.

    Attributes:
      kind: what makes a window legal (static).
      windows: the bookkeeping of the legal windows.
      ring: the stored rows.
    """

    kind: Windows
    windows: Any
    ring: RingState

    @property
    def num_streams(self) -> int:
        """E."""
        return self.kind.num_streams

    @property
    def length(self) -> int:
        """T, the rows kept of each stream."""
        return self.kind.length

    @property
    def required(self) -> int:
        """How many consecutive rows every window has for certain."""
        return self.kind.required

    @property
    def history(self) -> int:
        """How many rows before its first one are kept as long as a window is legal."""
        return self.kind.history

    @property
    def cycle(self) -> int:
        """Times are counted modulo this multiple of T."""
        return self.kind.ring.cycle

    @property
    def time(self) -> jax.Array:
        """The time of the next row of each stream: int32 ``[E]``."""
        return self.ring.time

    @property
    def size(self) -> jax.Array:
        """How many rows of each stream are present: int32 ``[E]``, at most T."""
        return self.ring.size

    def count(self) -> jax.Array:
        """How many legal windows each stream has: int32 ``[E]``."""
        return self.kind.count(self.windows, self.ring)

    def start(self, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """When the window of this ``rank`` in its stream (0 is the oldest) begins."""
        return self.kind.start(self.windows, self.ring, stream, rank)

    def older(self, stream: jax.Array, start: jax.Array) -> jax.Array:
        """How many legal windows of the stream begin before ``start``, the time of a row present: int32."""
        return self.kind.older(self.windows, self.ring, stream, start)

    def alive(self, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Whether windows that were legal once, beginning at ``start``, still are: bool."""
        return self.kind.alive(self.ring, stream, start)

    def known(self, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Whether a legal window begins at ``start``, whatever that is: bool, by bisection."""
        present = self.present(stream, start)
        stream = jnp.where(present, stream, 0)
        rank = self.older(stream, start)
        return present & (rank < self.count()[stream]) & (self.start(stream, rank) == start)

    def only_known(self, draw: Draw) -> Draw:
        """Return a draw whose windows that are not legal are invalid entries; refuse what is no draw."""
        check_draw(draw)
        return draw.only(self.known(draw.stream, draw.start))

    def bounds(self, stream: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Find the first and the last row present of each row's episode, and whether it began with the first.

        Only where the view's windows are ``Bounded``; others raise a ConfigurationError.
        """
        return self.kind.bounds(self.windows, self.ring, stream, time)

    def read(self, stream: jax.Array, time: jax.Array, mask: jax.Array | None = None) -> Any:
        """Read rows: leaves ``[*S, ...]``, zero where ``mask`` is False.

        Args:
          stream: int32 ``[*S]``.
          time: int32 ``[*S]``.
          mask: bool ``[*S]``, False for every row that is not present; None to find that out here.
        """
        mask = self.present(stream, time) if mask is None else mask
        return self.kind.ring.read(self.ring, time, stream, mask)

    def present(self, stream: jax.Array, time: jax.Array) -> jax.Array:
        """Whether rows are there now, neither overwritten nor yet to come: bool, False for what is no address."""
        return self.kind.ring.present(self.ring, time, stream)

    def age(self, stream: jax.Array, time: jax.Array) -> jax.Array:
        """How many rows of the stream came after the one at ``time``, a row present: int32."""
        return self.shift(self.ring.time[stream], -1 - time)

    def shift(self, time: jax.Array, steps: jax.Array | int) -> jax.Array:
        """Move a time by fewer than `cycle` steps, modulo the cycle."""
        return self.kind.ring.shift(time, steps)

    def slot(self, time: jax.Array) -> jax.Array:
        """In which of the T slots of its stream the row of a time lies: uint32."""
        return self.kind.ring.slot(time)

    def address(self, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Number the places where windows may begin: uint32 below T * E; one for each slot of each stream."""
        return self.slot(start) * jnp.uint32(self.num_streams) + stream.astype(jnp.uint32)

    def window_at(self, address: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the stream and the start of the window at an `address` in use: int32."""
        streams = jnp.uint32(self.num_streams)
        stream, slot = (address % streams).astype(jnp.int32), (address // streams).astype(jnp.int32)
        newest = self.shift(self.ring.time[stream], -1)
        back = self.slot(newest).astype(jnp.int32) - slot
        return stream, self.shift(newest, -jnp.where(back < 0, back + self.length, back))
