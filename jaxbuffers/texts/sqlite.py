"""Texts in a file: SQLite with a write-ahead log, and a bounded cache in front."""

import os
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxbuffers.errors import WrongProcessError
from jaxbuffers.texts.backup import copy_texts, fill
from jaxbuffers.texts.cache import Cache
from jaxbuffers.texts.coding import checked, digest, squeeze, unsqueeze
from jaxbuffers.texts.database import TEXTS, Format
from jaxbuffers.texts.file import TextFile
from jaxbuffers.texts.forks import Owned
from jaxbuffers.texts.ids import Supply, claim

PENDING = 2**24  # bytes that wait for a commit; when there are more, the next new text has them written
MANY = 500  # ids in one query
USUAL = 4096  # bytes that fit into a row of every SQLite
OVERHEAD = 64  # bytes of a row of SQLite beside the text, and some to spare


class SqliteStore(Owned):
    """Like `MemoryStore`, in a file. New texts wait in memory for `commit`; dropped ones in the file for `purge`."""

    def __init__(
        self,
        path: str | os.PathLike,
        compress: bool | None,
        cache_bytes: int,
        read_only: bool,
        kind: Format = TEXTS,
    ) -> None:
        super().__init__()
        self._file: TextFile | None = None
        with self.lock:
            self._file = TextFile(path, compress, read_only, kind)
            weakref.finalize(self, self._file.close).atexit = False  # also where nobody closes the table
            claim(self._file.meta["reserved"])
        self.compress = bool(self._file.meta["compress"])
        self._reserved = self._file.meta["reserved"]  # the file says that lower ids are given
        self.supply = Supply()
        self._cache = Cache(cache_bytes)
        self._pending: dict[int, bytes] = {}
        self._pending_ids: dict[bytes, tuple[int, ...]] = {}
        self._pending_bytes = 0
        self._freed: dict[int, int] = {}  # how long each is
        self._freed_bytes = 0

    @property
    def file(self) -> TextFile:
        """The open file.

        Raises:
          WrongProcessError: another process has opened it.
        """
        if self._file is None or self.elsewhere:
            raise WrongProcessError(
                f"the table was opened in process {self.process}, and this is process {os.getpid()}, forked from it: "
                f"open the file here, jb.TextTable(path, read_only=True), or for writing once the other has closed it."
            )
        return self._file

    def __len__(self) -> int:
        return self.file.query("SELECT COUNT(*) FROM texts")[0][0] - len(self._freed) + len(self._pending)

    @property
    def nbytes(self) -> int:
        """The bytes of all texts, as they are kept."""
        stored = self.file.query("SELECT value FROM meta WHERE name = 'bytes'")[0][0]
        return stored - self._freed_bytes + self._pending_bytes

    def ids(self) -> Iterable[int]:
        """Every id that is present."""
        return ({i for (i,) in self.file.query("SELECT id FROM texts")} - self._freed.keys()) | self._pending.keys()

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Every text with its id."""
        wanted = list(self.ids())
        for start in range(0, len(wanted), MANY):
            yield from self.read(wanted[start : start + MANY]).items()

    def find(self, keys: Mapping[bytes, bytes]) -> dict[bytes, int]:
        """Return the ids of those texts that are here, by their digests and then their bytes."""
        found = {}
        for data, key in keys.items():
            for i in self._pending_ids.get(key, ()):
                if i in self._pending and unsqueeze(self._pending[i], self.compress) == data:
                    found[data] = i
        asked = [key for data, key in keys.items() if data not in found]
        stored = [i for (i,) in self._among("SELECT id FROM texts WHERE digest IN", asked)]
        known = self.read(i for i in stored if i not in self._freed)
        return {data: i for i, data in known.items() if data in keys} | found

    def pack(self, data: bytes) -> bytes:
        """Return a text as it will be kept."""
        kept = squeeze(data, self.compress)
        if len(kept) <= USUAL:
            return kept
        most = self.file.database.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) - OVERHEAD
        if len(kept) > most:
            raise self.file.kind.error(
                f"{self.file.path} cannot hold a text of {len(kept)} bytes; SQLite takes up to {most}."
            )
        return kept

    def reserve(self, count: int) -> None:
        """Make sure of so many ids, and that no later process gives them, even if this one is killed.

        Writes what waits, where that is much: if something fails, it does so before any text is added.
        """
        if not count:
            return
        self._refuse_readers()
        if self._pending_bytes > PENDING:
            self.commit()
        self.supply.reserve(count)
        if (end := self.supply.end) > self._reserved:
            self._reserve(end)

    def _reserve(self, end: int) -> None:
        update = "UPDATE meta SET value = ? WHERE name = 'reserved'"
        self.file.write(lambda: self.file.database.execute(update, (end,)), lambda: setattr(self, "_reserved", end))

    def add(self, key: bytes, kept: bytes) -> int:
        """Keep a packed text that is not here, under one of the ids that are reserved."""
        i = self.supply.take()
        self._pending[i] = kept
        self._pending_ids[key] = (*self._pending_ids.get(key, ()), i)
        self._pending_bytes += len(kept)
        return i

    @property
    def waiting(self) -> dict[int, bytes]:
        """The texts that wait for a commit, oldest first."""
        return self._pending

    @property
    def end(self) -> int:
        """A number above every id that was given."""
        return max(self.supply.end, self._reserved)

    @property
    def read_only(self) -> bool:
        """Whether no text can be stored."""
        return self.file.read_only

    def check_writable(self) -> None:
        """Raise where nothing can be written, but for a disk that is full."""
        self._refuse_readers()
        self.file.verify()

    def adopt(self, texts: Mapping[int, tuple[bytes, bytes]], end: int, supply: Supply) -> None:
        """Keep packed texts with their digests under ids that another table gave, all below ``end``."""
        self._refuse_readers()
        if end > self._reserved:
            self._reserve(end)
        self.supply = supply  # it may have had some of these ids to give
        for i, (key, kept) in texts.items():
            self._freed_bytes -= self._freed.pop(i, 0)  # the file has it still, if it was not committed
            self._pending[i] = kept
            self._pending_ids[key] = (*self._pending_ids.get(key, ()), i)
            self._pending_bytes += len(kept)

    def read(self, wanted: Iterable[int]) -> dict[int, bytes]:
        """Return the bytes of those ids that are here."""
        found, missing = {}, []
        self.file  # noqa: B018 - raises where it belongs to another process
        for i in wanted:
            data = self._cache.get(i)
            if data is None and i in self._pending:
                data = unsqueeze(self._pending[i], self.compress)
            if data is not None:
                found[i] = data
            elif i not in self._freed:
                missing.append(i)
        for i, key, kept in self._among("SELECT id, digest, data FROM texts WHERE id IN", missing):
            found[i] = self._checked(i, key, kept)
            self._cache.put(i, found[i])
        return found

    def drop(self, gone: Iterable[int]) -> None:
        """Forget texts; in the file they stay until `purge`."""
        self._refuse_readers()
        gone = list(gone)
        stored = [i for i in gone if i not in self._pending]
        sizes = dict(self._among("SELECT id, LENGTH(data) FROM texts WHERE id IN", stored))  # all that can fail, first
        for i in stored:
            self._cache.forget(i)
            self._freed[i] = sizes[i]
        for i in set(gone) - set(stored):
            self._cache.forget(i)
            key = digest(unsqueeze(self._pending[i], self.compress))
            if rest := tuple(other for other in self._pending_ids.pop(key, ()) if other != i):
                self._pending_ids[key] = rest
            del self._pending[i]
        # Counted anew: Ctrl-C between two steps may have left another number.
        self._freed_bytes = sum(self._freed.values())
        self._pending_bytes = sum(map(len, self._pending.values()))

    def commit(self, also: Callable[[], Any] | None = None, then: Callable[[], Any] | None = None) -> None:
        """Write what waits, in one transaction that is on the disk when this returns.

        Args:
          also: what else to write in the same transaction.
          then: what to do once the file has it; see `TextFile.write`.
        """
        if self.file.read_only:
            return
        if not self._pending and also is None:
            self.file.verify()
            return

        def work() -> None:
            if self._pending:
                write_texts()
            if also is not None:
                also()

        def write_texts() -> None:
            database, rows = self.file.database, self._rows()
            # Only what an interrupted commit has written is there, and what was dropped and is adopted again.
            first = min(i for i, _, _ in rows)
            there = {i for (i,) in database.execute("SELECT id FROM texts WHERE id >= ?", (first,))}
            new = [row for row in rows if row[0] not in there]
            database.executemany("INSERT INTO texts (id, digest, data) VALUES (?, ?, ?)", new)
            self._count(sum(len(kept) for _, _, kept in new))

        def done() -> None:
            self._pending, self._pending_ids, self._pending_bytes = {}, {}, 0
            if then is not None:
                then()

        self.file.write(work, done)

    def verify(self) -> None:
        """Check that the file is still the one that was opened."""
        self.file.verify()

    def purge(self) -> None:
        """Delete from the file what was dropped."""
        self._refuse_readers()

        def work() -> None:
            database, freed = self.file.database, list(self._freed)
            there = sum(length for (length,) in self._among("SELECT LENGTH(data) FROM texts WHERE id IN", freed))
            database.executemany("DELETE FROM texts WHERE id = ?", [(i,) for i in freed])
            self._count(-there)

        def done() -> None:
            self._freed, self._freed_bytes = {}, 0

        self.file.write(work, done)

    def close(self) -> None:
        """Commit, and let other processes write. In a forked process nothing happens: the file is the other one's."""
        if not self.elsewhere and not self.file.closed:
            self.commit()  # where it fails, the table stays open: its texts can still be saved elsewhere
            self.file.close()

    def suspend(self) -> None:
        """Close the connection before a fork."""
        if self._file is not None:
            self._file.suspend()

    def abandon(self) -> None:
        """Leave the file to the other process."""
        if self._file is not None:
            self._file.abandon()

    def copy(self, database: sqlite3.Connection) -> None:
        """Write everything into an empty file, also what waits."""
        copy_texts(self.file, database, self.compress, self.end)
        fill(database, self._rows(), self.end)

    def _rows(self) -> list[tuple[int, bytes, bytes]]:
        keys = {i: key for key, some in self._pending_ids.items() for i in some}
        return [(i, keys.get(i) or digest(unsqueeze(kept, self.compress)), kept) for i, kept in self._pending.items()]

    def _count(self, change: int) -> None:
        self.file.database.execute("UPDATE meta SET value = value + ? WHERE name = 'bytes'", (change,))

    def _among(self, question: str, values: list[Any]) -> Iterator[tuple]:
        """Go through the rows of a question that ends in IN, asked for some values at a time."""
        for some in (values[start : start + MANY] for start in range(0, len(values), MANY)):
            yield from self.file.query(f"{question} ({', '.join('?' * len(some))})", *some)

    def _checked(self, i: int, key: bytes, kept: bytes) -> bytes:
        data = checked(kept, key, self.compress)
        if data is None:
            raise self.file.kind.error(
                f"{self.file.path} is damaged: text {i} does not have the digest that it was stored with."
            )
        return data

    def _refuse_readers(self) -> None:
        if self.file.read_only:
            what = f"{self.file.path} was opened with read_only=True"
            raise self.file.kind.error(f"{what}: no text can be stored or freed.")
