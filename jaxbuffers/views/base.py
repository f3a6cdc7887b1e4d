"""What every view is: a way to read the window that a sampler points at."""

import abc
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Data, Draw, Index
from jaxbuffers.numerics.random_bits import FOR_VIEWS, bits64
from jaxbuffers.row import RowSpec
from jaxbuffers.storage.ring import Ring
from jaxbuffers.windows.base import Contiguous, Windows
from jaxbuffers.windows.legal import Legal
from jaxbuffers.windows.queue import Queued

Read = Callable[[Index], Any]
Edit = Callable[[Read, Index], Any]


@dataclass(frozen=True)
class Reader:
    """Reads rows relative to the windows of a draw, never one that is not there.

    Attributes:
      legal: the rows, and which windows are legal.
      draw: where to read.
      key: the key of the sample; use it through `bits`.
      edits: how wrapping views change rows that keep their shapes, in the order of application (see `edited`).
      reshapes: how they change the shapes of leaves, in the order of application, after all `edits`.
    """

    legal: Legal
    draw: Draw
    key: jax.Array
    edits: tuple[Edit, ...] = ()
    reshapes: tuple[Edit, ...] = ()

    def edited(self, edit: Edit, reshapes: bool = False) -> "Reader":
        """Return a reader whose rows are changed on their way: how a view wraps another.

        An inner view's edit comes first: an outer one is given what it makes of the rows.

        Args:
          edit: returns the rows of an index, from a function that reads rows and that index.
          reshapes: whether it changes the shapes of leaves; it then comes after all that do not.
        """
        if reshapes:
            return replace(self, reshapes=(edit, *self.reshapes))
        return replace(self, edits=(edit, *self.edits))

    def index(self, offsets: Sequence[int] | jax.Array) -> Index:
        """Address rows by their distance from each window's first required row.

        Args:
          offsets: ``[K]`` numbers, the same for every window, or an int32 array ``[B, K]``.

        Returns:
          `Index` ``[B, K]``, with time -1 where the row is missing or the draw is not valid.
        """
        steps = jnp.asarray(offsets, jnp.int32)
        steps = jnp.broadcast_to(steps, (len(self.draw.start), steps.shape[-1]))
        time = self.legal.shift(self.draw.start[:, None], steps)
        stream = jnp.broadcast_to(self.draw.stream[:, None], time.shape)
        present = jnp.broadcast_to(self.draw.valid[:, None], time.shape)
        if isinstance(offsets, jax.Array) or not all(0 <= step < self.legal.required for step in offsets):
            # Required rows are there, or the window would not be legal; others may not be, or serve as history only.
            there = self.legal.alive(stream, time)
            present = present & (there if self.legal.history else self.legal.present(stream, time))
        return Index(stream, jnp.where(present, time, -1))

    def before(self, index: Index, steps: int) -> Index:
        """Address the rows 0 to ``steps`` rows before each row of ``index``, oldest first: ``[..., steps + 1]``."""
        back = jnp.arange(-steps, 1, dtype=jnp.int32).reshape((1,) * index.time.ndim + (-1,))
        time = self.legal.shift(jnp.maximum(index.time, 0)[..., None], back)
        stream = jnp.broadcast_to(index.stream[..., None], time.shape)
        present = (index.time >= 0)[..., None] & self.legal.present(stream, time)
        return Index(stream, jnp.where(present, time, -1))

    def rows(self, index: Index) -> Any:
        """Read rows, zero where the index has no row."""
        read = self.stored
        for edit in (*self.edits, *self.reshapes):
            read = functools.partial(edit, read)
        return read(index)

    def stored(self, index: Index) -> Any:
        """Read rows as they were stored, whatever the edits."""
        return self.legal.read(index.stream, index.time, index.time >= 0)

    def bits(self, count: int) -> tuple[jax.Array, jax.Array]:
        """Return 64 random bits for each of ``count`` choices a view has to make: two uint32 arrays."""
        return bits64(self.key, count, FOR_VIEWS)


class View(abc.ABC, Generic[Data]):
    """A frozen configuration with pure methods that says which windows are legal and reads them.

    Subclasses are frozen dataclasses: equal configurations must be equal values.
    """

    @property
    @abc.abstractmethod
    def required(self) -> int:
        """How many consecutive rows must be present for a window to be legal."""

    @property
    def within(self) -> bool:
        """Whether the required rows must all belong to one episode."""
        return False

    @property
    def period(self) -> int:
        """Windows begin at every ``period``-th row."""
        return 1

    @property
    def history(self) -> int:
        """How many rows before its first one must not be overwritten while a window is legal.

        Of the T rows kept of a stream the newest ``T - history`` are read; older ones only by `Reader.before`.
        """
        return 0

    @property
    def span(self) -> int:
        """Rows that a window reads at most, optional ones and `history` included."""
        return self.required

    @property
    def before(self) -> int:
        """How many rows before its first required one a window may read; at most, by default, all optional ones."""
        return self.span - self.required

    @property
    def after(self) -> int:
        """How many rows a window may read from its first required one on; by default ``span``."""
        return self.span

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the row that this view needs."""
        return ("is_first",) if self.within else ()

    def check(self, spec: RowSpec) -> None:
        """Raise an error that names what the row lacks for this view."""
        who = f"{type(self).__name__}()"
        spec.require(self.fields, who)
        if "is_first" in self.fields:
            for flag in ("is_first", "is_last", "is_terminal"):
                spec.require_scalar(flag, np.bool_, who)

    def windows(self, ring: Ring) -> Windows:
        """Return the bookkeeping of this view's legal windows."""
        if (self.within and self.required > 1) or self.period > 1:
            return Queued(ring, self.required, self.within, self.period, self.history)
        return Contiguous(ring, self.required, self.history)

    def anchor(self, legal: Legal, index: Index) -> Index | None:
        """Address the first required row of each window of a batch's index: ``[B]``.

        By default the first one along all axes but the leading one. Views return None for an index
        of a shape that `read` does not return.
        """
        if not index.time.ndim:
            return None
        first = (slice(None), *(0,) * (index.time.ndim - 1))
        return Index(index.stream[first], index.time[first])

    def elsewhere(self, reader: Reader) -> tuple[Index, ...]:
        """Address the rows of the window's episode that `read` looks at beyond `before` and `after`, one ``[B]`` each.

        They must follow from the draw, the key and the bounds of the episode: no row can be read here. An
        `EpisodeStore` fetches them, and the rows around the window, before `read` is called.
        """
        return ()

    @abc.abstractmethod
    def read(self, reader: Reader) -> tuple[Data, Index]:
        """Return the data of the drawn windows and the `Index` of the rows behind it."""


def same_episode(first: jax.Array, last: jax.Array) -> jax.Array:
    """Say which of K consecutive rows, flags ``[..., K]``, are of the episode of the last of them: bool."""
    boundary = first[..., 1:] | last[..., :-1]
    after = jnp.flip(jnp.cumsum(jnp.flip(boundary, axis=-1), axis=-1, dtype=jnp.int32), axis=-1)
    return jnp.pad(after == 0, [(0, 0)] * (first.ndim - 1) + [(0, 1)], constant_values=True)


def episode_of(rows_first: jax.Array, rows_last: jax.Array) -> jax.Array:
    """Number the episodes within windows of flags ``[B, K]``: int32 ``[B, K]``, rising by one at each start."""
    starts = rows_first[:, 1:] | rows_last[:, :-1]
    return jnp.pad(jnp.cumsum(starts, axis=1, dtype=jnp.int32), [(0, 0), (1, 0)])
