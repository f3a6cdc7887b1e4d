"""OnlineFirst: each new window once, oldest first, then another sampler."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Draw, Index
from jaxbuffers.checks import check_part
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.samplers.reporting import under
from jaxbuffers.samplers.uniform import Uniform
from jaxbuffers.samplers.wrapping import WrappingSampler
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal


@struct.dataclass
class OnlineState:
    """A queue of new windows that do not overlap.

    Attributes:
      inner: what the other sampler remembers.
      stream: int32 ``[Q]``, a ring of the streams of queued windows, in order of their completion.
      start: int32 ``[Q]``, likewise when they begin.
      head: int32 ``[]``, the number of the oldest one queued; numbers are modulo a multiple of Q.
      queued: int32 ``[]``, how many are queued.
      free: int32 ``[E]``, the number of rows, modulo the ring's cycle, from which the next queued window of
        each stream may begin.
      missed: int32 ``[]``, how many windows left the queue unseen: overwritten, or pushed out of it.
    """

    inner: Any
    stream: jax.Array
    start: jax.Array
    head: jax.Array
    queued: jax.Array
    free: jax.Array
    missed: jax.Array

    def stats(self) -> dict[str, jax.Array]:
        """How many windows are queued, and were missed."""
        return {"queued": self.queued, "missed": self.missed} | under("then", self.inner)


@dataclass(frozen=True)
class OnlineFirst(WrappingSampler[OnlineState]):
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
    @override
    def inner(self) -> Sampler:
        return self.then

    @property
    @override
    def says_probability(self) -> bool:
        return False

    @property
    @override
    def memory(self) -> tuple[str, Any]:
        return ("OnlineFirst", self.inner.memory)

    @override
    def init(self, windows: Windows) -> OnlineState:
        # Room for all windows that can be present without overlap.
        places = windows.num_streams * (-(-windows.length // windows.required) + 1)
        return OnlineState(
            inner=self.inner.init(windows),
            stream=jnp.zeros(places, jnp.int32),
            start=jnp.zeros(places, jnp.int32),
            head=jnp.zeros((), jnp.int32),
            queued=jnp.zeros((), jnp.int32),
            free=jnp.zeros(windows.num_streams, jnp.int32),
            missed=jnp.zeros((), jnp.int32),
        )

    @override
    def add(self, state: OnlineState, legal: Legal, added: Added, turnover: Turnover) -> OnlineState:
        shift, required = legal.shift, legal.required
        # Windows completed now begin among the newest T rows. `free` keeps up with these: after half a cycle
        # without a window it would seem to lie ahead.
        fallen = shift(legal.time, -state.free) > legal.length
        free = jnp.where(fallen, shift(legal.time, -legal.length), state.free)

        def step(free: jax.Array, row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            start, completed = row
            # Modulo the cycle, a start is from `free` on if it is less than half a cycle after it.
            takes = completed & (shift(start, -free) < legal.cycle // 2)
            return jnp.where(takes, shift(start, required), free), takes

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
        return replace(
            super().add(state, legal, added, turnover),
            stream=state.stream.at[place].set(stream, mode="drop", unique_indices=True),
            start=state.start.at[place].set(turnover.start.reshape(-1), mode="drop", unique_indices=True),
            head=(state.head + pushed) % places,
            queued=jnp.minimum(state.queued + rank[-1], places),
            free=free,
            missed=state.missed + pushed,
        )

    @override
    def can_draw(self, state: OnlineState, legal: Legal, batch_size: int) -> jax.Array:
        _, _, alive = self._front(state, legal, batch_size)
        return jnp.all(alive) | super().can_draw(state, legal, batch_size)

    @override
    def draw(self, state: OnlineState, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        then = super().draw(state, legal, key, batch_size)
        stream, start, alive = self._front(state, legal, batch_size)
        # Living windows of the queue first, in its order.
        order = jnp.argsort(~alive, stable=True)
        stream, start, online = stream[order], start[order], alive[order]
        valid = jnp.all(online | then.valid)  # part of a batch is none
        return Draw.of(
            stream=jnp.where(online, stream, then.stream),
            start=jnp.where(online, start, then.start),
            probability=jnp.where(online, 1, then.probability),
            valid=valid,
        )

    @override
    def probability(self, state: OnlineState, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        return Sampler.probability(self, state, legal, stream, start)  # which refuses

    @override
    def update(self, state: OnlineState, legal: Legal, index: Index, priority: jax.Array | None) -> OnlineState:
        # The windows at the front of the queue that were used or are gone leave it.
        stream, start, alive = self._front(state, legal, len(index.time))
        used = (stream[:, None] == index.stream[None]) & (start[:, None] == index.time[None])
        used = jnp.any(used & (index.time >= 0)[None], axis=1)
        queued = jnp.arange(len(stream), dtype=jnp.int32) < state.queued
        done = jnp.cumprod(queued & (used | ~alive), dtype=jnp.int32)
        count = jnp.sum(done, dtype=jnp.int32)
        missed = jnp.sum((done > 0) & ~alive & ~used, dtype=jnp.int32)
        return replace(
            super().update(state, legal, index, priority),
            head=(state.head + count) % len(state.stream),
            queued=state.queued - count,
            missed=state.missed + missed,
        )

    def _front(self, state: OnlineState, legal: Legal, count: int) -> tuple[jax.Array, ...]:
        """Return the stream and start of the first ``count`` queued windows, and whether each is there and legal."""
        step = jnp.arange(count, dtype=jnp.int32)
        place = (state.head + step) % len(state.stream)
        stream, start = state.stream[place], state.start[place]
        queued = step < jnp.minimum(state.queued, len(state.stream))
        return stream, start, queued & legal.alive(stream, start)
