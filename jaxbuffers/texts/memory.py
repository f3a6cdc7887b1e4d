"""Texts in memory."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from jaxbuffers.errors import WrongProcessError
from jaxbuffers.texts.backup import fill
from jaxbuffers.texts.coding import digest, squeeze, unsqueeze
from jaxbuffers.texts.database import create
from jaxbuffers.texts.forks import Owned
from jaxbuffers.texts.ids import Supply


class MemoryStore(Owned):
    """Bytes by id, ids by digest. A store never gives an id away twice; the table decides what is freed.

    In a forked process it can be read. Wherever Ctrl-C comes between two steps, what can be found is there: so the
    order of steps counts, and sizes are counted anew whenever texts are dropped.
    """

    read_only = False

    def __init__(self, compress: bool) -> None:
        super().__init__()
        self.compress = compress
        self.nbytes = 0
        self._data: dict[int, bytes] = {}
        self._found: dict[bytes, tuple[int, ...]] = {}  # more than one id only where digests collide
        self.supply = Supply()
        self._end = 0  # past the last id that another table gave

    def __len__(self) -> int:
        return len(self._data)

    def ids(self) -> Iterable[int]:
        """Every id that is present."""
        return list(self._data)

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Every text with its id."""
        for i in self.ids():
            yield i, self.read([i])[i]

    def find(self, keys: Mapping[bytes, bytes]) -> dict[bytes, int]:
        """Return the ids of those texts that are here, by their digests and then their bytes."""
        found = {}
        for data, key in keys.items():
            for i in self._found.get(key, ()):
                if unsqueeze(self._data[i], self.compress) == data:
                    found[data] = i
        return found

    def pack(self, data: bytes) -> bytes:
        """Return a text as it will be kept."""
        return squeeze(data, self.compress)

    def add(self, key: bytes, kept: bytes) -> int:
        """Keep a packed text that is not here, under one of the ids that are reserved."""
        i = self.supply.take()
        self._data[i] = kept
        self._found[key] = (*self._found.get(key, ()), i)
        self.nbytes += len(kept)
        return i

    def reserve(self, count: int) -> None:
        """Make sure of so many ids, before any of them is used."""
        if count:
            self._refuse_copies()
        self.supply.reserve(count)

    @property
    def waiting(self) -> dict[int, bytes]:
        """The texts, oldest first: what is in memory waits for ever."""
        return self._data

    @property
    def end(self) -> int:
        """A number above every id that was given."""
        return max(self.supply.end, self._end)

    def check_writable(self) -> None:
        """Raise `WrongProcessError` in another process."""
        self._refuse_copies()

    def adopt(self, texts: Mapping[int, tuple[bytes, bytes]], end: int, supply: Supply) -> None:
        """Keep packed texts with their digests under ids that another table gave, all below ``end``."""
        self._refuse_copies()
        self._end, self.supply = max(self.end, end), supply  # it may have had some of these ids to give
        for i, (key, kept) in texts.items():
            self._data[i] = kept
            self._found[key] = (*self._found.get(key, ()), i)
        self.nbytes = sum(map(len, self._data.values()))

    def read(self, wanted: Iterable[int]) -> dict[int, bytes]:
        """Return the bytes of those ids that are here."""
        found = {i: self._data.get(i) for i in wanted}
        return {i: unsqueeze(data, self.compress) for i, data in found.items() if data is not None}

    def drop(self, gone: Iterable[int]) -> None:
        """Forget texts."""
        self._refuse_copies()
        for i in gone:
            kept = self._data[i]
            key = digest(unsqueeze(kept, self.compress))
            if rest := tuple(other for other in self._found.get(key, ()) if other != i):
                self._found[key] = rest
            else:
                self._found.pop(key, None)
            del self._data[i]
        self.nbytes = sum(map(len, self._data.values()))

    def commit(self) -> None:
        """Nothing is more durable than memory here."""

    def verify(self) -> None:
        """Memory is what it was."""

    def purge(self) -> None:
        """Nothing is kept of what was dropped."""

    def close(self) -> None:
        """Nothing is open."""

    def copy(self, database: sqlite3.Connection) -> None:
        """Write everything into an empty file, with the same ids."""
        create(database, self.compress)
        rows = ((i, digest(unsqueeze(kept, self.compress)), kept) for i, kept in self._data.items())
        fill(database, rows, self.end)

    def suspend(self) -> None:
        """Nothing is open."""

    def abandon(self) -> None:
        """Nothing is open."""

    def _refuse_copies(self) -> None:
        if self.elsewhere:
            raise WrongProcessError(
                f"the table was made in process {self.process}, and this is process {os.getpid()}, forked from it: its "
                f"texts can be read here, but not added to or freed. Make a jb.TextTable here."
            )
