"""What can be drawn from a store, or from some fields of one."""

import abc
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic

import jax

from jaxbuffers.batch import Data
from jaxbuffers.checks import check_part, positive
from jaxbuffers.episodes.batches import Place, StoreBatches
from jaxbuffers.episodes.laws import Law, ShuffledEpochs, UniformWindows
from jaxbuffers.episodes.refill import Refilled, refill
from jaxbuffers.episodes.sampling import Sampling, Where
from jaxbuffers.episodes.table import Table
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.replay import Replay
from jaxbuffers.row import RowSpec
from jaxbuffers.texts import TextTable
from jaxbuffers.views import View


class Sampled(abc.ABC):
    """Whole episodes from which windows are drawn, and read by the views of the library.

    The legal windows are those of a replay whose streams hold one whole episode each: every offset is reached, the
    last row included, and no window crosses from one episode to another, with ``episodes="cross"`` neither. Threads
    may draw at the same time.
    """

    texts: TextTable

    @property
    @abc.abstractmethod
    def spec(self) -> RowSpec | None:
        """What a row is; None before the first episode."""

    @abc.abstractmethod
    def table(self) -> Table:
        """Return the columns of the catalog as one snapshot."""

    @abc.abstractmethod
    def read(self, ids: Any, starts: Any, length: int, *, pad: bool = False) -> Any:
        """Return windows of rows, each within its episode."""

    @cached_property
    def _sampling(self) -> Sampling:
        return Sampling(self)

    def sample(
        self, view: View[Data], batch_size: int, key: jax.Array, *, law: Law | None = None, where: Where = None
    ) -> HostBatch[Data]:
        """Draw windows and read them, in one compiled call for each shape of a batch.

        Args:
          view: what a window is.
          batch_size: B.
          key: a PRNG key; it is consumed. The same key draws the same windows of the same episodes on every machine.
          law: how likely windows are; by default all equally, `UniformWindows`.
          where: which episodes: a function from the columns to bool ``[n]``, called once for every state of the store;
            or such an array, which is good until episodes come or go.

        Returns:
          `HostBatch`. In its index, streams are ids of episodes and times count the rows of the episode from 0;
          ``probability`` is that with which one draw points at the window. Without texts, its ``batch`` is all of it.

        Raises:
          EmptyReplayError: there is no legal window, or none that has any weight.
          MissingFieldError: the rows lack a field that the view needs.
          DtypeError, ShapeError: ``where`` is no bool array of NumPy with an entry for each episode.
          StaleIndexError: ``where`` is an array that was given when other episodes were in the store.

        >>> import jax, numpy as np, jaxbuffers as jb
        >>> store = jb.EpisodeStore()
        >>> ids = [store.add_episode({"x": np.arange(n, dtype=np.int32)}, dict(good=n > 3)) for n in (3, 4)]
        >>> batch = store.sample(jb.Sequences(3), 2, jax.random.key(0), where=lambda columns: ~columns["good"])
        >>> batch.data["x"].tolist(), batch.index.stream[:, 0].tolist(), batch.probability.tolist()
        ([[0, 1, 2], [0, 1, 2]], [0, 0], [1.0, 1.0])
        """
        return self._sampling.sample(view, batch_size, key, law, where)

    def count(self, view: View, where: Where = None) -> int:
        """How many legal windows there are."""
        return self._sampling.count(view, where)

    def batches(
        self,
        view: View[Data],
        batch_size: int,
        steps: int | None = None,
        *,
        seed: int = 0,
        law: Law | None = None,
        where: Where = None,
        prefetch: int = 2,
        place: Place | None = None,
    ) -> StoreBatches[Data]:
        """Iterate over batches, read ahead by a thread and put on the device while it computes.

        The same seed gives the same batches in the same order, whatever ``prefetch`` is, as long as the store does not
        change meanwhile; what is added is seen some batches later.

        Args:
          view: what a window is.
          batch_size: B.
          steps: how many batches; None for no end.
          seed: of the keys, not negative.
          law: how likely windows are; `ShuffledEpochs` goes on from batch to batch.
          where: which episodes: a function, see `sample`, to which new episodes belong too; or an array, which chooses
            among the episodes of now, whatever comes and goes later.
          prefetch: how many batches are read ahead; 0 for none, and no thread.
          place: where to go on, instead of ``seed`` and ``law``: the ``place`` of another iteration.

        >>> import jax, numpy as np, jaxbuffers as jb
        >>> from jaxbuffers.episodes import ShuffledEpochs
        >>> store = jb.EpisodeStore()
        >>> ids = [store.add_episode({"x": np.full(2, i, np.int32)}) for i in range(3)]
        >>> with store.batches(jb.Items(), 3, steps=2, law=ShuffledEpochs(seed=1)) as batches:
        ...     seen = [x for batch in batches for x in batch.data["x"].tolist()]
        >>> sorted(seen)
        [0, 0, 1, 1, 2, 2]
        """
        if place is None:
            place = Place(positive("seed", seed, minimum=0), 0, UniformWindows() if law is None else law)
        elif seed or law is not None:
            raise ConfigurationError("batches() takes place=, or seed= and law=, not both.")
        check_part("law", place.law, Law)
        size, where = positive("batch_size", batch_size), self._sampling.lasting(where)

        def make(key: jax.Array, law: Law) -> tuple[HostBatch[Data], Law]:
            if isinstance(law, ShuffledEpochs):
                law = law.among(max(self.count(view, where), 1))
            batch = self.sample(view, size, key, law=law, where=where)
            return batch, law.after(law.windows, size) if isinstance(law, ShuffledEpochs) else law

        return StoreBatches(make, place, steps, prefetch)

    def source(self, view: View[Data], *, law: Law | None = None, where: Where = None) -> "StoreSource[Data]":
        """Return a source for an `episodes.Mixture`: a function that draws so many windows with a key.

        Args:
          view: what a window is.
          law: how likely windows are.
          where: which episodes; see `batches`.
        """
        return StoreSource(self, view, law, self._sampling.lasting(where))

    def refill(self, replay: Replay, where: Where = None) -> Refilled:
        """Fill an empty replay with the newest episodes, whole, whatever its capacity and number of streams.

        From the newest to the oldest, each episode goes into the stream with the most room, until one does not fit.
        In every stream they stand in the order in which they were stored. So a run goes on with a ring of another size
        than it had before.

        Args:
          replay: the configuration.
          where: which episodes; see `sample`.

        Returns:
          `Refilled`: the new state, how many episodes and rows went in, and how many episodes did not.

        Raises:
          ConfigurationError: the newest episode has more rows than a stream keeps.

        >>> import numpy as np, jaxbuffers as jb
        >>> store = jb.EpisodeStore()
        >>> ids = [store.add_episode({"x": np.full(n, n, np.int32)}) for n in (3, 4, 2)]
        >>> refilled = store.refill(jb.Replay(capacity=6, num_envs=None))
        >>> refilled.episodes, refilled.rows, refilled.left_out
        (2, 6, 1)
        """
        return refill(self, replay, self._sampling.lasting(where))


@dataclass(frozen=True, eq=False)
class StoreSource(Generic[Data]):
    """What `EpisodeStore.source` returns: a function that draws from a store, and says how it reads.

    Attributes:
      store: where it draws.
      view: what a window is.
      law: how likely windows are.
      where: which episodes.
    """

    store: Sampled
    view: View[Data]
    law: Law | None
    where: Where

    def __call__(self, size: int, key: jax.Array) -> HostBatch[Data]:
        """Draw so many windows."""
        return self.store.sample(self.view, size, key, law=self.law, where=self.where)
