"""Legal windows of any kind, and beside them where each episode begins and ends."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from typing_extensions import override

from jaxbuffers.storage.ring import Ring, RingState
from jaxbuffers.windows.base import Added, Rule, Turnover, Windows
from jaxbuffers.windows.queue import Queued, QueueState


@struct.dataclass
class BoundedState:
    """The bookkeeping of the windows, and a queue of the first rows of episodes.

    Attributes:
      windows: the legal windows, as their rule keeps them.
      episodes: the times at which episodes began.
    """

    windows: Any
    episodes: QueueState

    def stats(self) -> dict[str, jax.Array]:
        """What the bookkeeping of the windows reports."""
        return {} if self.windows is None else self.windows.stats()


@dataclass(frozen=True)
class Bounded(Windows):
    """The legal windows of ``inner``, for views that must know the bounds of episodes."""

    inner: Windows

    @override
    def with_history(self, history: int) -> Windows:
        return Bounded(self.inner.with_history(history))

    @property
    @override
    def ring(self) -> Ring:  # type: ignore[override]
        return self.inner.ring

    @property
    @override
    def required(self) -> int:  # type: ignore[override]
        return self.inner.required

    @property
    @override
    def history(self) -> int:  # type: ignore[override]
        return self.inner.history

    @property
    @override
    def rule(self) -> Rule:
        """The rule of the windows, and that bounds are kept."""
        return (("bounds of episodes", "queued"), *self.inner.rule)

    @override
    def init(self) -> BoundedState:
        return BoundedState(self.inner.init(), self._episodes.init())

    @override
    def add(self, state: Any, ring: RingState, added: Added) -> tuple[BoundedState, Turnover]:
        windows, turnover = self.inner.add(state.windows, ring, added)
        episodes, _ = self._episodes.add(state.episodes, ring, added)
        return BoundedState(windows, episodes), turnover

    @override
    def count(self, state: Any, ring: RingState) -> jax.Array:
        return self.inner.count(state.windows, ring)

    @override
    def start(self, state: Any, ring: RingState, stream: jax.Array, rank: jax.Array) -> jax.Array:
        return self.inner.start(state.windows, ring, stream, rank)

    @override
    def older(self, state: Any, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
        return self.inner.older(state.windows, ring, stream, start)

    @override
    def count_in(self, length: np.ndarray, ended: np.ndarray) -> np.ndarray:
        return self.inner.count_in(length, ended)

    @override
    def start_in(self, rank: np.ndarray) -> np.ndarray:
        return self.inner.start_in(rank)

    @override
    def bounds(
        self, state: Any, ring: RingState, stream: jax.Array, time: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Find the first and the last row, of those present, of the episode of each row.

        Args:
          state: from `add`.
          ring: the rows.
          stream: int32 ``[K]``.
          time: int32 ``[K]``, of rows that are present.

        Returns:
          The times of the two rows, int32 ``[K]``, and whether the episode began with the first: bool
          ``[K]``, False where earlier rows of it have been overwritten.
        """
        episodes, shift = self._episodes, self.ring.shift
        begun = episodes.older(state.episodes, ring, stream, shift(time, 1))
        count = episodes.count(state.episodes, ring)[stream]
        opens = episodes.start(state.episodes, ring, stream, begun - 1)
        following = episodes.start(state.episodes, ring, stream, begun)
        first = jnp.where(begun > 0, opens, shift(ring.time[stream], -ring.size[stream]))
        last = shift(jnp.where(begun < count, following, ring.time[stream]), -1)
        return first, last, begun > 0

    @property
    def _episodes(self) -> Queued:
        # Windows of one row, the first of each episode.
        return Queued(self.ring, required=1, within=True, period=None)
