"""Queues of legal windows: each stream keeps the times at which they began, oldest first.

A window joins the queue when the row that completes it arrives, and leaves at the front when its
first row goes out of reach: O(1) a row, and a draw is one read.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from typing_extensions import override

from jaxbuffers.numerics.materialize import after, materialize
from jaxbuffers.storage.ring import Ring, RingState
from jaxbuffers.windows.base import Added, Turnover, Windows


@struct.dataclass
class QueueState:
    """The queue of legal windows of each stream; counters are modulo the ring's cycle.

    Attributes:
      starts: int32 ``[T, E]``, rings of the times at which legal windows begin, oldest first.
      made: int32 ``[E]``, how many legal windows were ever queued.
      gone: int32 ``[E]``, how many of them have lost a row since.
      run: int32 ``[E]``, rows since the first row of the episode, as far as the queue needs to count them.
      ended: bool ``[E]``, whether the newest row was the last of its episode.
      too_long: int32 ``[E]``, how many episodes were too long to be one window.
    """

    starts: jax.Array
    made: jax.Array
    gone: jax.Array
    run: jax.Array
    ended: jax.Array
    too_long: jax.Array

    def stats(self) -> dict[str, jax.Array]:
        """How many legal windows each stream has, and how many episodes were too long."""
        length = len(self.starts)
        steps = self.made - self.gone
        return {"windows": jnp.where(steps < 0, steps + 2**30 // length * length, steps), "too_long": self.too_long}


@struct.dataclass
class Completed:
    """What a queue makes of N new rows.

    Attributes:
      state: the episodes' rows counted.
      completed: bool ``[N, E]``, whether the row completed a window.
      back: int32 ``[N, E]``, how many rows before the row that window begins.
    """

    state: QueueState
    completed: jax.Array
    back: jax.Array


class Queue(Windows):
    """Windows that are queued as they are completed."""

    @abc.abstractmethod
    def _complete(self, state: QueueState, added: Added) -> Completed:
        """Say which of the new rows complete a window; keep count of the rows of each episode."""

    @override
    def init(self) -> QueueState:
        """An empty queue; no row has come, so the next one opens an episode."""
        streams = self.ring.num_streams

        def zeros() -> jax.Array:
            return jnp.zeros(streams, jnp.int32)

        return QueueState(
            starts=jnp.zeros((self.ring.length, streams), jnp.int32),
            made=zeros(),
            gone=zeros(),
            run=zeros() - 1,
            ended=jnp.zeros(streams, jnp.bool_),
            too_long=zeros(),
        )

    @override
    def add(self, state: Any, ring: RingState, added: Added) -> tuple[QueueState, Turnover]:
        """Queue the windows that the new rows complete; let go of those that lost a row."""
        number = len(added.mask)
        streams = jnp.arange(self.ring.num_streams, dtype=jnp.uint32)[None]
        found = self._complete(state, added)
        completed, start = found.completed, self.ring.since(added.time, found.back)
        rank = jnp.cumsum(completed, axis=0, dtype=jnp.int32)

        past = jnp.uint32(self.ring.length) + jnp.arange(number, dtype=jnp.uint32)[:, None]
        place = jnp.where(completed, self.ring.slot(self.ring.shift(state.made[None], rank - 1)), past)
        starts = state.starts.at[place, streams].set(start, mode="drop", unique_indices=True)
        made = self.ring.shift(state.made, rank[-1])

        # At most N rows left the reach, so at most N windows have expired: the front ones.
        # Entries that the new ones have pushed out of the queue itself are among the lost.
        held = jnp.minimum(self.ring.since(made, state.gone), self.ring.length)
        front = self.ring.since(made, held)
        ahead = jnp.arange(number, dtype=jnp.int32)[:, None]
        begun = starts.at[self.ring.slot(self.ring.shift(front[None], ahead)), streams].get(mode="promise_in_bounds")
        age = self.ring.since(ring.time[None], begun)
        lost = jnp.sum((ahead < held[None]) & (age > self.reach), axis=0, dtype=jnp.int32)
        turnover = self._turnover(start, completed, ring, added)
        gone = materialize(self.ring.shift(front, lost))
        made = after(made, gone)
        return replace(found.state, starts=starts, made=made, gone=gone), turnover

    @override
    def count(self, state: Any, ring: RingState) -> jax.Array:
        """Those made less those gone."""
        return self.ring.since(state.made, state.gone)

    @override
    def start(self, state: Any, ring: RingState, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """One read of the queue."""
        place = self.ring.slot(self.ring.shift(state.gone[stream], rank))
        return state.starts.at[place, stream.astype(jnp.uint32)].get(mode="promise_in_bounds")


@dataclass(frozen=True)
class Queued(Queue):
    """Windows of ``required`` rows, of one episode if ``within``, beginning every ``period`` rows.

    The period counts from the first row of the episode, or of the stream if windows may cross; None for the first
    window alone.
    """

    ring: Ring
    required: int
    within: bool
    period: int | None = 1
    history: int = 0

    @override
    def _complete(self, state: QueueState, added: Added) -> Completed:
        """A row completes a window if it has enough predecessors in its episode, and the period says so.

        From ``required - 1`` on, ``run`` goes round in ``period`` steps: it is ``required - 1`` where a window ends.
        Without a period it stays beyond.
        """

        def step(run: jax.Array, fresh: jax.Array) -> jax.Array:
            if self.period is None:
                following = jnp.minimum(run + 1, self.required)
            else:
                following = jnp.where(run + 1 < self.required - 1 + self.period, run + 1, self.required - 1)
            return jnp.where(fresh & self.within, 0, following)

        run, ended = _count(state, added, step)
        state = replace(state, run=run[-1], ended=ended)
        return Completed(
            state=state, completed=added.mask & (run == self.required - 1), back=jnp.full_like(run, self.required - 1)
        )

    @override
    def count_in(self, length: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Every ``period``-th row with enough successors begins one; without a period, the first row alone."""
        enough = np.maximum(length - (self.required - 1), 0)
        return np.minimum(enough, 1) if self.period is None else -(-enough // self.period)

    @override
    def start_in(self, rank: np.ndarray) -> np.ndarray:
        return rank * (1 if self.period is None else self.period)


@dataclass(frozen=True)
class WholeEpisodes(Queue):
    """Whole episodes of at most ``max_length`` rows: legal from their last row on, until their first is overwritten."""

    ring: Ring
    max_length: int
    required: int = 1
    history: int = 0

    @override
    def _complete(self, state: QueueState, added: Added) -> Completed:
        """The last row completes its episode, unless it is too long."""

        def step(run: jax.Array, fresh: jax.Array) -> jax.Array:
            return jnp.where(fresh, 0, jnp.minimum(run + 1, self.max_length))

        run, ended = _count(state, added, step)
        over = added.mask & added.last
        fits = run < self.max_length
        too_long = state.too_long + jnp.sum(over & ~fits, axis=0, dtype=jnp.int32)
        state = replace(state, run=run[-1], ended=ended, too_long=too_long)
        return Completed(state=state, completed=over & fits, back=run)

    @override
    def count_in(self, length: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """One, unless the episode is too long, or not over."""
        return np.where(ended & (length <= self.max_length), 1, 0)


def _count(
    state: QueueState, added: Added, step: Callable[[jax.Array, jax.Array], jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Return ``run`` after each of the N rows ``[N, E]``, and ``ended`` after all of them ``[E]``."""

    def body(
        carry: tuple[jax.Array, jax.Array], row: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        run, ended = carry
        first, last, mask = row
        run = jnp.where(mask, step(run, first | ended), run)
        return (run, jnp.where(mask, last, ended)), run

    if len(added.mask) == 1:
        (run, ended), _ = body((state.run, state.ended), (added.first[0], added.last[0], added.mask[0]))
        return run[None], ended
    unroll = min(len(added.mask), 8)  # a handful of rows, the common case, becomes straight-line code
    (_, ended), runs = jax.lax.scan(
        body, (state.run, state.ended), (added.first, added.last, added.mask), unroll=unroll
    )
    return runs, ended
