"""Segments: files of columns that grow at their end, and are mapped into memory to be read."""

import contextlib
import os
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from jaxbuffers.episodes import files
from jaxbuffers.episodes.layout import PAGE, Layout
from jaxbuffers.errors import DamagedError, StoreError

OPEN = 4096  # segments that stay mapped; Linux maps 65,530 files at most
_NAME = re.compile(r"(\d{8,})\.safetensors")


class Segment(NamedTuple):
    """What the catalog says of a segment.

    Attributes:
      rows: how many it has room for.
      used: how many were ever committed; their bytes never change.
    """

    rows: int
    used: int


Columns = tuple[np.ndarray, ...]


class Segments(ABC):
    """Where the rows are. What has been committed is never written again."""

    @abstractmethod
    def create(self, number: int, rows: int) -> None:
        """Make a segment with room for so many rows; one of that number which was never committed is replaced."""

    @abstractmethod
    def write(self, number: int, rows: int, parts: list[tuple[int, Columns]]) -> None:
        """Write rows from some offsets on, one uint8 ``[T, size]`` a leaf; on the disk when this returns."""

    @abstractmethod
    def columns(self, number: int, rows: int) -> Columns:
        """Return the columns of a segment, uint8 ``[rows, size]`` each; they stay what they are while they are held.

        Raises:
          FileNotFoundError: there is no such segment.
          DamagedError: the file is not as it was made.
        """

    def intact(self, number: int, rows: int) -> bool:
        """Say whether rows that are written to a segment will be read from it."""
        return True

    @abstractmethod
    def remove(self, number: int) -> None:
        """Forget a segment; who holds its columns keeps them."""

    def discard(self, numbers: list[int]) -> None:
        """Forget segments that were not committed: where the disk is full, their room is needed."""
        for number in numbers:
            self.remove(number)

    @abstractmethod
    def where(self, number: int) -> str:
        """Return the name of a segment for an error."""

    def keep(self, known: set[int]) -> None:  # noqa: B027 - in memory the writer itself has removed the others
        """Let go of segments that another process has deleted."""

    def tidy(self, known: set[int]) -> None:  # noqa: B027 - nothing is left over in memory
        """Delete what a crash has left: segments of this store that the catalog does not know."""


class FileSegments(Segments):
    """Segments in a folder.

    Args:
      folder: where they are.
      layout: how rows lie in them.
    """

    def __init__(self, folder: str, layout: Layout) -> None:
        self.folder, self.layout = folder, layout
        self._open: OrderedDict[int, Columns] = OrderedDict()

    @override
    def create(self, number: int, rows: int) -> None:
        self._refuse_others(self.where(number))
        header = self.layout.header(number, rows)
        files.create(self.where(number), header, len(header) + rows * self.layout.row_bytes)

    @override
    def write(self, number: int, rows: int, parts: list[tuple[int, Columns]]) -> None:
        places = self.layout.places(len(self.layout.header(number, rows)), rows)
        files.write(
            self.where(number),
            [
                (place + offset * size, column)
                for offset, columns in parts
                for place, size, column in zip(places, self.layout.sizes, columns, strict=True)
            ],
        )

    @override
    def columns(self, number: int, rows: int) -> Columns:
        found = self._open.get(number)
        if found is None:
            found = self._open[number] = self._mapped(number, rows)
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        return found

    @override
    def intact(self, number: int, rows: int) -> bool:
        header, path = self.layout.header(number, rows), self.where(number)
        return files.size(path) == len(header) + rows * self.layout.row_bytes and (
            files.first_bytes(path, len(header)) == header
        )

    @override
    def remove(self, number: int) -> None:
        self._open.pop(number, None)
        with contextlib.suppress(StoreError):
            if self._owns(self.where(number)) is not False:  # one whose header is damaged goes too
                files.remove(self.where(number))

    @override
    def where(self, number: int) -> str:
        return os.path.join(self.folder, f"{number:08d}.safetensors")

    @override
    def keep(self, known: set[int]) -> None:
        for number in [number for number in self._open if number not in known]:
            del self._open[number]

    @override
    def tidy(self, known: set[int]) -> None:
        for name in os.listdir(self.folder):
            if (found := _NAME.fullmatch(name)) and int(found[1]) not in known:
                path = os.path.join(self.folder, name)
                self._refuse_others(path)
                files.remove(path)

    def _owns(self, path: str) -> bool | None:
        begin = files.first_bytes(path, PAGE)
        return True if begin is None else self.layout.owns(begin)

    def _refuse_others(self, path: str) -> None:
        if not self._owns(path):
            raise StoreError(
                f"{path} is not of this store, by its header, and the catalog does not know it: one of the two may "
                f"have come from another store. Bring back what belongs together, or move that file away."
            )

    def _mapped(self, number: int, rows: int) -> Columns:
        header, path = self.layout.header(number, rows), self.where(number)
        try:
            data = files.map_whole(path, len(header) + rows * self.layout.row_bytes)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error
        if data is None:
            raise DamagedError(f"{path} is damaged: its size is not the one that it was made with.")
        if data[: len(header)] != header:
            raise DamagedError(f"{path} is damaged: its header is not the one that it was made with.")
        return self.layout.columns(data, len(header), rows)
