"""The catalog on disk: what is known of each episode, beside the texts, in one SQLite file."""

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxbuffers.episodes import checksums, records
from jaxbuffers.episodes.mark import Mark
from jaxbuffers.episodes.segments import Segment
from jaxbuffers.episodes.table import Record
from jaxbuffers.errors import DamagedError, StoreError
from jaxbuffers.texts.database import Format, translated
from jaxbuffers.texts.sqlite import SqliteStore

FORMAT = Format(
    0x6A624550,  # "jbEP"
    1,
    "episode store",
    "jb.EpisodeStore(path)",
    StoreError,
    "Bring it back, or close the store and open it where it is now.",
    (
        f"CREATE TABLE episodes ({', '.join(f'{chr(34)}{n}{chr(34)} {kind}' for n, kind in records.COLUMNS.items())})",
        "CREATE TABLE checksums (id INTEGER PRIMARY KEY, data BLOB)",
        "CREATE TABLE segments (number INTEGER PRIMARY KEY, rows INTEGER, used INTEGER, sum INTEGER)",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT, sum INTEGER)",
    ),
)
MANY = 500  # ids in one question
CHUNK = 10_000  # episodes that are read at a time


@dataclass(frozen=True)
class State:
    """What a store says of itself that changes.

    Attributes:
      revision: how many transactions there were.
      edited: the last of them that changed episodes which were there before.
      next_episode: the id of the next episode.
      next_segment: the number of the next segment.
      episodes: how many episodes there are.
      types: the user's columns, with their types.
    """

    revision: int = 0
    edited: int = 0
    next_episode: int = 0
    next_segment: int = 0
    episodes: int = 0
    types: dict[str, str] = field(default_factory=dict)


class Change(NamedTuple):
    """One transaction.

    Attributes:
      state: what the store is afterwards.
      row: the description of a row, where it may not be noted yet.
      added: episodes, each with its packed checksums.
      removed: the ids of episodes.
      edited: episodes that are there, and are to be known otherwise.
      segments: those that have grown, or are new.
      dropped: the numbers of segments that have no episodes any more.
    """

    state: State
    row: dict[str, Any] | None = None
    added: tuple[tuple[Record, bytes], ...] = ()
    removed: tuple[int, ...] = ()
    edited: tuple[Record, ...] = ()
    segments: Mapping[int, Segment] = MappingProxyType({})
    dropped: tuple[int, ...] = ()


