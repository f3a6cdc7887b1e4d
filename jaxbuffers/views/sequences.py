"""Sequences: windows of consecutive rows."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxbuffers.batch import Index
from jaxbuffers.bits import zero_where_not
from jaxbuffers.errors import ConfigurationError, one_of, positive, settle
from jaxbuffers.ring import Ring
from jaxbuffers.row import field, with_field
from jaxbuffers.views.base import Reader, View, episode_of


@dataclass(frozen=True)
class Sequences(View):
    """Read windows of ``length`` consecutive rows of one stream.

    ``data`` is a row with leaves ``[B, burn_in + length, ...]``, or ``[burn_in + length, B, ...]``
    if ``time_major``; ``index`` and ``mask`` have the same two leading axes.

    Args:
      length: rows in a window, besides the burn-in.
      episodes: ``"cross"``, windows run across episode ends and the flags say where (DreamerV3,
        Hafner et al. 2023); ``"within"``, all rows belong to one episode; ``"pad"``, a window
        starts at any row and ends with its episode or the newest row, the rest is masked.
      burn_in: rows before the window that warm up a recurrent state (R2D2, Kapturowski et al.
        2019); masked where they are overwritten or, unless ``"cross"``, of another episode.
      period: windows begin at every ``period``-th row, counted from the first row of the episode
        (of the stream, for ``"cross"``), so the newest rows stay reachable at any capacity.
      actions: ``"taken"``, the action taken at the row's observation, as stored; ``"previous"``,
        the action that led to it (PlaNet, Dreamer, DreamerV2), zero at the start of an episode. A
        row whose previous action is unknown, overwritten or never recorded, is masked; only the
        oldest row of a stream can be.
      time_major: put the time axis first.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=1, view=jb.Sequences(3))
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(3.0))
    >>> replay.sample(state, jax.random.key(0)).data
    Array([[0., 1., 2.]], dtype=float32)
    """

    length: int
    episodes: Literal["cross", "within", "pad"] = "cross"
    burn_in: int = 0
    period: int = 1
    actions: Literal["taken", "previous"] = "taken"
    time_major: bool = False

    def __post_init__(self) -> None:
        settle(self, length=positive("length", self.length), period=positive("period", self.period))
        settle(self, burn_in=positive("burn_in", self.burn_in, minimum=0))
        one_of("episodes", self.episodes, ("cross", "within", "pad"))
        one_of("actions", self.actions, ("taken", "previous"))
        if not isinstance(self.time_major, bool):
            raise ConfigurationError(f"time_major must be a bool, got {self.time_major!r}.")

    @property
    def required(self) -> int:
        """The whole window, or its first row if the rest may be padding."""
        return 1 if self.episodes == "pad" else self.length

    @property
    def within(self) -> bool:
        """Whether a window stays inside one episode."""
        return self.episodes != "cross"

    @property
    def span(self) -> int:
        """Burn-in and window, and one row more for a previous action."""
        return self.burn_in + self.length + (self.actions == "previous")

    @property
    def fields(self) -> tuple[str, ...]:
        """The flag of episode starts, where it matters, and actions if they are shifted."""
        previous = self.actions == "previous"
        return ("is_first",) * (self.within or previous) + ("action",) * previous

    def anchor(self, ring: Ring, index: Index) -> Index | None:
        """Find each window's first required row from any row that the index has."""
        axis, columns = (0 if self.time_major else 1), self.burn_in + self.length
        if index.time.ndim != 2 or index.time.shape[axis] != columns:
            return None
        stream, time = (jnp.moveaxis(x, axis, 1) for x in (index.stream, index.time))
        column = jnp.argmax(time >= 0, axis=1)  # the first row may be masked for its unknown action
        known = jnp.take_along_axis(time, column[:, None], axis=1)[:, 0]
        first = ring.shift(jnp.maximum(known, 0), self.burn_in - column.astype(jnp.int32))
        return Index(stream[:, 0], jnp.where(known >= 0, first, -1))

    def read(self, reader: Reader) -> tuple[Any, Index]:
        """Read the rows, mask those of another episode, shift the actions."""
        shifted = self.actions == "previous"
        start = -self.burn_in - shifted
        index = reader.index(range(start, self.length))
        rows = reader.rows(index)
        kept = index.time >= 0
        if self.fields:
            first = field(rows, "is_first")
            episode = episode_of(first, field(rows, "is_last", jnp.zeros_like(first)))
        if self.within:
            kept = kept & (episode == episode[:, -start, None])
        if shifted:
            rows, kept, index, known = _previous_actions(rows, kept, index, episode)
            kept = kept & known
        if self.within or shifted:
            index = Index(index.stream, jnp.where(kept, index.time, -1))
            rows = zero_where_not(kept, rows)
        if self.time_major:
            rows, index = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (rows, index))
        return rows, index


def _previous_actions(
    rows: Any, kept: jax.Array, index: Index, episode: jax.Array
) -> tuple[Any, jax.Array, Index, jax.Array]:
    """Drop the first of K rows, kept only for its action; say of which rows the previous action is known."""
    opens = (episode[:, 1:] != episode[:, :-1]) | field(rows, "is_first")[:, 1:]
    follows = (index.time[:, :-1] >= 0) & ~opens
    action = jax.tree.map(lambda x: x[:, :-1], field(rows, "action"))
    rows, index = jax.tree.map(lambda x: x[:, 1:], (rows, index))
    rows = with_field(rows, "action", zero_where_not(follows, action))
    return rows, kept[:, 1:], index, follows | opens
