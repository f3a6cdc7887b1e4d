"""The SQLite file of a text table: opened, written in whole transactions, and still the same file while it is."""

import os
import sqlite3
from collections.abc import Callable
from typing import Any

from jaxbuffers.texts.database import TEXTS, Format, connect, translated
from jaxbuffers.texts.locks import Hold, WriterLock, identity


class TextFile:
    """An open file. A fork closes its connection, and the next use opens it again.

    Attributes:
      path: where it is, without links.
      read_only: whether it was opened for reading.
      kind: what it is.
      meta: what it says about itself.
      closed: whether it is closed for good.
    """

    def __init__(self, path: str | os.PathLike, compress: bool | None, read_only: bool, kind: Format = TEXTS) -> None:
        self.path = os.path.realpath(os.fsdecode(path))  # one lock, whatever links lead to the file
        self.read_only = read_only
        self.kind = kind
        self.closed = False
        self._process = os.getpid()
        self._database: sqlite3.Connection | None = None
        self._static: Any = None  # what it was like, where it is read without locks
        self._hold: Hold | None = None
        self._same: dict[str, Any] = {}  # the files that must be there, each with what tells it from others
        self._lock = None if read_only else WriterLock(self.path, kind.error)
        try:
            if self._lock is not None:
                self._lock.take()
            self.meta = self._open(compress)
        except BaseException:
            self.close()
            raise

    @property
    def database(self) -> sqlite3.Connection:
        """The connection.

        Raises:
          TextFileError: it is closed, or was replaced while it was closed for a fork.
        """
        if self.closed:
            raise self.kind.error(f"{self.path} was closed; open it with {self.kind.opened}.")
        static = self._static
        if static is not None and static != self._state() and identity(self.path) == self._same[self.path]:
            self.suspend()  # somebody writes it after all
        if self._database is None:
            self._open()
        assert self._database is not None
        return self._database

    def query(self, statement: str, *values: Any) -> list[tuple]:
        """Return the rows of a question."""
        with translated(self.path, self.kind.error):
            return self.database.execute(statement, values).fetchall()

    def write(self, work: Callable[[], Any], done: Callable[[], Any]) -> None:
        """Do ``work`` in one transaction, and ``done`` if the file has it: all, or nothing.

        Ctrl-C while COMMIT runs is raised when the file has it already, so that ``done`` must not be left out. Both
        must bear to be repeated: where a file vanishes while COMMIT runs, nobody knows whether it has it.

        Raises:
          TextFileError: it cannot be written, or is not the file any more that was opened.
        """
        with translated(self.path, self.kind.error):
            self.verify()
            database, ready = self.database, False
            try:
                database.execute("BEGIN IMMEDIATE")
                work()
                ready = True
                database.execute("COMMIT")
                self.verify()
                done()
            except BaseException as error:
                if self.closed:  # in a process forked meanwhile
                    raise
                if database.in_transaction:
                    database.execute("ROLLBACK")
                elif ready and not isinstance(error, sqlite3.Error | self.kind.error):
                    done()
                raise

    def verify(self) -> None:
        """Check that what is written goes where the next process looks for it, and what is read is what is there.

        Raises:
          TextFileError: the file, its log or its lock was deleted, moved or replaced, and nothing is written to it.
        """
        self.database  # noqa: B018 - opens it where a fork has closed it
        for path, expected in self._same.items():
            if (found := identity(path)) != expected:
                what = "replaced by another" if found else "deleted or moved"
                raise self.kind.error(
                    f"{path} was {what} while the {self.kind.what} was open"
                    + (
                        "; open it anew to read what is there now."
                        if self.read_only
                        else f": what is written now would be lost. {self.kind.rescue}"
                    )
                )

    def suspend(self) -> None:
        """Close the connection until the next use; the lock stays. Not amid a transaction."""
        if self._database is not None and not self._database.in_transaction:
            self._disconnect()

    def abandon(self) -> None:
        """Forget the file, in a forked process."""
        if self._database is not None:  # amid a transaction: to close it would end that
            _carried.append(self._database)
            self._database = None
        if self._hold is not None:
            self._hold.release()
        if self._lock is not None:
            self._lock.abandon()
        self.closed = True

    def close(self) -> None:
        """Let go of it, without a commit."""
        if not self.closed and os.getpid() == self._process:
            self.closed = True
            try:
                self._disconnect()
            finally:
                if self._lock is not None:
                    self._lock.release()

    def _open(self, compress: bool | None = None) -> dict[str, int]:
        again = bool(self._same)
        before, state = identity(self.path), self._state()
        self._check(before if again else None)
        database, meta, static = connect(self.path, compress, self.read_only, again, self.kind)
        self._database, self._static = database, state if static else None
        try:
            after = identity(self.path)
            self._same = {self.path: self._same.get(self.path, before or after)}
            self._check(after)
            if not static and database.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                self._hold = Hold(self.path)
        except BaseException:
            self._disconnect()
            raise
        if self._lock is not None:
            self._same |= {f"{self.path}-wal": identity(f"{self.path}-wal"), self._lock.path: self._lock.identity}
        return meta

    def _state(self) -> Any:
        return [identity(self.path + suffix, times=True) for suffix in ("", "-wal")]

    def _check(self, found: tuple[int, ...] | None) -> None:
        if self._same and found != self._same[self.path]:
            raise self.kind.error(f"{self.path} was replaced or deleted while it was not open; open it anew.")

    def _disconnect(self) -> None:
        if self._hold is not None:
            self._hold.release()
        if self._database is not None:
            self._database.close()
        self._database = self._hold = None


_carried: list[sqlite3.Connection] = []  # never closed
