"""Opening the SQLite file of a text table, and refusing what is not one."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from jaxbuffers.errors import ConfigurationError, TextFileError


class Format(NamedTuple):
    """What a file is: texts alone, or texts beside something else, on which the file depends.

    Attributes:
      application: says, in the file, that it is one of these.
      version: the newest that is known.
      what: its name, for errors.
      opened: how to open one, for errors.
      error: what is raised where it cannot be used.
      rescue: what to do where it was replaced while it was open, for errors.
      tables: statements that make what it has beside the tables of texts.
    """

    application: int
    version: int
    what: str
    opened: str
    error: type[Exception]
    rescue: str
    tables: tuple[str, ...] = ()


TEXTS = Format(
    0x6A625458,  # "jbTX"
    1,
    "text table",
    "jb.TextTable(path)",
    TextFileError,
    "All texts are still here: save them with table.backup(new_path), and open that.",
)


class Opened(NamedTuple):
    """A connection.

    Attributes:
      database: the connection.
      meta: what the file says about itself.
      static: whether the file is read as one that nobody writes, without any lock.
    """

    database: sqlite3.Connection
    meta: dict[str, int]
    static: bool


def connect(path: str, compress: bool | None, read_only: bool, again: bool = False, kind: Format = TEXTS) -> Opened:
    """Open a file, or make a new one; ``again`` for one that was open before, and in order."""
    if read_only and not os.path.exists(path):
        raise kind.error(_missing(path))
    with translated(path, kind.error):
        if not read_only:
            return _connect(path, compress, "rw" if again else "rwc", again, kind)
        try:
            return _connect(path, compress, "ro", again, kind)
        except sqlite3.OperationalError as error:
            # To read a write-ahead log SQLite must write beside it.
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            if has_log(path):
                raise kind.error(
                    f"{path}-wal holds texts that cannot be read here: {error}. Open and close the {kind.what} where "
                    f"its folder can be written, {kind.opened}.close(), or copy both files to such a folder."
                ) from error
            return _connect(path, compress, "ro&immutable=1", again, kind)


def has_log(path: str) -> bool:
    """Say whether there are texts beside the file that are not in it."""
    try:
        return os.path.getsize(f"{path}-wal") > 0
    except OSError:
        return False


@contextmanager
def translated(path: str, error_type: type[Exception] = TextFileError) -> Iterator[None]:
    """Say which file it was that SQLite could not use."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise error_type(f"{path} cannot be used: {error}.") from error


def _connect(path: str, compress: bool | None, mode: str, again: bool, kind: Format) -> Opened:
    read_only = mode.startswith("ro")
    uri = f"{Path(path).absolute().as_uri()}?mode={mode}"
    database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        if _is_empty(database):
            if read_only or again:
                raise kind.error(_missing(path))
            database.execute("PRAGMA synchronous = FULL")
            create(database, bool(compress), kind)
        try:
            meta = _check(database, path, again, kind)
        except (TypeError, ValueError, LookupError) as error:  # of values that make no sense
            raise kind.error(f"{path} is damaged: {error}.") from error
        if not read_only:  # not before the file is known to be ours
            if os.stat(path).st_nlink > 1:
                raise kind.error(
                    f"{path} has another name, a hard link, and a log of its own under each. Delete the other one, or "
                    f"open a copy."
                )
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        if compress is not None and bool(meta["compress"]) != compress:
            raise ConfigurationError(
                f"{path} was made with compress={bool(meta['compress'])}; leave compress out, or start another file."
            )
        database.execute("SELECT COUNT(*) FROM meta").fetchall()  # from here on the log is there
    except BaseException:
        database.close()
        raise
    return Opened(database, meta, static="immutable" in mode)


def _missing(path: str) -> str:
    return f"{path} does not exist or is empty; open it for writing first, without read_only=True."


def _is_empty(database: sqlite3.Connection) -> bool:
    """Say whether nobody made this file, or a process that was killed before it could write anything."""
    application, version = (database.execute(f"PRAGMA {x}").fetchone()[0] for x in ("application_id", "user_version"))
    return not (application or version or database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])


def create(database: sqlite3.Connection, compress: bool, kind: Format = TEXTS) -> None:
    """Make the tables of a new file."""
    for statement in (
        "BEGIN IMMEDIATE",
        "CREATE TABLE texts (id INTEGER PRIMARY KEY, digest BLOB NOT NULL, data BLOB NOT NULL)",
        "CREATE INDEX texts_by_digest ON texts (digest)",
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        f"INSERT INTO meta VALUES ('compress', {int(compress)}), ('reserved', 0), ('bytes', 0)",
        *kind.tables,
        f"PRAGMA application_id = {kind.application}",
        f"PRAGMA user_version = {kind.version}",
        "COMMIT",
    ):
        database.execute(statement)


def _check(database: sqlite3.Connection, path: str, again: bool, kind: Format) -> dict[str, int]:
    if database.execute("PRAGMA application_id").fetchone()[0] != kind.application:
        raise kind.error(f"{path} is no {kind.what}: another program made it.")
    if (version := database.execute("PRAGMA user_version").fetchone()[0]) > kind.version:
        raise kind.error(
            f"{path} has format {version}, this version of jaxbuffers reads up to {kind.version}: upgrade jaxbuffers."
        )
    if not again and (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise kind.error(f"{path} is damaged: {found}.")
    meta = dict(database.execute("SELECT name, value FROM meta").fetchall())
    if missing := {"compress", "reserved", "bytes"} - meta.keys():
        raise kind.error(f"{path} is damaged: it does not say {min(missing)!r}.")
    last = database.execute("SELECT MAX(id) FROM texts").fetchone()[0] or 0
    if last >= max(meta["reserved"], 1):
        raise kind.error(f"{path} is damaged: it has the id {last}, but only those below {meta['reserved']} reserved.")
    return meta
