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
    missing = f"{path} does not exist or is empty; open it for writing first, without read_only=True."
    if read_only and not os.path.exists(path):
        raise TextFileError(missing)
    with translated(path):
        uri = f"{Path(path).absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            if _is_empty(database):
                if read_only:
                    raise TextFileError(missing)
                database.execute("PRAGMA synchronous = FULL")
                _create(database, bool(compress))
            meta = _check(database, path)
            if not read_only:  # not before the file is known to be ours
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
            if compress is not None and bool(meta["compress"]) != compress:
                raise ConfigurationError(
                    f"{path} was made with compress={bool(meta['compress'])}; leave compress out, or start another "
                    "file."
                )
        except BaseException:
            database.close()
            raise
    return database, meta


def exclusive(path: str) -> sqlite3.Connection:
    """Become the one writer of a file, until the connection is closed or the process ends."""
    if not Path(path).absolute().parent.is_dir():
        raise TextFileError(f"the folder of {path} does not exist; make it first.")
    lock = None
    try:
        lock = sqlite3.connect(f"{path}.lock", isolation_level=None, check_same_thread=False, timeout=0)
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if lock is not None:
            lock.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise TextFileError(
                f"{path} is open for writing already; there is one writer at a time. Close it, or give read_only=True."
            ) from error
        raise TextFileError(f"{path} cannot be written: {error} ({path}.lock).") from error
    return lock


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Say which file it was that SQLite could not use."""
    try:
        yield
    except sqlite3.Error as error:
        raise TextFileError(f"{path} cannot be used: {error}.") from error


def _is_empty(database: sqlite3.Connection) -> bool:
    """Say whether nobody made this file, or a process that was killed before it could write anything."""
    application, version = (database.execute(f"PRAGMA {x}").fetchone()[0] for x in ("application_id", "user_version"))
    return not (application or version or database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])


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


def _check(database: sqlite3.Connection, path: str) -> dict[str, int]:
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise TextFileError(f"{path} is no text table: another program made it.")
    if (version := database.execute("PRAGMA user_version").fetchone()[0]) > VERSION:
        raise TextFileError(
            f"{path} has format {version}, this version of jaxbuffers reads up to {VERSION}: upgrade jaxbuffers."
        )
    if (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise TextFileError(f"{path} is damaged: {found}.")
    meta = dict(database.execute("SELECT name, value FROM meta").fetchall())
    if missing := {"compress", "reserved", "bytes"} - meta.keys():
        raise TextFileError(f"{path} is damaged: it does not say {min(missing)!r}.")
    last = database.execute("SELECT MAX(id) FROM texts").fetchone()[0] or 0
    if last >= max(meta["reserved"], 1):
        raise TextFileError(
            f"{path} is damaged: it has the id {last}, but only those below {meta['reserved']} reserved."
        )
    return meta
