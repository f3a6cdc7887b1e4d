"""Episodes as rows of SQLite, each with a checksum over everything that it says."""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
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
    fixed = tuple(_kept(record[name]) for name in FIXED)
    given = [_kept(record.get(name)) for name in types]
    return (*fixed, revision, _sum((*fixed, revision), tuple(given)), *given)


def wrong(values: Sequence[tuple[Any, ...]]) -> Any:
    """Return the id of the first episode of which a value is not the one that was stored; None if there is none."""
    count = len(COLUMNS)
    for each in values:
        if _sum(each[: count - 1], each[count:]) != each[count - 1]:
            return each[0]
    return None


def to_columns(values: Sequence[tuple[Any, ...]], types: Mapping[str, str]) -> dict[str, Sequence[Any]]:
    """Return the columns of some episodes, with None where one has no value."""
    found: dict[str, Sequence[Any]] = dict(zip((*COLUMNS, *types), zip(*values, strict=True), strict=True))
    found["return"] = [math.nan if value is None else value for value in found["return"]]
    return found


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


def _kept(value: Any) -> Any:
    """Return what SQLite will hand back: it has no bool, no NaN, and one zero."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0
    return value


def _sum(fixed: tuple[Any, ...], given: tuple[Any, ...]) -> int:
    # A column that was added later, behind the others, has no value in older episodes, and does not count.
    while given and given[-1] is None:
        given = given[:-1]
    return zlib.crc32(repr(fixed + given).encode("utf-8", "surrogatepass"))
