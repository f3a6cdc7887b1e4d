"""Streams of rows that wait: one queue for each stream, all in preallocated arrays of NumPy."""

from typing import Any

import numpy as np

from jaxbuffers.row import RowSpec


class Streams:
    """Bounded queues of rows, one for each stream, that may hold back their newest row.

    A row is held back while it may still turn out to be the last of its episode. Rows that are not, and those whose
    ``is_last`` is already True, are ready. Without an ``is_last`` in the rows, all are. Nothing here is thread-safe.

    Args:
      spec: what a row is.
      streams: E.
      capacity: C, rows of a stream that can wait.

    Attributes:
      holds: whether newest rows are held back.
    """

    def __init__(self, spec: RowSpec, streams: int, capacity: int) -> None:
        self.spec, self.capacity = spec, capacity
        leaves = zip(spec.shapes, spec.dtypes, strict=True)
        self._leaves = [np.zeros((streams, capacity, *shape), dtype) for shape, dtype in leaves]
        self._versions = np.zeros((streams, capacity), np.int64)
        self._taken = np.zeros(streams, np.int64)  # how many rows have left each stream,
        self._put = np.zeros(streams, np.int64)  # and how many have come
        self.holds = ("is_last",) in spec.paths
        self._last = self._leaves[spec.paths.index(("is_last",))] if self.holds else np.zeros((streams, capacity), bool)
        self._held = np.zeros(streams, bool)
        self._first = spec.paths.index(("is_first",)) if ("is_first",) in spec.paths else None
        self._cut = np.zeros(streams, bool)  # whose next row must be a first one

    @property
    def waiting(self) -> np.ndarray:
        """How many rows of each stream are here, int64 ``[E]``."""
        return self._put - self._taken

    @property
    def ready(self) -> np.ndarray:
        """How many of them can leave, int64 ``[E]``."""
        return self.waiting - self._held

    @property
    def moved(self) -> np.ndarray:
        """How many rows have ever left each stream, and have come: int64 ``[2, E]``."""
        return np.stack([self._taken, self._put])

    def append(self, streams: slice, leaves: list[np.ndarray], written: np.ndarray, version: int) -> None:
        """Copy rows to the ends of some queues, which must have room.

        Args:
          streams: e of them.
          leaves: ``[n, e, ...]``, oldest first.
          written: bool ``[n, e]``, which rows there are.
          version: of the policy that made them.
        """
        row, stream = np.nonzero(written)
        at = stream + streams.start, (self._put[streams] + np.cumsum(written, 0) - 1)[row, stream] % self.capacity
        for kept, leaf in zip(self._leaves, leaves, strict=True):
            kept[at] = leaf[row, stream]
        self._versions[at] = version
        self._put[streams] += written.sum(0)
        self._cut[streams] &= ~written.any(0)
        self._hold()

    def end(self, streams: slice) -> np.ndarray:
        """Make the rows that are held back in some streams the last of their episodes; return where there were any.

        The next row of each must be a first one: see `broken`.
        """
        held = np.nonzero(self._held[streams])[0] + streams.start
        self._last[held, (self._put[held] - 1) % self.capacity] = True
        self._held[held] = False
        self._cut[streams] = True
        return held

    def broken(self, streams: slice, leaves: list[np.ndarray], written: np.ndarray) -> np.ndarray:
        """Say in which streams rows, as for `append`, would follow an `end` and begin no episode: bool ``[e]``."""
        if self._first is None:
            return np.zeros(written.shape[1], bool)
        begins = (leaves[self._first] & written & (np.cumsum(written, 0) == 1)).any(0)  # the first row that there is
        return self._cut[streams] & written.any(0) & ~begins

    def take(self, length: int) -> tuple[Any, np.ndarray, np.ndarray]:
        """Remove up to N rows of each stream, the oldest that are ready.

        Returns:
          The rows ``[N, E, ...]`` with zeros behind those that there are; a mask bool ``[N, E]``; and their versions,
          int64 ``[N, E]``.
        """
        number = np.minimum(self.ready, length)
        mask = np.arange(length)[:, None] < number
        row, stream = np.nonzero(mask)
        at = stream, (self._taken[stream] + row) % self.capacity

        def block(kept: np.ndarray) -> np.ndarray:
            out = np.zeros((*mask.shape, *kept.shape[2:]), kept.dtype)
            out[row, stream] = kept[at]
            return out

        rows, versions = [block(kept) for kept in self._leaves], block(self._versions)
        self._taken += number
        return self.spec.treedef.unflatten(rows), mask, versions

    def give_back(self, mask: np.ndarray) -> None:
        """Undo a `take` whose mask this was, if no rows have come since."""
        self._taken -= mask.sum(0)

    def _hold(self) -> None:
        if self.holds:
            newest = (self._put - 1) % self.capacity
            self._held = (self.waiting > 0) & ~self._last[np.arange(len(newest)), newest]
