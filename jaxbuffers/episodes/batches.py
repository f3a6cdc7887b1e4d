"""Batch after batch of a store, made ahead, and where to go on from."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Data
from jaxbuffers.checks import positive
from jaxbuffers.episodes.laws import Law
from jaxbuffers.episodes.prefetch import Prefetched
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.batches import remember

Make = Callable[[jax.Array, Law], tuple[HostBatch[Data], Law]]


@dataclass(frozen=True)
class Place:
    """Where an iteration over batches is: all there is to save, and what the next one begins at.

    Attributes:
      seed: of the keys.
      step: how many batches have been handed out.
      law: the law of the next one.
    """

    seed: int
    step: int
    law: Law


class _Made(NamedTuple):
    batch: HostBatch
    place: Place  # after it


class StoreBatches(Iterator[HostBatch[Data]], Generic[Data]):
    """What `EpisodeStore.batches` returns: an iterator that says where it is.

    Batch number i of a seed has a key of its own, so the same episodes give the same batches, made ahead or not, and
    resumed anywhere. An error comes where its batch would have been, and again: the iteration ends with it. Several
    threads may share the iterator. Use it in a ``with`` statement or `close` it; forgotten, it closes itself.

    Args:
      make: from a key and a law to a batch, and the law after it.
      place: where to begin.
      steps: how many batches; None for no end.
      prefetch: how many are made ahead by a thread; 0 for none.
    """

    def __init__(self, make: Make[Data], place: Place, steps: int | None, prefetch: int) -> None:
        self._lock = threading.Lock()
        self._place = place
        steps = None if steps is None else positive("steps", steps, minimum=0)
        ahead = positive("prefetch", prefetch, minimum=0)
        maker = _Maker(make, place)  # not this object: the thread would keep it from being forgotten
        self._ahead = Prefetched(maker, steps, ahead) if ahead else None
        self._now = None if ahead else _InTurn(maker, steps)
        remember(self)

    @property
    def place(self) -> Place:
        """Where the iteration is, after the batch handed out last: begin there to go on."""
        return self._place

    def __next__(self) -> HostBatch[Data]:
        with self._lock:
            made = next(self._ahead or self._now)  # type: ignore[arg-type]
            self._place = made.place
            return made.batch

    def waiting(self) -> list[HostBatch]:
        """Return the batches that were made and that nobody has seen yet; a sweep keeps their texts."""
        return [] if self._ahead is None else [made.batch for made in self._ahead.waiting()]

    def close(self) -> None:
        """Make no more batches, and wait until the thread has ended."""
        if self._ahead is not None:
            self._ahead.close()
        if self._now is not None:
            self._now.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class _InTurn(Iterator[_Made]):
    """Makes each batch when it is asked for; an error ends it, and comes again whenever one is asked for."""

    def __init__(self, make: Callable[[int], _Made], steps: int | None) -> None:
        self._make, self._steps, self._step = make, steps, 0
        self._error: Exception | None = None

    def __next__(self) -> _Made:
        if self._error is not None:
            raise self._error
        if self._step == self._steps:
            raise StopIteration
        try:
            made = self._make(self._step)
        except Exception as error:  # not Ctrl-C, after which it may go on
            self._error = error
            raise
        self._step += 1
        return made

    def close(self) -> None:
        self._steps, self._error = self._step, None


class _Maker:
    """Makes batch after batch, each with the law that the one before it left."""

    def __init__(self, make: Make, place: Place) -> None:
        self._make, self._place = make, place

    def __call__(self, _: int) -> _Made:
        place = self._place
        batch, law = self._make(key_of(place.seed, place.step), place.law)
        self._place = Place(place.seed, place.step + 1, law)
        return _Made(batch, self._place)


def key_of(seed: int, step: int) -> jax.Array:
    """Return the key of one of many steps."""
    words = np.random.SeedSequence([seed, step]).generate_state(2)
    return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")
