"""Sequences: windows of consecutive rows."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from typing_extensions import override

from jaxbuffers.batch import Index
from jaxbuffers.checks import flag, one_of, positive, settle
from jaxbuffers.row import field, with_field
from jaxbuffers.storage.bits import exactly, zero_where_not
from jaxbuffers.views.base import Reader, View, episode_of
from jaxbuffers.windows.legal import Legal


@dataclass(frozen=True)
class Sequences(View[Any]):
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
        the action that led to it (PlaNet, Dreamer, DreamerV2), zero at the start of an episode; the
        first row of a stream always starts one. Of the T rows kept of a stream the view then reads the newest
        T - 1: the oldest serves for its action only, so no row is read whose previous action is overwritten.
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
        flag("time_major", self.time_major)

    @property
    @override
    def required(self) -> int:
        """The whole window, or its first row if the rest may be padding."""
        return 1 if self.episodes == "pad" else self.length

    @property
    @override
    def within(self) -> bool:
        """Whether a window stays inside one episode."""
        return self.episodes != "cross"

    @property
    @override
    def history(self) -> int:
        """The row before the first one, if its action is read."""
        return int(self.actions == "previous")

    @property
    @override
    def span(self) -> int:
        """Burn-in, window and history."""
        return self.burn_in + self.length + self.history

    @property
    @override
    def before(self) -> int:
        """Burn-in and history."""
        return self.burn_in + self.history

    @property
    @override
    def after(self) -> int:
        """The window."""
        return self.length

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        """The flag of episode starts, where it matters, and actions if they are shifted."""
        previous = self.actions == "previous"
        return ("is_first",) * (self.within or previous) + ("action",) * previous

    @override
    def anchor(self, legal: Legal, index: Index) -> Index | None:
        """Find each window's first required row from any row that the index has."""
        axis, columns = (0 if self.time_major else 1), self.burn_in + self.length
        if index.time.ndim != 2 or index.time.shape[axis] != columns:
            return None
        stream, time = (jnp.moveaxis(x, axis, 1) for x in (index.stream, index.time))
        column = jnp.argmax(time >= 0, axis=1)  # burn-in rows may be masked
        known = jnp.take_along_axis(time, column[:, None], axis=1)[:, 0]
        first = legal.shift(jnp.maximum(known, 0), self.burn_in - column.astype(jnp.int32))
        return Index(stream[:, 0], jnp.where(known >= 0, first, -1))

    @override
    def read(self, reader: Reader) -> tuple[Any, Index]:
        """Read the rows, mask those of another episode, shift the actions."""
        shifted = self.actions == "previous"
        index = reader.index(range(-self.burn_in, self.length))
        rows = reader.rows(_with_previous(reader, index) if shifted else index)
        kept = index.time >= 0
        if self.fields:
            first = field(rows, "is_first")
            episode = episode_of(first, field(rows, "is_last", jnp.zeros_like(first)))
        if self.within:
            kept = kept & (episode[:, shifted:] == episode[:, self.burn_in + shifted, None])
        if shifted:
            rows = _previous_actions(rows, episode)
        if self.within or shifted:
            index = Index(index.stream, jnp.where(kept, index.time, -1))
            rows = zero_where_not(kept, rows)
        if self.time_major:
            rows, index = exactly(lambda x: jnp.swapaxes(x, 0, 1), (rows, index))
        return rows, index


def _with_previous(reader: Reader, index: Index) -> Index:
    """Address K consecutive rows and those before each of them, history included: ``[B, K + 1]``."""
    before = reader.before(index, 1)
    # One row from two sides: before the one row, and after the other. Where one of them is missing, its time is -1.
    time = jnp.maximum(
        jnp.pad(before.time[..., 0], [(0, 0), (0, 1)], constant_values=-1),
        jnp.pad(index.time, [(0, 0), (1, 0)], constant_values=-1),
    )
    return Index(jnp.pad(index.stream, [(0, 0), (1, 0)], mode="edge"), time)


def _previous_actions(rows: Any, episode: jax.Array) -> Any:
    """Drop the first of K + 1 rows, kept only for its action; a row that opens an episode has no previous one."""
    follows = (episode[:, 1:] == episode[:, :-1]) & ~field(rows, "is_first")[:, 1:]
    action = exactly(lambda x: x[:, :-1], field(rows, "action"))
    rows = exactly(lambda x: x[:, 1:], rows)
    return with_field(rows, "action", zero_where_not(follows, action))
