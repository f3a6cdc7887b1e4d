"""Which windows are legal, known the moment their last row arrives.

A window of ``required`` consecutive rows is legal while all of them are present and, if it may
not cross episodes, all belong to one. Two exact answers to the same three questions (what did
these rows change, how many legal windows has each stream, where is the k-th oldest):

* `Contiguous`: any run of rows is legal, so counting is arithmetic and nothing is stored.
* `Queued`: each stream keeps a queue of the times at which legal windows began.
"""

import abc
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxbuffers.ring import Ring, RingState

Rule = tuple[int | bool, ...]


class Added(NamedTuple):
    """Rows that have just been added to the ring.

    Attributes:
      time: int32 ``[N, E]``.
      mask: bool ``[N, E]``, which of the rows were written; the others do not exist.
      first: bool ``[N, E]``, the rows' ``is_first``, or False where rows have no such field.
      last: bool ``[N, E]``, likewise ``is_last``.
    """

    time: jax.Array
    mask: jax.Array
    first: jax.Array
    last: jax.Array


class Turnover(NamedTuple):
    """What rows that have just been added did to the legal windows, for each row ``[N, E]``.

    Attributes:
      start: int32, when the window that the row completed begins.
      completed: bool, whether the row completed a window that is legal now.
      expired: int32, the beginning of the window that, if there was one, is not legal any more
        because the row has come. Rows that were not written expire nothing.
    """

    start: jax.Array
    completed: jax.Array
    expired: jax.Array


