"""Loader: batches that worker processes read, made ahead and put on the device, from any step on."""

import atexit
import os
import weakref
from collections.abc import Iterator
from typing import Any, Self

from jaxbuffers.checks import positive
from jaxbuffers.datasets.imported import needed
from jaxbuffers.episodes.mixture import MixedBatch
from jaxbuffers.episodes.prefetch import Prefetched
from jaxbuffers.errors import ConfigurationError, WorkerError
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.loading.raw import RawBatch
from jaxbuffers.loading.steps import StoreSteps

Loaded = HostBatch | MixedBatch
_open: "weakref.WeakSet[Loader]" = weakref.WeakSet()


@atexit.register
def _close() -> None:
    """Close what a program has left open, as long as Grain can still end its workers."""
    for loader in list(_open):
        loader._close_here()


def iter_dataset(source: StoreSteps, *, workers: int = 0, ahead: int = 2) -> Any:
    """Return a ``grain.IterDataset`` of the batches of `StoreSteps`, for pipelines of your own; needs ``grain``.

    Its iterators have Grain's ``get_state`` and ``set_state``, which count steps for each worker: resume with as many.
    Close them, or their workers live on. A worker that has died is a ``RuntimeError`` of Grain's.

    Args:
      source: the batches.
      workers: how many processes read; 0 for none.
      ahead: how many batches each worker reads ahead.
    """
    if not isinstance(source, StoreSteps):
        raise ConfigurationError(f"a source of batches is jb.loading.StoreSteps, got {source!r}.")
    return _grain(source, positive("workers", workers, minimum=0), 0, positive("ahead", ahead)).map(source.read)


class Loader(Iterator[Loaded]):
    """The batches of `StoreSteps`, in their order, whatever the number of workers.

    With workers it is a pipeline of Grain (extra ``grain``), which spawns them: the program's main module must be
    importable, with ``if __name__ == "__main__":`` around what it does. `step` is all there is to save: another loader
    with ``start=step`` goes on with the very next batch. Use it in a ``with`` statement or `close` it: workers end with
    it. Without workers it goes on after Ctrl-C with the batch that was interrupted; on a terminal Ctrl-C ends the
    workers, too, and then another loader goes on.

    Args:
      source: the batches.
      workers: how many processes read; 0 for none.
      start: the step to begin with.
      ahead: how many batches each worker reads ahead.
      prefetch: how many batches are put on the device while it computes; 0 for none, and no thread.

    Raises:
      WorkerError: a worker has died; raised by ``next``, in the place of its batch, as are errors of the reading, and
        again whenever a batch is asked for.

    >>> import numpy as np, jaxbuffers as jb
    >>> store = jb.EpisodeStore()
    >>> i = store.add_episode({"x": np.arange(9, dtype=np.int32)})
    >>> steps = jb.loading.StoreSteps(store, jb.Items(), batch_size=4, steps=5)
    >>> with jb.loading.Loader(steps) as loader:
    ...     first = next(loader).data["x"].tolist()
    ...     second, saved = next(loader).data["x"].tolist(), loader.step
    >>> with jb.loading.Loader(steps, start=1) as loader:
    ...     next(loader).data["x"].tolist() == second, saved
    (True, 2)
    """

    def __init__(
        self, source: StoreSteps, *, workers: int = 0, start: int = 0, ahead: int = 2, prefetch: int = 2
    ) -> None:
        if not isinstance(source, StoreSteps):
            raise ConfigurationError(f"a Loader takes jb.loading.StoreSteps, got {source!r}.")
        self.source, self.workers = source, positive("workers", workers, minimum=0)
        self._step, ahead = positive("start", start, minimum=0), positive("ahead", ahead)
        size = positive("prefetch", prefetch, minimum=0)
        self._making = _Making(source, self.workers, self._step, ahead)  # the thread does not keep this object alive
        self._prefetched = Prefetched(self._making, max(source.steps - self._step, 0), size) if size else None
        self._process = os.getpid()
        _open.add(self)

    @property
    def step(self) -> int:
        """The number of the next batch."""
        return self._step

    def __next__(self) -> Loaded:
        batch = self._making(0) if self._prefetched is None else next(self._prefetched)
        self._step += 1
        return batch

    def close(self) -> None:
        """End the workers, and read nothing more."""
        if self._prefetched is not None:
            self._prefetched.close()
        self._making.close()

    def _close_here(self) -> None:
        if self._process == os.getpid():  # else it is a fork's copy, and the workers are another's
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Making:
    """Makes batch after batch. What was read stays here until its batch is made, so that Ctrl-C loses none.

    An error of the reading ends it, and comes again whenever a batch is asked for.
    """

    def __init__(self, source: StoreSteps, workers: int, start: int, ahead: int) -> None:
        self._source = source
        self._raw: Iterator[RawBatch] = _InTurn(source, start)
        if workers:
            self._raw = iter(_grain(source, workers, start, ahead) if start < len(source) else ())
        self._taken: RawBatch | None = None
        self._error: Exception | None = None

    def __call__(self, _: int) -> Loaded:
        if self._taken is None:
            self._taken = self._take()
        batch = self._source.read(self._taken)
        self._taken = None
        return batch

    def close(self) -> None:
        if hasattr(self._raw, "close"):
            self._raw.close()
        self._raw, self._taken, self._error = iter(()), None, None

    def _take(self) -> RawBatch:
        if self._error is not None:
            raise self._error
        try:
            return next(self._raw)
        except StopIteration:
            raise
        except Exception as error:
            self._error = error
            if isinstance(error, RuntimeError) and "terminated unexpectedly" in str(error):
                self._error = WorkerError(
                    f"a worker process has died while reading: {error} If it never began, the main module may lack "
                    f'`if __name__ == "__main__":` around what it does, stores included: each worker imports it.'
                )
                raise self._error from error
            raise


class _InTurn(Iterator[RawBatch]):
    """The batches of a source from some step on, each read when it is asked for."""

    def __init__(self, source: StoreSteps, start: int) -> None:
        self._source, self._step = source, start

    def __next__(self) -> RawBatch:
        if self._step >= len(self._source):
            raise StopIteration
        raw = self._source[self._step]
        self._step += 1
        return raw


class _From:
    """The batches of a source from some step on."""

    def __init__(self, source: StoreSteps, start: int) -> None:
        self._source, self._start = source, start

    def __len__(self) -> int:
        return max(len(self._source) - self._start, 0)

    def __getitem__(self, step: int) -> RawBatch:
        return self._source[self._start + step]


def _grain(source: StoreSteps, workers: int, start: int, ahead: int) -> Any:
    """Return a dataset of raw batches."""
    grain, flags = needed("grain", "grain"), needed("absl.flags", "grain").FLAGS
    if not flags.is_parsed():
        flags.mark_as_parsed()  # Grain's own flags keep their defaults in programs that parse none
    whole = grain.MapDataset.source(_From(source, start))
    read = whole.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ahead)
    return read.mp_prefetch(options) if workers else read
