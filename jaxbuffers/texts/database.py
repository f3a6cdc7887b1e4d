"""Opening the SQLite file of a text table, and refusing what is not one."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxbuffers.errors import ConfigurationError, TextFileError

APPLICATION = 0x6A625458  # "jbTX": says that a file is one of ours
VERSION = 1


def connect(path: str, compress: bool | None, read_only: bool) -> tuple[sqlite3.Connection, dict[str, int]]:
    """Open a file, or make a new one; return the connection and what the file says about itself."""
    new = not os.path.exists(path) or os.path.getsize(path) == 0
    if read_only and new:
        raise TextFileError(f"{path} does not exist or is empty; open it for writing first, without read_only=True.")
    with translated(path):
        uri = f"{Path(path).absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            if not read_only:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
            if new:
                _create(database, bool(compress))
            _check(database, path)
            meta = dict(database.execute("SELECT name, value FROM meta").fetchall())
        except BaseException:
            database.close()
            raise
    if compress is not None and bool(meta["compress"]) != compress:
        database.close()
        raise ConfigurationError(
            f"{path} was made with compress={bool(meta['compress'])}; leave compress out, or start another file."
        )
    return database, meta


def exclusive(path: str) -> sqlite3.Connection:
    """Become the one writer of a file, until the connection is closed or the process ends."""
    lock = sqlite3.connect(f"{path}.lock", isolation_level=None, check_same_thread=False, timeout=0)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        raise TextFileError(
            f"{path} is open for writing already; there is one writer at a time. Close it, or give read_only=True."
        ) from error
    return lock


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Say which file it was that SQLite could not use."""
    try:
        yield
    except sqlite3.Error as error:
        raise TextFileError(f"{path} cannot be used: {error}.") from error


def _create(database: sqlite3.Connection, compress: bool) -> None:
    for statement in (
        "BEGIN IMMEDIATE",
        "CREATE TABLE texts (id INTEGER PRIMARY KEY, digest BLOB NOT NULL, data BLOB NOT NULL)",
        "CREATE INDEX texts_by_digest ON texts (digest)",
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        f"INSERT INTO meta VALUES ('compress', {int(compress)}), ('reserved', 0), ('bytes', 0)",
        f"PRAGMA application_id = {APPLICATION}",
        f"PRAGMA user_version = {VERSION}",
        "COMMIT",
    ):
        database.execute(statement)


def _check(database: sqlite3.Connection, path: str) -> None:
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise TextFileError(f"{path} is no text table: another program made it.")
    if (version := database.execute("PRAGMA user_version").fetchone()[0]) > VERSION:
        raise TextFileError(
            f"{path} has format {version}, this version of jaxbuffers reads up to {VERSION}: upgrade jaxbuffers."
        )
    if (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise TextFileError(f"{path} is damaged: {found}.")
