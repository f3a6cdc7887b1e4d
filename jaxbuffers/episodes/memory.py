"""Segments and a catalog in the host's memory, for a store without a path."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from typing_extensions import override

from jaxbuffers.episodes.catalog import Change, State
from jaxbuffers.episodes.layout import Layout
from jaxbuffers.episodes.segments import Columns, Segment, Segments
from jaxbuffers.texts.memory import MemoryStore


class MemorySegments(Segments):
    """Segments that are arrays."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._held: dict[int, Columns] = {}

    @override
    def create(self, number: int, rows: int) -> None:
        self._held[number] = tuple(np.empty((rows, size), np.uint8) for size in self.layout.sizes)

    @override
    def write(self, number: int, rows: int, parts: list[tuple[int, Columns]]) -> None:
        for offset, columns in parts:
            for held, column in zip(self._held[number], columns, strict=True):
                held[offset : offset + len(column)] = column

    @override
    def columns(self, number: int, rows: int) -> Columns:
        if number not in self._held:
            raise FileNotFoundError(self.where(number))
        return self._held[number]

    @override
    def remove(self, number: int) -> None:
        self._held.pop(number, None)

    @override
    def where(self, number: int) -> str:
        return f"segment {number} in memory"


class MemoryCatalog:
    """A catalog that nothing is written to: what a store without a path knows ends with it."""

    path = "the store"
    identity = ""
    read_only = False
    in_doubt = False

    def __init__(self) -> None:
        self.texts = MemoryStore(False)
        self.snapshot = nullcontext()

    def abort(self) -> None:
        """Nothing is open."""

    def note(self, name: str) -> Any:
        """Nothing is noted."""

    def state(self) -> State:
        """Nothing has happened."""
        return State()

    def episodes(self, types: dict[str, str], where: str, *values: Any) -> Iterator[dict[str, Any]]:
        """Return no episodes: all are known already."""
        return iter(())

    def first(self) -> int:
        """Return no id, for the same reason."""
        return 0

    def ids(self) -> list[int]:
        """Return no ids, for the same reason."""
        return []

    def segments(self) -> dict[int, Segment]:
        """Return no segments, for the same reason."""
        return {}

    def sums(self, episode: int, columns: list[Any], block: int) -> bytes:
        """Return no checksums: memory is believed."""
        return b""

    def commit(self, change: Change, done: Callable[[], Any]) -> None:
        """Do ``done``."""
        done()
