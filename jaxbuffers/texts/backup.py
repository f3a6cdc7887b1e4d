"""A new file of texts, there as a whole or not at all."""

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from jaxbuffers.errors import TextFileError
from jaxbuffers.texts.database import TEXTS, create, translated
from jaxbuffers.texts.file import TextFile


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[sqlite3.Connection]:
    """Give a connection to an empty file, which gets its name when all is in it and on the disk.

    Raises:
      TextFileError: there is a file already, or it cannot be written.
    """
    name = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(name)
    if not os.path.isdir(folder):
        raise TextFileError(f"the folder of {name} does not exist; make it first.")
    # SQLite would read the log or the journal of another file into this one.
    if any(os.path.exists(name + suffix) for suffix in ("", "-wal", "-journal")):
        raise TextFileError(
            f"{name} exists already, or a -wal or -journal of that name; nothing is overwritten. Give another name."
        )
    part = f"{name}.{secrets.token_hex(4)}.part"
    with translated(name):
        database = sqlite3.connect(part, isolation_level=None)
        try:
            database.execute("PRAGMA synchronous = FULL")
            yield database
            database.execute("PRAGMA journal_mode = DELETE")  # one file, which can be read where nothing can be written
            database.close()
            os.rename(part, name)
        except BaseException:
            database.close()
            for suffix in ("", "-journal", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    os.remove(part + suffix)
            raise
        if os.name == "posix":
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # the name too
            finally:
                os.close(descriptor)


def fill(database: sqlite3.Connection, rows: Iterable[tuple[int, bytes, bytes]], reserved: int) -> None:
    """Write texts with their ids and digests, beside those that are there, and how many ids are given."""
    database.execute("BEGIN IMMEDIATE")
    # Where a commit failed, nobody knows whether the file has them.
    database.executemany("INSERT OR REPLACE INTO texts (id, digest, data) VALUES (?, ?, ?)", rows)
    database.execute("UPDATE meta SET value = (SELECT IFNULL(SUM(LENGTH(data)), 0) FROM texts) WHERE name = 'bytes'")
    database.execute("UPDATE meta SET value = MAX(value, ?) WHERE name = 'reserved'", (reserved,))
    database.execute("COMMIT")


def copy_texts(file: TextFile, database: sqlite3.Connection, compress: bool, reserved: int) -> None:
    """Write the texts of a file into an empty one, and nothing else that is in it."""
    if file.kind is TEXTS:
        file.database.backup(database)
    else:
        create(database, compress)
        fill(database, file.database.execute("SELECT id, digest, data FROM texts"), reserved)
