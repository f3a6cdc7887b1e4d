"""Mixture: batches from several sources, rings and stores, at exact fractions."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Batch, Data, Index
from jaxbuffers.batch_axes import Axes, axes_of
from jaxbuffers.checks import check_key, positive
from jaxbuffers.episodes import joining
from jaxbuffers.episodes.random_words import seed_of, words
from jaxbuffers.episodes.sampled import StoreSource
from jaxbuffers.episodes.shares import fractions_of, shares
from jaxbuffers.errors import ConfigurationError, MissingFieldError, StructureError
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.replay import HostReplay
from jaxbuffers.host.transfers import transfers
from jaxbuffers.texts import TextTable

Source = HostReplay | Callable[[int, jax.Array], Batch | HostBatch]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["batch", "source", "parts"],
    meta_fields=["counts", "table", "texts"],
)
@dataclass(frozen=True)
class MixedBatch(Generic[Data]):
    """A batch from several sources, those of each source together, in the order of the sources.

    Jitted functions take it as it is, or its ``batch``.

    Attributes:
      batch: as if from one: ``probability`` is that of the mixture, the fraction of the source times the probability
        of the window there; ``index`` is the source's own, and means nothing to the others.
      source: int32 ``[B]``, the number of the source of each window.
      counts: how many windows came from each source.
      parts: what each source gave, None for no window: write back with ``parts[i].index``.
      table: where the texts of all sources are; None without texts.
      texts: the names of the fields of ``data`` that hold texts, joined by dots.
    """

    batch: Batch[Data]
    source: jax.Array
    counts: tuple[int, ...]
    parts: tuple[Batch[Data] | HostBatch[Data] | None, ...]
    table: TextTable | None = None
    texts: tuple[str, ...] = ()

    def text(self, name: str) -> Any:
        """Return the texts of a field of ``data``; see `HostBatch.text`."""
        if self.table is None:
            raise MissingFieldError(f"the batch has no text field {name!r}: its sources have no texts.")
        return HostBatch(self.batch, self.table, self.texts).text(name)

    @property
    def data(self) -> Data:
        """What the view reads."""
        return self.batch.data

    @property
    def index(self) -> Index:
        """Where the rows live in the source of each."""
        return self.batch.index

    @property
    def probability(self) -> jax.Array:
        """float32 ``[B]``."""
        return self.batch.probability

    @property
    def mask(self) -> jax.Array:
        """True where ``data`` holds a row."""
        return self.batch.mask

    @property
    def valid(self) -> jax.Array:
        """Whether all of its parts are valid."""
        return self.batch.valid


class Mixture:
    """Draws batches from several sources, such as half from a ring and half from demonstrations.

    Each source gives B times its fraction, exactly. Where that is no whole number it is rounded up or down at random,
    so that its mean is exact. Ball et al. (2023) mix online and offline data so (RLPD), and Tirumala et al. (2024) old
    and new (Replay Across Experiments).

    Args:
      *parts: pairs of a fraction and a source: a `HostReplay`; ``store.source(view, ...)``; or a function
        from a number of windows and a key to a `Batch` or a `HostBatch`, such as
        ``lambda size, key: replay.sample(state, key, size)``. All read with the same view, from rows of the same
        dtypes and shapes, and texts are in one table. The fractions add up to 1.
      batch_axis: the axis along which windows lie, which a `HostReplay` and a store say themselves: needed where all
        sources are functions, and the shapes of their batches do not say it. 1 for views with ``time_major``.

    Raises:
      ConfigurationError: the fractions do not add up to 1, or a source is none.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> from jaxbuffers.episodes.mixture import Mixture
    >>> replay = jb.Replay(capacity=4, num_envs=None)
    >>> old, new = (replay.add(replay.init(jnp.float32(0)), jnp.full(4, x)) for x in (1.0, 2.0))
    >>> mixture = Mixture((0.75, lambda size, key: replay.sample(old, key, size)),
    ...                   (0.25, lambda size, key: replay.sample(new, key, size)))
    >>> batch = mixture.sample(8, jax.random.key(0))
    >>> batch.data.tolist(), batch.source.tolist(), float(batch.probability[0])
    ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0], [0, 0, 0, 0, 0, 0, 1, 1], 0.1875)
    """

    def __init__(self, *parts: tuple[float | Fraction, Source], batch_axis: int | None = None) -> None:
        if not parts or not all(isinstance(part, tuple) and len(part) == 2 for part in parts):
            raise ConfigurationError(f"Mixture() takes pairs (fraction, source), got {parts!r}.")
        self.fractions = fractions_of([fraction for fraction, _ in parts])
        self.sources = tuple(source for _, source in parts)
        self.batch_axis = None if batch_axis is None else positive("batch_axis", batch_axis, minimum=0)
        self._axis = self.batch_axis  # or what the shapes have said
        for source in self.sources:
            if not isinstance(source, HostReplay) and not callable(source):
                raise ConfigurationError(
                    f"a source is a HostReplay, store.source(view) or a function of a size and a key, got {source!r}."
                )

    @transfers
    def sample(self, batch_size: int, key: jax.Array) -> MixedBatch:
        """Draw a batch.

        Args:
          batch_size: B.
          key: a PRNG key; it is consumed. A `HostReplay` draws with its own.

        Raises:
          EmptyReplayError: a source has nothing to draw.
          StructureError: the sources give batches of different structures, or the axis of windows cannot be told.
          DtypeError, ShapeError: a leaf is of another dtype or shape in another source; nothing is cast.
          ConfigurationError: texts are in different tables.
        """
        check_key(key)
        random = words((*seed_of(key), 0), 1 + len(self.sources))
        counts = shares(self.fractions, positive("batch_size", batch_size), int(random[0]))
        parts = tuple(
            _drawn(source, count, int(bits))
            for source, count, bits in zip(self.sources, counts, random[1:], strict=True)
        )
        some = {i: _plain(i, part) for i, part in enumerate(parts) if part is not None}
        table, texts = joining.texts_of(some)
        batches = {i: part.batch if isinstance(part, HostBatch) else part for i, part in some.items()}
        if len({jax.tree.structure(batch) for batch in batches.values()}) > 1:
            raise joining.different()
        sizes = [counts[i] for i in some]
        axes = self._axes(batches, sizes)
        joining.checked(batches, sizes, axes)
        weights = np.array([float(self.fractions[i]) for i in some], np.float32)
        batch, source = joining.joined(batches, sizes, axes, weights)
        return MixedBatch(batch, source, tuple(counts), parts, table, texts)

    def _axes(self, batches: joining.Parts, sizes: list[int]) -> tuple[int, ...]:
        """Return the axis of windows for each leaf: as the views say, or ``batch_axis``, or the shapes."""
        known = {i: said for i in batches if (said := _said(self.sources[i])) is not None}
        if (told := joining.told(known, batches, self.batch_axis)) is not None:
            return told
        batch = next(iter(batches.values()))
        if self._axis is None and len(batches) == 1:  # there is nothing to join
            time = batch.index.time.shape
            return joining.along(time.index(sizes[0]) if sizes[0] in time else 0, batch)
        if self._axis is None:
            self._axis = joining.seen(batches, sizes)
        return joining.along(self._axis, batch)


def _said(source: Source) -> Axes | None:
    """Return the axes that the view of a source says, if its view is known."""
    if isinstance(source, HostReplay):
        return axes_of(source.replay.view, source._state.spec)
    if isinstance(source, StoreSource) and source.store.spec is not None:
        return axes_of(source.view, source.store.spec)
    return None


def _plain(number: int, part: Any) -> Batch | HostBatch:
    """Return what a source gave, that of another mixture as if from one source; refuse what is no batch."""
    if isinstance(part, MixedBatch):
        return part.batch if part.table is None else HostBatch(part.batch, part.table, part.texts)
    if not isinstance(part, Batch | HostBatch):
        raise StructureError(f"source {number} must return a jb.Batch or jb.HostBatch, got a {type(part).__name__}.")
    return part


def _drawn(source: Source, count: int, bits: int) -> Batch | HostBatch | None:
    if not count:
        return None
    if isinstance(source, HostReplay):
        return source.sample(count)
    key = jax.random.wrap_key_data(jnp.array([bits >> 32, bits & 0xFFFFFFFF], np.uint32), impl="threefry2x32")
    return source(count, key)