class Catalog:
    """The open file.

    Args:
      path: of the file.
      read_only: whether another process writes it.

    Attributes:
      texts: the texts in it.
      identity: what the store calls itself.
      path: of the file.
      read_only: whether another process writes it.
      in_doubt: whether a commit that failed might be in the file after all, once it is opened again.
    """

    def __init__(self, path: str | os.PathLike, read_only: bool) -> None:
        self.texts = SqliteStore(path, None, 2**26, read_only, FORMAT)
        self.in_doubt = False
        self.path, self.read_only = self.texts.file.path, read_only
        self._mark = Mark(f"{self.path}.revision")
        try:
            last = self._mark.read()  # before the catalog, which may grow meanwhile
            known = self.note("identity")
            if known is None and not read_only:
                known = uuid.uuid4().hex
                self._write(lambda: self._put("identity", known))
            if known is None:
                raise StoreError(f"{self.path} has no store in it yet; open it for writing first.")
            self.identity = known
            self._mark.compare(last, self.state().revision, self.path)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Let go of the file, without a commit."""
        self.texts.file.close()

    def note(self, name: str) -> Any:
        """Return what the store says of itself under a name; None if nothing."""
        found = self.texts.file.query("SELECT value, sum FROM notes WHERE name = ?", name)
        if not found:
            return None
        try:
            return records.read_note(*found[0])
        except ValueError as error:
            raise self.damaged(f"what it says about {name!r}") from error

    def state(self) -> State:
        """Return what the store says of itself now."""
        known = self.note("state")
        return State() if known is None else State(**known)

    @property
    def snapshot(self) -> "Snapshot":
        """Make the questions within see one moment: ``with catalog.snapshot:``."""
        return Snapshot(self)

    def episodes(self, types: dict[str, str], where: str, *values: Any) -> Iterator[dict[str, Sequence[Any]]]:
        """Return the columns of the episodes for which a condition holds, in order and some at a time."""
        with translated(self.path, StoreError):
            question = f"SELECT {records.names(types)} FROM episodes WHERE {where} ORDER BY id"
            cursor = self.texts.file.database.execute(question, values)
            while found := cursor.fetchmany(CHUNK):
                if (episode := records.wrong(found)) is not None:
                    raise self.damaged(f"the entry of episode {episode}")
                yield records.to_columns(found, types)

    def first(self) -> int:
        """Return the id of the oldest episode; 0 if there is none."""
        return self.texts.file.query("SELECT IFNULL(MIN(id), 0) FROM episodes")[0][0]

    def ids(self) -> list[int]:
        """Return the ids of all episodes, in order."""
        return [i for (i,) in self.texts.file.query("SELECT id FROM episodes ORDER BY id")]

    def segments(self) -> dict[int, Segment]:
        """Return all segments by their numbers."""
        found = {}
        for number, rows, used, total in self.texts.file.query("SELECT number, rows, used, sum FROM segments"):
            if records.segment_sum(number, rows, used) != total:
                raise self.damaged(f"the entry of segment {number}")
            found[number] = Segment(rows, used)
        return found

    def sums(self, episode: int, columns: list[Any], block: int) -> bytes:
        """Return the packed checksums of an episode's columns."""
        return checksums.packed(episode, checksums.sums(columns, block))

    def checksums(self, ids: Iterable[int]) -> dict[int, bytes]:
        """Return the packed checksums of those episodes that are there."""
        wanted = list(ids)
        found: dict[int, bytes] = {}
        for start in range(0, len(wanted), MANY):
            some = wanted[start : start + MANY]
            marks = ", ".join("?" * len(some))
            found |= dict(self.texts.file.query(f"SELECT id, data FROM checksums WHERE id IN ({marks})", *some))
        return found

    def commit(self, change: Change, done: Callable[[], Any]) -> None:
        """Write a change and the texts that wait in one transaction, and do ``done`` once the file has it."""

        def work() -> None:
            database, state = self.texts.file.database, change.state
            if self.state().revision != state.revision - 1:
                raise StoreError(f"{self.path} has a commit that was reported as failed; close it and open it anew.")
            there = {name for _, name, *_ in database.execute("PRAGMA table_info(episodes)")}
            for name, kind in state.types.items():
                if name not in there:
                    database.execute(f'ALTER TABLE episodes ADD COLUMN "{name}" {records.SQL_TYPES[kind]}')
            database.executemany("DELETE FROM episodes WHERE id = ?", [(i,) for i in change.removed])
            database.executemany("DELETE FROM checksums WHERE id = ?", [(i,) for i in change.removed])
            database.executemany("DELETE FROM segments WHERE number = ?", [(i,) for i in change.dropped])
            rows = [records.to_values(record, state.types, state.revision) for record, _ in change.added]
            rows += [records.to_values(record, state.types, state.revision) for record in change.edited]
            marks = ", ".join("?" * (len(records.COLUMNS) + len(state.types)))
            database.executemany(
                f"INSERT OR REPLACE INTO episodes ({records.names(state.types)}) VALUES ({marks})", rows
            )
            sums = [(record["id"], data) for record, data in change.added]
            database.executemany("INSERT OR REPLACE INTO checksums (id, data) VALUES (?, ?)", sums)
            grown = [(n, *s, records.segment_sum(n, *s)) for n, s in change.segments.items()]
            database.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", grown)
            if change.row is not None:
                self._put("row", change.row)
            self._put("state", vars(state))

            self.in_doubt = True

        def then() -> None:
            done()
            self._mark.write(change.state.revision)
            self.in_doubt = False

        self.in_doubt = False
        try:
            with translated(self.path, StoreError):
                self.texts.commit(work, then)
        except StoreError as error:
            # Where a log is full, its last frame was not written, which is the one that commits.
            if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                self.in_doubt = False
            raise

    def damaged(self, what: str) -> DamagedError:
        """Return the error for bytes that are not those that were written."""
        return DamagedError(f"{self.path} is damaged: {what} does not have the checksum that it was stored with.")

    def _put(self, name: str, value: Any) -> None:
        self.texts.file.database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (name, *records.note(value)))

    def _write(self, work: Callable[[], Any]) -> None:
        self.texts.file.write(work, lambda: None)


class Snapshot:
    """Several questions about one moment. Answers of which no sense can be made are those of a damaged file."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __enter__(self) -> None:
        self._catalog.texts.file.query("BEGIN")

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        database = self._catalog.texts.file.database
        if database.in_transaction:
            self._catalog.texts.file.query("ROLLBACK")
        senseless = isinstance(error, TypeError | ValueError | LookupError | ArithmeticError | AttributeError)
        if senseless and kind.__module__ != DamagedError.__module__:
            raise DamagedError(f"{self._catalog.path} is damaged: {error}.") from error
