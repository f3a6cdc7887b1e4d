"""Mixture: batches from several sources, rings and stores, at exact fractions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, Generic

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Batch, Data, Index
from jaxbuffers.checks import check_key, positive
from jaxbuffers.episodes.random_words import seed_of, words
from jaxbuffers.episodes.shares import fractions_of, shares
from jaxbuffers.errors import ConfigurationError, StructureError
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.replay import HostReplay
from jaxbuffers.host.transfers import transfers
from jaxbuffers.storage.bits import exactly

Source = HostReplay | Callable[[int, jax.Array], Batch | HostBatch]


@partial(jax.tree_util.register_dataclass, data_fields=["batch", "source", "parts"], meta_fields=["counts"])
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
    """

    batch: Batch[Data]
    source: jax.Array
    counts: tuple[int, ...]
    parts: tuple[Batch[Data] | HostBatch[Data] | None, ...]

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
        from a number of windows and a key to a `Batch`, such as
        ``lambda size, key: replay.sample(state, key, size)``. All read with the same view. The fractions add up to 1.
      batch_axis: the axis of ``data`` along which windows lie: 1 for views with ``time_major``.

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

    def __init__(self, *parts: tuple[float | Fraction, Source], batch_axis: int = 0) -> None:
        if not parts or not all(isinstance(part, tuple) and len(part) == 2 for part in parts):
            raise ConfigurationError(f"Mixture() takes pairs (fraction, source), got {parts!r}.")
        self.fractions = fractions_of([fraction for fraction, _ in parts])
        self.sources = tuple(source for _, source in parts)
        self.batch_axis = positive("batch_axis", batch_axis, minimum=0)
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
          StructureError: the sources give batches of different structures.
        """
        check_key(key)
        random = words((*seed_of(key), 0), 1 + len(self.sources))
        counts = shares(self.fractions, positive("batch_size", batch_size), int(random[0]))
        parts = tuple(
            _drawn(source, count, int(bits))
            for source, count, bits in zip(self.sources, counts, random[1:], strict=True)
        )
        some = [(i, part) for i, part in enumerate(parts) if part is not None]
        batches = [part.batch if isinstance(part, HostBatch) else part for _, part in some]
        if len({jax.tree.structure(batch) for batch in batches}) > 1:
            raise StructureError("the sources give batches of different structures: read them all with the same view.")
        numbers = tuple(i for i, _ in some)
        weights = np.array([float(self.fractions[i]) for i in numbers], np.float32)
        sizes = tuple(counts[i] for i in numbers)
        batch, source = _joined(self.batch_axis, numbers, sizes)(batches, weights)
        return MixedBatch(batch, source, tuple(counts), parts)


def _drawn(source: Source, count: int, bits: int) -> Batch | HostBatch | None:
    if not count:
        return None
    if isinstance(source, HostReplay):
        return source.sample(count)
    key = jax.random.wrap_key_data(jnp.array([bits >> 32, bits & 0xFFFFFFFF], np.uint32), impl="threefry2x32")
    return source(count, key)


@lru_cache(maxsize=256)
def _joined(axis: int, numbers: Sequence[int], sizes: Sequence[int]) -> Any:
    def join(batches: list[Batch], weights: jax.Array) -> tuple[Batch, jax.Array]:
        def together(*leaves: jax.Array) -> jax.Array:
            along = min(axis, leaves[0].ndim - 1)
            if [leaf.shape[along] for leaf in leaves] != list(sizes):
                raise StructureError(
                    f"a leaf of shape {list(leaves[0].shape)} does not have its {sizes[0]} windows along axis {along}: "
                    f"give Mixture(..., batch_axis=)."
                )
            return jnp.concatenate(leaves, axis=along)

        return Batch(
            data=exactly(together, *(batch.data for batch in batches)),
            index=exactly(together, *(batch.index for batch in batches)),
            probability=jnp.concatenate([batch.probability * weights[i] for i, batch in enumerate(batches)]),
            valid=jnp.all(jnp.stack([batch.valid for batch in batches])),
        ), jnp.repeat(jnp.array(numbers, jnp.int32), np.array(sizes), total_repeat_length=sum(sizes))

    return jax.jit(join)
