"""Batches drawn ahead: an iterator that several threads may share, and whose texts a sweep spares."""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.errors import EmptyReplayError
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.keys import Key
from jaxbuffers.host.signals import section
from jaxbuffers.host.transfers import transfers
from jaxbuffers.replay import Replay
from jaxbuffers.texts import TextTable

_lock = threading.RLock()
_live: tuple[weakref.ref[Any], ...] = ()  # replaced as a whole: reading it needs no lock


class Drawn(NamedTuple):
    """A batch, and what is needed to find out whether there was one to draw, and to take the draw back if not.

    Attributes:
      batch: what was drawn.
      lead: its leading axes, ``(B,)``, or ``(U, B)`` for several batches.
      drawable: the sizes of batches that the same state is known to have; asking the device takes time.
      before: the key before the draw.
      after: and after it.
    """

    batch: HostBatch
    lead: tuple[int, ...]
    drawable: set[int]
    before: Key
    after: Key

    @transfers
    def valid(self) -> bool:
        """Say whether there was a batch to draw; waits for the device. Needs no lock."""
        if self.lead[-1] not in self.drawable:
            if not np.all(self.batch.valid):
                return False
            self.drawable.add(self.lead[-1])
        return True


class Batches(Iterator[HostBatch]):
    """What `HostReplay.batches` returns.

    Args:
      section: what keeps other threads out; one for each buffer.
      lead: the leading axes of what is drawn, ``(B,)``, or ``(U, B)`` for several batches in each step.
      draw: draws that, inside a section.
      undo: takes draws back and returns the error to raise, inside a section.
      steps: how many draws; None for no end.
      prefetch: how many are drawn ahead.
    """

    def __init__(
        self,
        section: Callable[[], Any],
        lead: tuple[int, ...],
        draw: Callable[[], Drawn],
        undo: Callable[[list[Drawn]], Exception],
        steps: int | None,
        prefetch: int,
    ) -> None:
        self._section, self.lead, self._draw, self._undo = section, lead, draw, undo
        self._left = float("inf") if steps is None else steps
        self._prefetch = prefetch
        self._ahead: deque[Drawn] = deque()
        remember(self)

    def __next__(self) -> HostBatch:
        with self._section():
            while len(self._ahead) < min(self._prefetch + 1, self._left):
                self._ahead.append(self._draw())
            if not self._ahead or self._left < 1:
                raise StopIteration
            first = self._ahead.popleft()
            self._left -= 1
        if first.valid():
            return first.batch
        with self._section():
            drawn = [first, *self._ahead]
            self._ahead.clear()
            self._left += 1
            raise self._undo(drawn)

    def waiting(self) -> list[HostBatch]:
        """Return the batches that were drawn and that nobody has seen yet."""
        return [drawn.batch for drawn in self.ahead]

    @property
    def ahead(self) -> tuple[Drawn, ...]:
        """What was drawn and nobody has seen yet."""
        return tuple(self._ahead)

    def go_on(self, ahead: Iterable[Drawn]) -> None:
        """Give these batches first, in place of those that were drawn ahead; inside a section."""
        self._ahead = deque(ahead)

    def belongs_to(self, section: Callable[[], Any]) -> bool:
        """Say whether it draws from the buffer with this section, and may do so again."""
        return self._section is section and (bool(self._ahead) or self._left >= 1)


def living(section: Callable[[], Any]) -> list[Batches]:
    """Return the iterators of a buffer that somebody still has and that are not at their end, oldest first."""
    there = [ref() for ref in _live]  # those of stores too
    return [batches for batches in there if isinstance(batches, Batches) and batches.belongs_to(section)]


def waiting_ids(table: TextTable) -> list[np.ndarray]:
    """Return the ids of the texts of a table in all batches that were drawn ahead, of any buffer."""
    drawn = [batch for ref in _live if (batches := ref()) is not None for batch in batches.waiting()]
    return [batch.text_ids() for batch in drawn if batch.table is table]


def nothing_to_draw(replay: Replay, size: int, windows: int, rows: int) -> EmptyReplayError:
    """Return the error of a draw that was not valid."""
    if windows:
        return EmptyReplayError(
            f"{replay.sampler} has no batch of {size} among {windows} legal windows for {replay.view} in {rows} rows; "
            f"add more first, or ask for fewer."
        )
    return EmptyReplayError(
        f"no legal window for {replay.view} among {rows} rows; add more first. If there are enough, look at their "
        f"is_first and is_last, and at jb.stats(buffer.state)."
    )


def remember(batches: Any) -> None:
    """Have sweeps spare the texts of the batches that are ``waiting()`` to be seen."""
    global _live
    with section(_lock):
        _live = (*(ref for ref in _live if ref() is not None), weakref.ref(batches))
