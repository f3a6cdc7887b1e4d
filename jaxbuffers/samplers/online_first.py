"""OnlineFirst: each new window once, oldest first, then another sampler."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxbuffers.batch import Draw, Index
from jaxbuffers.checks import check_part
from jaxbuffers.row import RowSpec
from jaxbuffers.samplers.base import Legal, Sampler
from jaxbuffers.samplers.uniform import Uniform
from jaxbuffers.windows.base import Added, Turnover, Windows


@struct.dataclass
class OnlineState:
    """A queue of new windows that do not overlap.

    Attributes:
      then: what the other sampler remembers.
      stream: int32 ``[Q]``, a ring of the streams of queued windows, in order of their completion.
      start: int32 ``[Q]``, likewise when they begin.
      head: int32 ``[]``, the number of the oldest one queued; numbers are modulo a multiple of Q.
      queued: int32 ``[]``, how many are queued.
      free: int32 ``[E]``, the number of rows, modulo the ring's cycle, from which the next queued window of
        each stream may begin.
      missed: int32 ``[]``, how many windows left the queue unseen: overwritten, or pushed out of it.
    """

    then: Any
    stream: jax.Array
    start: jax.Array
    head: jax.Array
    queued: jax.Array
    free: jax.Array
    missed: jax.Array


@dataclass(frozen=True)
class OnlineFirst(Sampler):
    """Draw each new window once, oldest first; fill the rest of the batch with another sampler.

    The online queue of DreamerV3 (Hafner et al. 2023): what has just been experienced is learned
    from at least once. Queued windows of a stream do not overlap: each begins with the first legal window
    after the required rows of the one before. `Replay.sample` does not change the state, so a window
    counts as seen once ``state = replay.update(state, batch.index)`` has said so; call it after
    each sample. Windows that were overwritten unseen, because fewer are sampled than are added,
    are counted in ``state.sampler.missed``.

    ``batch.probability`` is 1 for a window from the queue, since it is certain to come, and what
    the other sampler says for the rest. O(B**2) a batch, O(E) a row.

    Args:
      then: the sampler for the rest of the batch.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=12, num_envs=None, batch_size=2, view=jb.Sequences(3), sampler=jb.OnlineFirst())
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(9.0))
    >>> batch = replay.sample(state, jax.random.key(0))
    >>> batch.data.tolist()
    [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    >>> state = replay.update(state, batch.index)
    >>> replay.sample(state, jax.random.key(0)).data[0]
    Array([6., 7., 8.], dtype=float32)
    """

    then: Sampler = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        check_part("the sampler of OnlineFirst()", self.then, Sampler)

    @property
    def fields(self) -> tuple[str, ...]:
        """What the other sampler needs."""
        return self.then.fields

    @property
    def takes_priority(self) -> bool:
        """Whether the other sampler takes one."""
        return self.then.takes_priority

    @property
    def memory(self) -> tuple[str, Any]:
        """The queue, and what the other sampler remembers."""
        return ("OnlineFirst", self.then.memory)

    def check(self, spec: RowSpec) -> None:
        """Let the other sampler check the row."""
        self.then.check(spec)

    def init(self, windows: Windows) -> OnlineState:
        """An empty queue, with room for all windows that can be present without overlap."""
        ring = windows.ring
        places = ring.num_streams * (-(-ring.length // windows.required) + 1)
        zero = [jnp.zeros((), jnp.int32) for _ in range(3)]
        stream, start = jnp.zeros(places, jnp.int32), jnp.zeros(places, jnp.int32)
        free = jnp.zeros(ring.num_streams, jnp.int32)
        return OnlineState(self.then.init(windows), stream, start, zero[0], zero[1], free, zero[2])

    def add(self, state: OnlineState, legal: Legal, added: Added, turnover: Turnover) -> OnlineState:
        """Queue the completed windows that do not overlap a queued one."""
        ring, required = legal.windows.ring, legal.windows.required
        # Windows completed now begin among the newest T rows. `free` keeps up with these: after half a cycle
        # without a window it would seem to lie ahead.
        fallen = ring.shift(legal.ring.time, -state.free) > ring.length
        free = jnp.where(fallen, ring.shift(legal.ring.time, -ring.length), state.free)

        def step(free: jax.Array, row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            start, completed = row
            # Modulo the cycle, a start is from `free` on if it is less than half a cycle after it.
            takes = completed & (ring.shift(start, -free) < ring.cycle // 2)
            return jnp.where(takes, ring.shift(start, required), free), takes

        unroll = min(len(turnover.start), 8)
        free, takes = jax.lax.scan(step, free, (turnover.start, turnover.completed), unroll=unroll)
        places, flat = len(state.stream), takes.reshape(-1)
        rank = jnp.cumsum(flat, dtype=jnp.int32)
        # Of more new ones than places only the last are kept.
        kept = flat & (rank > rank[-1] - places)
        past = places + jnp.arange(len(flat), dtype=jnp.int32)
        place = jnp.where(kept, (state.head + state.queued + rank - 1) % places, past)
        stream = jnp.broadcast_to(jnp.arange(takes.shape[1], dtype=jnp.int32), takes.shape).reshape(-1)
        pushed = jnp.maximum(state.queued + rank[-1] - places, 0)
        return OnlineState(
            self.then.add(state.then, legal, added, turnover),
            state.stream.at[place].set(stream, mode="drop", unique_indices=True),
            state.start.at[place].set(turnover.start.reshape(-1), mode="drop", unique_indices=True),
            (state.head + pushed) % places,
            jnp.minimum(state.queued + rank[-1], places),
            free,
            state.missed + pushed,
        )

    def can_draw(self, state: OnlineState, legal: Legal, batch_size: int) -> jax.Array:
        """Whether the queue has a whole batch, or the other sampler can draw one."""
        _, _, alive = self._front(state, legal, batch_size)
        return jnp.all(alive) | self.then.can_draw(state.then, legal, batch_size)

    def draw(self, state: OnlineState, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        """Point at ``batch_size`` windows. The key is consumed."""
        then = self.then.draw(state.then, legal, key, batch_size)
        stream, start, alive = self._front(state, legal, batch_size)
        # Living windows of the queue first, in its order.
        order = jnp.argsort(~alive, stable=True)
        stream, start, online = stream[order], start[order], alive[order]
        valid = jnp.broadcast_to(jnp.all(online | then.valid), online.shape)  # part of a batch is none
        return Draw(
            jnp.where(valid, jnp.where(online, stream, then.stream), 0),
            jnp.where(valid, jnp.where(online, start, then.start), 0),
            jnp.where(valid, jnp.where(online, 1, then.probability), 0),
            valid,
        )

    def update(self, state: OnlineState, legal: Legal, index: Index, priority: jax.Array | None) -> OnlineState:
        """Let go of the windows at the front of the queue that were used or are gone."""
        stream, start, alive = self._front(state, legal, len(index.time))
        used = (stream[:, None] == index.stream[None]) & (start[:, None] == index.time[None])
        used = jnp.any(used & (index.time >= 0)[None], axis=1)
        queued = jnp.arange(len(stream), dtype=jnp.int32) < state.queued
        done = jnp.cumprod(queued & (used | ~alive), dtype=jnp.int32)
        count = jnp.sum(done, dtype=jnp.int32)
        missed = jnp.sum((done > 0) & ~alive & ~used, dtype=jnp.int32)
        return replace(
            state,
            then=self.then.update(state.then, legal, index, priority),
            head=(state.head + count) % len(state.stream),
            queued=state.queued - count,
            missed=state.missed + missed,
        )

    def rewritten(self, state: OnlineState, legal: Legal, index: Index) -> OnlineState:
        """Tell the other sampler."""
        return replace(state, then=self.then.rewritten(state.then, legal, index))

    def _front(self, state: OnlineState, legal: Legal, count: int) -> tuple[jax.Array, ...]:
        """Return the stream and start of the first ``count`` queued windows, and whether each is there and legal."""
        step = jnp.arange(count, dtype=jnp.int32)
        place = (state.head + step) % len(state.stream)
        stream, start = state.stream[place], state.start[place]
        queued = step < jnp.minimum(state.queued, len(state.stream))
        return stream, start, queued & legal.alive(stream, start)
