"""What sources have in common: one or several stores, one view, and how a raw batch becomes a batch."""

from dataclasses import replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Batch, Index
from jaxbuffers.checks import check_key, check_part
from jaxbuffers.episodes.batches import key_of
from jaxbuffers.episodes.laws import Law
from jaxbuffers.episodes.mixture import MixedBatch
from jaxbuffers.episodes.sampling import Where
from jaxbuffers.episodes.window_draw import WindowDraw
from jaxbuffers.episodes.window_reading import read
from jaxbuffers.errors import ConfigurationError, StructureError
from jaxbuffers.host.batch import HostBatch, text_names
from jaxbuffers.host.transfers import transfers
from jaxbuffers.loading.part import Part
from jaxbuffers.loading.raw import RawBatch
from jaxbuffers.views import View


class Source:
    """Windows of one or several stores, as they are now.

    Args:
      stores: an `EpisodeStore`, ``store.select(fields)``, the path of a store, or a sequence of such.
      view: what a window is.
      law: how likely windows are.
      where: which episodes, a mask or a function for each store, or one function for all.
    """

    def __init__(self, stores: Any, view: View, law: Law, where: Any) -> None:
        check_part("view", view, View)
        check_part("law", law, Law)
        every = list(stores) if isinstance(stores, list | tuple) else [stores]
        wheres: list[Where] = list(where) if isinstance(where, list | tuple) else [where] * len(every)
        if not every or len(wheres) != len(every):
            raise ConfigurationError(f"there are {len(every)} stores and {len(wheres)} values of where=.")
        self.view = view
        self.parts = [Part(store, view, law, each) for store, each in zip(every, wheres, strict=True)]
        first = self.parts[0].spec
        for number, part in enumerate(self.parts):
            if part.spec != first:
                raise StructureError(f"store {number} has other rows than store 0:\n  {part.spec}\n  {first}")
        if len(self.parts) > 1 and first.texts:
            raise StructureError(
                "the rows have texts, whose ids mean something else in each store: read one store at a time, or leave "
                "these fields out: store.select([...])."
            )

    @transfers
    def read(self, raw: RawBatch, key: jax.Array | None = None) -> HostBatch | MixedBatch:
        """Read windows with the view, in one compiled call: in the process that learns, not in those that read.

        Args:
          raw: what the source, or a worker with a copy of it, has read.
          key: for what the view leaves to chance; None for that which belongs to the batch.

        Returns:
          `HostBatch`; of several stores a `MixedBatch`, which says from which one each window comes, without ``parts``.
        """
        if key is None:
            key = key_of(*raw.seed[0].tolist())
        check_key(key)
        spec, several = self._spec, len(self.parts) > 1
        # With several stores an id stands for the episode and its store, until the rows elsewhere have been read.
        ids = raw.episode * len(self.parts) + raw.source
        draw = WindowDraw(ids, raw.start, raw.length, raw.probability)
        rows = spec.treedef.unflatten(raw.rows)

        def fetch(ids: np.ndarray, starts: np.ndarray, length: int, pad: bool = False) -> Any:
            return rows if pad else self._elsewhere(ids, starts, length)

        batch: Batch = read(fetch, spec, self.view, draw, key)
        if several:
            batch = replace(batch, index=Index(batch.index.stream // len(self.parts), batch.index.time))
            counts = np.bincount(raw.source, minlength=len(self.parts)).tolist()
            return MixedBatch(batch, jnp.asarray(raw.source), tuple(counts), ())
        return HostBatch(batch, self.parts[0]._here().texts, text_names(batch.data, spec))

    def _elsewhere(self, ids: np.ndarray, starts: np.ndarray, length: int) -> Any:
        """Read rows of the stores that ids stand for."""
        episode, source = np.divmod(ids, len(self.parts))
        some = [np.flatnonzero(source == number) for number in range(len(self.parts))]
        found = [
            part.read(episode[at], starts[at], length) for part, at in zip(self.parts, some, strict=True) if len(at)
        ]
        order = np.argsort(np.concatenate(some))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *found)

    def _raw(self, draws: list[tuple[int, WindowDraw]], seed: tuple[int, int]) -> RawBatch:
        """Read the rows around windows of some of the stores."""
        pieces = [self.parts[number].around(draw) for number, draw in draws]
        leaves = zip(*pieces, strict=True)
        rows = pieces[0] if len(pieces) == 1 else tuple(np.concatenate(each) for each in leaves)
        whole = [np.concatenate([getattr(draw, name) for _, draw in draws]) for name in ("episode", "start", "length")]
        counts = [len(draw.episode) for _, draw in draws]
        return RawBatch(
            rows=rows,
            episode=whole[0],
            start=whole[1],
            length=whole[2],
            probability=np.concatenate([draw.probability for _, draw in draws]),
            source=np.repeat(np.array([number for number, _ in draws], np.int32), counts),
            seed=np.tile(np.array(seed, np.int64), (sum(counts), 1)),
        )

    @cached_property
    def _spec(self) -> Any:
        return self.parts[0].spec

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_spec"}
