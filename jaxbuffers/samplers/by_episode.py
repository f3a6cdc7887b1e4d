"""ByEpisode: first an episode, then a window that begins in it."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Draw
from jaxbuffers.checks import number, settle
from jaxbuffers.numerics import sum_tree
from jaxbuffers.numerics.materialize import after, materialize
from jaxbuffers.numerics.random_bits import bits64, fraction_of
from jaxbuffers.row import RowSpec
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.samplers.bookkeeping import only_where
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal


@struct.dataclass
class EpisodesState:
    """The episodes in which legal windows begin, as a queue for each stream; counters are modulo the ring's cycle.

    Attributes:
      tree: sum tree of their weights, the k-th of a stream at ``(k mod T) * E + stream``.
      begin: int32 ``[T, E]``, the number of the first window of each episode.
      made: int32 ``[E]``, how many episodes were ever queued.
      gone: int32 ``[E]``, how many of them have no legal window any more.
      completed: int32 ``[E]``, how many legal windows were ever completed.
      opened: int32 ``[T, E]``, for each row the number of its episode, of all that the stream has had.
      now: int32 ``[E]``, the same for the newest row.
      last: int32 ``[E]``, the same for the newest episode queued.
      ended: bool ``[E]``, whether the newest row was the last of its episode.
    """

    tree: sum_tree.Levels
    begin: jax.Array
    made: jax.Array
    gone: jax.Array
    completed: jax.Array
    opened: jax.Array
    now: jax.Array
    last: jax.Array
    ended: jax.Array


@dataclass(frozen=True)
class ByEpisode(Sampler[EpisodesState]):
    """Draw an episode, then one of the legal windows that begin in it, uniformly.

    An episode has the weight ``n**power``, where n is the number of legal windows that begin in it
    and are still there: with ``power=0`` episodes are equally likely, however long; with 1 they
    are weighted by length, which makes every window equally likely, as `Uniform` does in less time. Draws
    are independent, O(log(rows)) each.

    Args:
      power: from 0 to 4.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=100, num_envs=None, batch_size=1000, sampler=jb.ByEpisode())
    >>> rows = {"is_first": (jnp.arange(100) == 0) | (jnp.arange(100) == 98), "t": jnp.arange(100)}
    >>> state = replay.init({"is_first": jnp.bool_(False), "t": jnp.int32(0)})
    >>> batch = jax.jit(replay.sample)(jax.jit(replay.add)(state, rows), jax.random.key(0))
    >>> 450 < int((batch.data["t"] >= 98).sum()) < 550  # the short episode comes as often as the long one
    True
    """

    power: float = 0.0

    def __post_init__(self) -> None:
        settle(self, power=number("power", self.power, 0, 4))

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        """The flag of episode starts."""
        return ("is_first",)

    @override
    def check(self, spec: RowSpec) -> None:
        """Raise unless the flags are bools."""
        super().check(spec)
        for flag in ("is_first", "is_last"):
            spec.require_scalar(flag, np.bool_, "ByEpisode()")

    @override
    def init(self, windows: Windows) -> EpisodesState:
        length, streams = windows.length, windows.num_streams
        return EpisodesState(
            tree=sum_tree.init(length * streams),
            begin=jnp.zeros((length, streams), jnp.int32),
            made=jnp.zeros(streams, jnp.int32),
            gone=jnp.zeros(streams, jnp.int32),
            completed=jnp.zeros(streams, jnp.int32),
            opened=jnp.zeros((length, streams), jnp.int32),
            now=jnp.zeros(streams, jnp.int32),
            last=jnp.zeros(streams, jnp.int32),
            ended=jnp.zeros(streams, jnp.bool_),
        )

    @override
    def add(self, state: EpisodesState, legal: Legal, added: Added, turnover: Turnover) -> EpisodesState:
        """Queue the episodes in which completed windows begin; let go of those that have lost their last one."""
        number = len(added.time)
        streams = jnp.arange(legal.num_streams, dtype=jnp.uint32)
        old = state

        def step(state: EpisodesState, row: tuple[Added, Turnover]) -> tuple[EpisodesState, None]:
            new, change = row
            # Number the new row's episode, and keep the number beside the row.
            now = legal.shift(state.now, (new.mask & (new.first | state.ended)).astype(jnp.int32))
            slot = after(jnp.where(new.mask, legal.slot(new.time), jnp.uint32(legal.length)), state.last)
            opened = state.opened.at[slot, streams].set(now, mode="drop", unique_indices=True)
            # The window that it completes begins in an episode; if that is not the last one queued, it joins the queue.
            episode = materialize(opened.at[legal.slot(change.start), streams].get(mode="promise_in_bounds"))
            opens = change.completed & ((episode != state.last) | (state.made == state.gone))
            place = jnp.where(opens, legal.slot(state.made), jnp.uint32(legal.length))
            return replace(
                state,
                begin=state.begin.at[place, streams].set(state.completed, mode="drop", unique_indices=True),
                made=legal.shift(state.made, opens.astype(jnp.int32)),
                completed=legal.shift(state.completed, change.completed.astype(jnp.int32)),
                opened=opened,
                now=now,
                last=materialize(jnp.where(opens, episode, state.last)),
                ended=jnp.where(new.mask, new.last, state.ended),
            ), None

        # 1. Queue the episodes in which completed windows begin, row by row.
        state, _ = jax.lax.scan(step, state, (added, turnover), unroll=min(number, 8))
        # 2. At most N windows have expired, so at most N episodes, the front ones, have lost their last.
        # Those that the new ones have pushed out of the queue itself are among them.
        ahead = jnp.arange(number + 1, dtype=jnp.int32)[:, None]
        queued = jnp.minimum(legal.shift(state.made, -old.gone), legal.length)
        oldest = legal.shift(state.made, -queued)
        front = legal.shift(oldest[None], ahead)
        exists = ahead < queued[None]
        empty = exists & (self._beginning_in(state, legal, front)[1] == 0)
        state = replace(state, gone=legal.shift(oldest, jnp.sum(empty, axis=0, dtype=jnp.int32)))
        # 3. Weigh anew. Weights have changed at the front, where windows expired, and from the newest one of before on.
        held = legal.shift(old.made, -old.gone)
        back = legal.shift(old.gone[None], jnp.maximum(held - 1, 0)[None] + ahead)
        reached = legal.shift(back, -old.gone[None]) < legal.shift(state.made, -old.gone)[None]
        episode, real = jnp.concatenate([front, back]), jnp.concatenate([exists, reached])
        alive = real & (legal.shift(episode, -old.gone[None]) >= legal.shift(state.gone, -old.gone)[None])
        count = jnp.where(alive, self._beginning_in(state, legal, episode)[1], 0)
        weight = jnp.where(count > 0, count.astype(jnp.float32) ** np.float32(self.power), 0)
        leaf = only_where(real, legal.slot(episode) * jnp.uint32(legal.num_streams) + streams[None])
        tree = sum_tree.refresh(sum_tree.write(state.tree, leaf, weight.reshape(-1)), leaf)
        return replace(state, tree=tree, made=after(state.made, tree[-1], materialize(state.gone)))

    @override
    def draw(self, state: EpisodesState, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        high, low = bits64(key, 2 * batch_size)
        leaf, _ = sum_tree.draw(state.tree, high[:batch_size], low[:batch_size], stratified=False)
        stream = (leaf % jnp.uint32(legal.num_streams)).astype(jnp.int32)
        newest = legal.shift(state.made[stream], -1)
        back = legal.slot(newest).astype(jnp.int32) - (leaf // jnp.uint32(legal.num_streams)).astype(jnp.int32)
        episode = legal.shift(newest, -jnp.where(back < 0, back + legal.length, back))
        first, count = self._beginning_in(state, legal, episode, stream)
        total = sum_tree.total(state.tree)
        valid = jnp.broadcast_to(total > 0, (batch_size,)) & (count > 0)
        rank = first + fraction_of(jnp.maximum(count, 0), high[batch_size:], low[batch_size:])
        start = legal.start(stream, jnp.where(valid, rank, 0))
        return Draw.of(stream, start, self._share(total, count), valid)

    @override
    def probability(self, state: EpisodesState, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return the share of its episode, divided by the windows there."""
        rank = legal.older(stream, start)
        # The last episode whose first window is not younger than this one, by bisection.
        low, high = jnp.zeros_like(rank), legal.shift(state.made, -state.gone)[stream]
        for _ in range(legal.length.bit_length()):
            middle = (low + high) // 2
            first, _ = self._beginning_in(state, legal, legal.shift(state.gone[stream], middle), stream)
            older = (middle < high) & (first <= rank)
            low, high = jnp.where(older, middle + 1, low), jnp.where(older, high, middle)
        episode = legal.shift(state.gone[stream], jnp.maximum(low - 1, 0))
        _, count = self._beginning_in(state, legal, episode, stream)
        known = legal.alive(stream, start) & (count > 0)
        return jnp.where(known, self._share(sum_tree.total(state.tree), count), 0)

    def _share(self, total: jax.Array, count: jax.Array) -> jax.Array:
        count = jnp.maximum(count, 1).astype(jnp.float32)
        return count ** np.float32(self.power - 1) / jnp.where(total > 0, total, 1)

    def _beginning_in(
        self, state: EpisodesState, legal: Legal, episode: jax.Array, stream: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Return the rank of the first legal window of each queued episode and their number, 0 if all are gone."""
        if stream is None:
            stream = jnp.broadcast_to(jnp.arange(legal.num_streams, dtype=jnp.int32), episode.shape)
        oldest = legal.shift(state.completed, -legal.count())[stream]
        following = legal.shift(episode, 1)
        newest = following == state.made[stream]
        begin, end = (
            state.begin.at[legal.slot(number), stream.astype(jnp.uint32)].get(mode="promise_in_bounds")
            for number in (episode, following)
        )
        first = jnp.maximum(_signed(legal.shift(begin, -oldest), legal.cycle), 0)
        last = _signed(legal.shift(jnp.where(newest, state.completed[stream], end), -oldest), legal.cycle)
        # The front episode may have begun any number of windows ago: the oldest window is its first one left.
        first = jnp.where(episode == state.gone[stream], 0, first)
        return first, jnp.maximum(last - first, 0)


def _signed(steps: jax.Array, cycle: int) -> jax.Array:
    """Read a difference modulo the cycle as the number nearest to zero."""
    return jnp.where(steps >= cycle // 2, steps - cycle, steps)
