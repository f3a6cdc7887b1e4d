"""Locks on files that hold until they are let go.

SQLite's own locks are those of POSIX: they are gone as soon as the process closes any descriptor of the file, as it
does when it copies it. A lock of a descriptor stays.
"""

import contextlib
import os
import sqlite3
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from jaxbuffers.errors import TextFileError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# What SQLite locks of a database file while it is in use: https://www.sqlite.org/src/file/src/os.h
SHARED_FIRST, SHARED_SIZE = 0x40000002, 510


def identity(path: str, times: bool = False) -> tuple[int, ...] | None:
    """Return what tells one file from another at the same path, and ``times`` from itself after it was written to.

    None where there is none.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, *((found.st_size, found.st_mtime_ns) if times else ()))


class WriterLock:
    """Being the one writer of a file, from `take` until it is released, is collected, or the process ends.

    Wherever Ctrl-C comes, what is locked belongs to this object, and `release` lets go of it.
    """

    identity: tuple[int, ...] | None = None
    _descriptor: int | None = None
    _connection: sqlite3.Connection | None = None

    def __init__(self, path: str, error_type: type[Exception] = TextFileError) -> None:
        self.path, self._place, self._error_type = f"{path}.lock", path, error_type

    def take(self) -> None:
        """Be the writer.

        Raises:
          TextFileError, or what was said: there is another writer, in this process or elsewhere, or the lock cannot be
            made.
        """
        path, error_type = self._place, self._error_type
        if not Path(path).absolute().parent.is_dir():
            raise error_type(f"the folder of {path} does not exist; make it first.")
        try:
            self._lock()
        except (BlockingIOError, sqlite3.Error) as error:
            self.abandon()
            if isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise error_type(f"{path} cannot be written: {error} ({self.path}).") from error
            raise error_type(
                f"{path} is open for writing already; there is one writer at a time. Close it, or give read_only=True."
            ) from error
        except OSError as error:
            self.abandon()
            raise error_type(f"{path} cannot be written: {error}.") from error
        self.identity = identity(self.path)

    def release(self, remove: bool = False) -> None:
        """Let others write; ``remove`` the file that was locked, too. Can be called again where Ctrl-C came amid it."""
        locked = self._descriptor is not None or self._connection is not None
        if remove and locked and self.identity is not None and identity(self.path) == self.identity:
            with contextlib.suppress(OSError):
                os.remove(self.path)  # whoever opened it meanwhile looks whether it still is there
        if fcntl is not None and self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # also where a copy of the descriptor is in another process
        self.abandon()

    def abandon(self) -> None:
        """Forget it, in a forked process: it stays the other one's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at the end of the process `os` is gone
        if self._descriptor is not None:  # one that Ctrl-C kept from being released
            close(self._descriptor)

    def _lock(self) -> None:
        if fcntl is None:
            self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0)
            self._connection.execute("BEGIN EXCLUSIVE")
            return
        while True:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(self._descriptor)
            if identity(self.path) == (found.st_dev, found.st_ino):
                return
            self.abandon()  # deleted between the two: whoever comes next would not see it


class Hold:
    """A share in SQLite's lock on a database file, which keeps other programs from deleting its write-ahead log.

    SQLite has the same lock, and loses it when this process copies the file. Only Linux has locks that do not get lost;
    elsewhere this does nothing.
    """

    def __init__(self, path: str) -> None:
        self._descriptor: int | None = None
        if fcntl is None or sys.platform != "linux" or not hasattr(fcntl, "F_OFD_SETLK"):
            return
        lock = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, SHARED_FIRST, SHARED_SIZE, 0)  # struct flock
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, lock)
        except OSError:  # no such locks in this file system: SQLite's own has to do
            self.release()

    def release(self) -> None:
        """Let go of it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