class Windows(abc.ABC):
    """The legal windows of every stream.

    Attributes:
      ring: the rows.
      required: how many consecutive rows a window must have.
      history: how many rows before its first one must not be overwritten while it is legal.
    """

    ring: Ring
    required: int
    history: int

    @property
    def reach(self) -> int:
        """How many of a stream's newest rows a legal window may begin at."""
        return self.ring.length - self.history

    @property
    @abc.abstractmethod
    def rule(self) -> Rule | None:
        """What decides which windows are queued, or None if none are."""

    @abc.abstractmethod
    def init(self) -> Any:
        """Return the bookkeeping of an empty ring."""

    @abc.abstractmethod
    def add(self, state: Any, ring: RingState, added: Added) -> tuple[Any, Turnover]:
        """Account for rows that have just been added to ``ring``; return the bookkeeping and what changed."""

    @abc.abstractmethod
    def count(self, state: Any, ring: RingState) -> jax.Array:
        """Return how many legal windows each stream has: int32 ``[E]``."""

    @abc.abstractmethod
    def start(self, state: Any, ring: RingState, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """Return when the window of the given ``rank`` (0 is the oldest) begins: int32 times."""

    def older(self, state: Any, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Count the legal windows of each stream that begin before ``start``, the time of a row present: int32."""
        count = self.count(state, ring)[stream]
        low, high = jnp.zeros_like(count), count
        age = self.ring.shift(ring.time[stream], -start)
        for _ in range(self.ring.length.bit_length()):
            middle = (low + high) // 2
            begun = self.start(state, ring, stream, jnp.minimum(middle, jnp.maximum(count - 1, 0)))
            before = (middle < high) & (self.ring.shift(ring.time[stream], -begun) > age)
            low, high = jnp.where(before, middle + 1, low), jnp.where(before, high, middle)
        return low

    def alive(self, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Say whether windows that were legal once, beginning at ``start``, still are."""
        present = self.ring.present(ring, start, stream)
        newest = ring.time[jnp.where(present, stream, 0)]
        return present & (self.ring.shift(newest, -jnp.where(present, start, 0)) <= self.reach)

    def _turnover(self, start: jax.Array, completed: jax.Array, ring: RingState, added: Added) -> Turnover:
        # Of many rows added at once, the last may have overwritten what the first have completed.
        completed = completed & (self.ring.shift(ring.time[None], -start) <= self.reach)
        return Turnover(start, completed, self.ring.shift(added.time, -self.reach))


@dataclass(frozen=True)
class Contiguous(Windows):
    """Windows of ``required`` rows that may cross episodes: legal wherever the rows are present."""

    ring: Ring
    required: int
    history: int = 0

    @property
    def rule(self) -> None:
        """None: no window is queued."""

    def init(self) -> None:
        """Nothing needs to be kept."""

    def add(self, state: Any, ring: RingState, added: Added) -> tuple[None, Turnover]:
        """A row completes a window unless it is among the first ones present."""
        later = jnp.flip(jnp.cumsum(jnp.flip(added.mask, axis=0), axis=0, dtype=jnp.int32), axis=0) - 1
        completed = added.mask & (ring.size[None] - later >= self.required)
        return None, self._turnover(self.ring.shift(added.time, 1 - self.required), completed, ring, added)

    def count(self, state: Any, ring: RingState) -> jax.Array:
        """Every start within reach whose ``required`` rows are present is legal."""
        return jnp.maximum(jnp.minimum(ring.size, self.reach) - (self.required - 1), 0)

    def older(self, state: Any, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Every row within reach before ``start`` begins a window, up to the last that does."""
        rows = jnp.minimum(ring.size[stream], self.reach) - self.ring.shift(ring.time[stream], -start)
        return jnp.clip(rows, 0, self.count(state, ring)[stream])

    def start(self, state: Any, ring: RingState, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """The k-th oldest window begins at the k-th oldest row within reach."""
        return self.ring.shift(ring.time[stream] - jnp.minimum(ring.size[stream], self.reach), rank)


@struct.dataclass
class QueueState:
    """The queue of legal windows of each stream; counters are modulo the ring's cycle.

    Attributes:
      starts: int32 ``[T, E]``, rings of the times at which legal windows begin, oldest first.
      made: int32 ``[E]``, how many legal windows were ever queued.
      gone: int32 ``[E]``, how many of them have lost a row since.
      run: int32 ``[E]``, rows since the first row of the episode; from ``required - 1`` on it
        goes round in ``period`` steps, so that a legal window ends where it is ``required - 1``.
      ended: bool ``[E]``, whether the newest row was the last of its episode.
      rule: by which windows were queued (static).
    """

    starts: jax.Array
    made: jax.Array
    gone: jax.Array
    run: jax.Array
    ended: jax.Array
    rule: Rule = struct.field(pytree_node=False)


@dataclass(frozen=True)
class Queued(Windows):
    """Windows of ``required`` rows, of one episode if ``within``, beginning every ``period`` rows.

    The period counts from the first row of the episode, or of the stream if windows may cross.
    """

    ring: Ring
    required: int
    within: bool
    period: int = 1
    history: int = 0

    @property
    def rule(self) -> Rule:
        """Required rows, whether within an episode, period, history."""
        return (self.required, self.within, self.period, self.history)

    def init(self) -> QueueState:
        """An empty queue; no row has come, so the next one opens an episode."""
        streams = self.ring.num_streams

        def zeros() -> jax.Array:
            return jnp.zeros(streams, jnp.int32)

        starts = jnp.zeros((self.ring.length, streams), jnp.int32)
        return QueueState(starts, zeros(), zeros(), zeros() - 1, jnp.zeros(streams, jnp.bool_), self.rule)

    def add(self, state: Any, ring: RingState, added: Added) -> tuple[QueueState, Turnover]:
        """Queue the windows that the new rows complete; let go of those that lost a row."""
        number = len(added.mask)
        streams = jnp.arange(self.ring.num_streams, dtype=jnp.uint32)[None]
        run, ended = self._runs(state, added)
        completed = added.mask & (run == self.required - 1)
        rank = jnp.cumsum(completed, axis=0, dtype=jnp.int32)

        past = jnp.uint32(self.ring.length) + jnp.arange(number, dtype=jnp.uint32)[:, None]
        place = jnp.where(completed, self.ring.slot(self.ring.shift(state.made[None], rank - 1)), past)
        start = self.ring.shift(added.time, 1 - self.required)
        starts = state.starts.at[place, streams].set(start, mode="drop", unique_indices=True)
        made = self.ring.shift(state.made, rank[-1])

        # At most N rows left the reach, so at most N windows have expired: the front ones.
        # Entries that the new ones have pushed out of the queue itself are among the lost.
        held = jnp.minimum(self.ring.shift(made, -state.gone), self.ring.length)
        front = self.ring.shift(made, -held)
        ahead = jnp.arange(number, dtype=jnp.int32)[:, None]
        begun = starts.at[self.ring.slot(self.ring.shift(front[None], ahead)), streams].get(mode="promise_in_bounds")
        age = self.ring.shift(ring.time[None], -begun)
        lost = jnp.sum((ahead < held[None]) & (age > self.reach), axis=0, dtype=jnp.int32)
        turnover = self._turnover(start, completed, ring, added)
        return QueueState(starts, made, self.ring.shift(front, lost), run[-1], ended, self.rule), turnover

    def count(self, state: Any, ring: RingState) -> jax.Array:
        """Those made less those gone."""
        return self.ring.shift(state.made, -state.gone)

    def start(self, state: Any, ring: RingState, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """One read of the queue."""
        place = self.ring.slot(self.ring.shift(state.gone[stream], rank))
        return state.starts.at[place, stream.astype(jnp.uint32)].get(mode="promise_in_bounds")

    def _runs(self, state: Any, added: Added) -> tuple[jax.Array, jax.Array]:
        """Return ``run`` after each of the N rows ``[N, E]``, and ``ended`` after all of them ``[E]``."""

        def step(
            carry: tuple[jax.Array, jax.Array], row: tuple[jax.Array, ...]
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            run, ended = carry
            first, last, mask = row
            fresh = (first | ended) & self.within
            following = jnp.where(run + 1 < self.required - 1 + self.period, run + 1, self.required - 1)
            run = jnp.where(mask, jnp.where(fresh, 0, following), run)
            ended = jnp.where(mask, last, ended)
            return (run, ended), run

        unroll = min(len(added.mask), 8)  # a handful of rows, the common case, becomes straight-line code
        carry, runs = jax.lax.scan(step, (state.run, state.ended), (added.first, added.last, added.mask), unroll=unroll)
        return runs, carry[1]
