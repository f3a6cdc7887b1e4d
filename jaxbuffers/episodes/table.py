"""The catalog in memory: one NumPy column for each thing that is known of the episodes, in order of insertion."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxbuffers.errors import UnknownEpisodeError

FIXED: dict[str, type] = {
    "id": np.int64,
    "length": np.int64,
    "stream": np.int64,
    "return": np.float64,
    "ending": np.object_,
    "time": np.float64,
    "segment": np.int64,
    "offset": np.int64,
}
TYPES: dict[str, Any] = {"int": np.int64, "float": np.float64, "bool": np.bool_, "str": np.object_}
_BLOCKS = "first block"  # a name that no column has, as it is no identifier
_EMPTY: dict[str, Any] = {"int": 0, "float": np.nan, "bool": False, "str": None}

Record = dict[str, Any]  # an episode by the names of its columns; a user's column that is left out has no value


class Table:
    """The episodes at one moment. A table never changes; those that follow share its memory.

    Attributes:
      revision: which moment it is.
      types: the user's columns, with the names of their types.
      length: how many episodes there are.
    """

    def __init__(
        self, revision: int, types: Mapping[str, str], memory: dict[str, np.ndarray], start: int, stop: int
    ) -> None:
        self.revision, self.types = revision, dict(types)
        self._memory, self._start, self._stop = memory, start, stop
        self._cut: dict[str, np.ndarray] = {}

    @classmethod
    def empty(cls, types: Mapping[str, str] = {}) -> "Table":
        """Return a table without episodes."""
        return cls(0, types, _memory(types, 16), 0, 0)

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column, read-only; one of a user's int or bool, where some have no value, as a masked array."""
        if name not in self._cut:
            column = self._column(name)
            if self.types.get(name) in ("int", "bool") and not (there := self._column(f"{name}?")).all():
                column = np.ma.MaskedArray(column, ~there)
                column.harden_mask()
            self._cut[name] = column
        return self._cut[name]

    @property
    def first_blocks(self) -> np.ndarray:
        """The number of each episode's first block, int64 ``[n]``; see `Checked`."""
        return self._column(_BLOCKS)

    def names(self) -> list[str]:
        """Return the names of all columns."""
        return [*FIXED, *self.types]

    def record(self, at: int) -> Record:
        """Return what is known of one episode, as Python's own numbers and texts."""
        found = {name: self._column(name)[at] for name in FIXED}
        for name, kind in self.types.items():
            value = self._column(name)[at]
            if bool(self._column(f"{name}?")[at]) if kind in ("int", "bool") else value is not None and value == value:
                found[name] = value
        return {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}

    def find(self, ids: Any) -> np.ndarray:
        """Return where episodes are in the table.

        Raises:
          UnknownEpisodeError: there is no such episode.
        """
        known = self["id"]
        try:
            wanted = np.asarray(ids, np.int64)
        except OverflowError:
            raise gone(ids) from None
        at = np.searchsorted(known, wanted)
        wrong = np.ones(wanted.shape, np.bool_) if not len(self) else known[np.minimum(at, len(self) - 1)] != wanted
        if wrong.any():
            raise gone(int(wanted[wrong].ravel()[0]))
        return at

    def with_types(self, types: Mapping[str, str]) -> "Table":
        """Return the table with further columns, which have no values."""
        new = {name: kind for name, kind in types.items() if name not in self.types}
        size = len(self._memory["id"])
        memory = {**self._memory, **_memory(new, size, fixed=False)}
        return Table(self.revision, {**self.types, **new}, memory, self._start, self._stop)

    def at_revision(self, revision: int) -> "Table":
        """Return the table as of a later moment at which it is the same."""
        return Table(revision, self.types, self._memory, self._start, self._stop)

    def appended(self, columns: Mapping[str, Sequence[Any]], first_blocks: list[int]) -> "Table":
        """Return the table with further episodes, of which ``columns`` tells, and where their blocks begin."""
        memory, start, stop, count = self._memory, self._start, self._stop, len(first_blocks)
        if stop + count > len(memory["id"]):
            live = len(self)
            grown = _memory(self.types, max(16, 2 * (live + count)))
            for name, column in grown.items():
                column[:live] = memory[name][start:stop]
            memory, start, stop = grown, 0, live
        end = stop + count
        for name in self.names():
            self._fill(memory, slice(stop, end), name, columns[name])
        memory[_BLOCKS][stop:end] = first_blocks
        return Table(self.revision, self.types, memory, start, end)

    def without(self, at: Iterable[int] | np.ndarray) -> "Table":
        """Return the table without the episodes in some places."""
        places = np.unique(np.asarray(at, np.int64))
        if not len(places):
            return self
        if places[-1] == len(places) - 1:  # the oldest ones
            return Table(self.revision, self.types, self._memory, self._start + len(places), self._stop)
        memory = {name: np.delete(column[self._start : self._stop], places) for name, column in self._memory.items()}
        return Table(self.revision, self.types, memory, 0, len(self) - len(places))

    def replaced(self, at: Any, columns: Mapping[str, Sequence[Any]]) -> "Table":
        """Return the table with other values in some places of some columns."""
        places, memory = self._start + np.asarray(at, np.int64), dict(self._memory)
        for name, values in columns.items():
            for each in (name, f"{name}?"):
                if each in memory:
                    memory[each] = memory[each].copy()
            self._fill(memory, places, name, values)
        return Table(self.revision, self.types, memory, self._start, self._stop)

    def moved(self, at: Any, first_blocks: list[int]) -> "Table":
        """Return the table with other numbers for the first blocks of some episodes."""
        memory = {**self._memory, _BLOCKS: self._memory[_BLOCKS].copy()}
        memory[_BLOCKS][self._start + np.asarray(at, np.int64)] = first_blocks
        return Table(self.revision, self.types, memory, self._start, self._stop)

    def _fill(self, memory: dict[str, np.ndarray], at: Any, name: str, values: Sequence[Any]) -> None:
        kind = self.types.get(name)
        if kind is not None:
            if kind in ("int", "bool"):
                memory[f"{name}?"][at] = [value is not None for value in values]
            values = [_EMPTY[kind] if value is None else value for value in values]
        memory[name][at] = values

    def _column(self, name: str) -> np.ndarray:
        column = self._memory[name][self._start : self._stop]
        column.flags.writeable = False
        return column


def columns_of(records: list[Record], names: Iterable[str]) -> dict[str, list[Any]]:
    """Return some columns of some records, with None where one has no value."""
    return {name: [record.get(name) for record in records] for name in names}


def gone(episode: int) -> UnknownEpisodeError:
    """Return the error for an episode that is not there."""
    return UnknownEpisodeError(f"episode {episode} is not in the store: it was evicted or deleted, or never there.")


def _memory(types: Mapping[str, str], size: int, fixed: bool = True) -> dict[str, np.ndarray]:
    memory: dict[str, np.ndarray] = {}
    if fixed:
        memory = {name: np.zeros(size, dtype) for name, dtype in {**FIXED, _BLOCKS: np.int64}.items()}
    for name, kind in types.items():
        memory[name] = np.full(size, _EMPTY[kind], TYPES[kind])
        if kind in ("int", "bool"):
            memory[f"{name}?"] = np.zeros(size, np.bool_)
    return memory
