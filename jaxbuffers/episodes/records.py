"""Episodes as rows of SQLite, each with a checksum over everything that it says."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from jaxbuffers.episodes.table import FIXED, Record

COLUMNS = {  # of the table `episodes`, in its order; further ones are the user's
    "id": "INTEGER PRIMARY KEY",
    "length": "INTEGER",
    "stream": "INTEGER",
    "return": "REAL",
    "ending": "TEXT",
    "time": "REAL",
    "segment": "INTEGER",
    "offset": "INTEGER",
    "revision": "INTEGER",
    "sum": "INTEGER",
}
SQL_TYPES = {"int": "INTEGER", "float": "REAL", "bool": "INTEGER", "str": "TEXT"}


def names(types: Mapping[str, str]) -> str:
    """Return the columns of an episode, as SQL."""
    return ", ".join(f'"{name}"' for name in (*COLUMNS, *types))


def to_values(record: Record, types: Mapping[str, str], revision: int) -> tuple[Any, ...]:
    """Return the values to store for an episode."""
    fixed = [None if record[name] != record[name] else record[name] for name in FIXED]  # SQLite has no NaN
    users = [_plain(record.get(name)) for name in types]
    return (*fixed, revision, _sum([*fixed, revision], types, users), *users)


def to_record(values: tuple[Any, ...], types: Mapping[str, str]) -> Record | None:
    """Undo `to_values`; None if a value is not the one that was stored."""
    count = len(COLUMNS)
    if _sum(values[: count - 1], types, values[count:]) != values[count - 1]:
        return None
    record = dict(zip(FIXED, values, strict=False))
    if record["return"] is None:
        record["return"] = float("nan")
    for (name, kind), value in zip(types.items(), values[count:], strict=True):
        if value is not None:
            record[name] = bool(value) if kind == "bool" else value
    return record


def note(value: Any) -> tuple[str, int]:
    """Return what the store says of itself under a name: JSON, and its checksum."""
    text = json.dumps(value)
    return text, zlib.crc32(text.encode())


def read_note(text: Any, found: Any) -> Any:
    """Undo `note`.

    Raises:
      ValueError: it is damaged.
    """
    if not isinstance(text, str) or zlib.crc32(text.encode("utf-8", "surrogatepass")) != found:
        raise ValueError("checksum")
    return json.loads(text)


def segment_sum(number: int, rows: int, used: int) -> int:
    """Return the checksum of a segment's row."""
    return zlib.crc32(repr((number, rows, used)).encode())


def _plain(value: Any) -> Any:
    if value != value:
        return None
    return int(value) if isinstance(value, bool) else value


def _sum(fixed: Any, types: Mapping[str, str], users: Any) -> int:
    # A column that was added later has no value in older episodes, and does not count.
    given = [(name, value) for name, value in zip(types, users, strict=True) if value is not None]
    return zlib.crc32(repr((*fixed, *given)).encode("utf-8", "surrogatepass"))
