"""The steps of one or several stores at one moment, in the order of a pool."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from jaxbuffers.episodes import EpisodeStore
from jaxbuffers.episodes.table import TYPES, Table
from jaxbuffers.errors import MissingFieldError, StoreError
from jaxbuffers.trajectories.rows import COLUMNS, NAMED

MISSING = -(2**63)  # stands for no iteration and no process, before all others


class Steps:
    """All steps, trajectory after trajectory: by iteration, process, and order of storing. Its arrays are read-only.

    Attributes:
      source: int64 ``[n]``, which store each trajectory is in.
      ids: int64 ``[n]``, its id there.
      lengths: int64 ``[n]``, its steps.
      trajectory: int64 ``[N]``, for each step the place of its trajectory.
      step: int64 ``[N]``, for each step its number in its trajectory.
    """

    def __init__(self, stores: Sequence[EpisodeStore], tables: Sequence[Table], fields: "FieldCache") -> None:
        self._stores, self._tables, self._fields = stores, tables, fields
        self._names = dict.fromkeys(name for table in tables for name in table.names())
        self._held: dict[str, np.ma.MaskedArray] = {}
        source = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        ids = np.concatenate([np.zeros(0, np.int64), *(table["id"] for table in tables)])
        keys = (ids, source, *(self._joined(name).filled(MISSING) for name in ("process", "iteration")))
        self._order = np.lexsort(keys)
        self.source, self.ids = source[self._order], ids[self._order]
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(table["length"] for table in tables)])[self._order]
        self.trajectory = np.repeat(np.arange(len(ids)), self.lengths)
        begins = np.cumsum(self.lengths) - self.lengths
        self.step = np.arange(len(self.trajectory)) - begins[self.trajectory]
        for array in (self.source, self.ids, self.lengths, self.trajectory, self.step):
            array.flags.writeable = False

    def __len__(self) -> int:
        """How many steps there are."""
        return len(self.trajectory)

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """What the catalog says of the trajectories, ``[n]`` each, in order; see `EpisodeStore.metadata`.

        Raises:
          StoreError: a column has another type in one store than in another.
        """
        found = {}
        for name in self._names:
            column = self._ordered(name)
            masked = column.dtype.kind in "ib" and column.mask.any()
            found[name] = column if masked else column.data
        return found

    def column(self, name: str) -> np.ma.MaskedArray:
        """Return a column, masked where a trajectory has no value.

        Raises:
          MissingFieldError: no trajectory ever had one.
          StoreError: it has another type in one store than in another.
        """
        if name not in self._names and (name in NAMED or name in COLUMNS):
            return np.ma.MaskedArray(np.zeros(len(self.ids), np.int64), True)  # a column that no trajectory had yet
        if name not in self._names:
            raise MissingFieldError(f"no trajectory has a column {name!r}; there are {', '.join(self._names)}.")
        column = self._ordered(name)
        if column.dtype.kind == "O":
            return np.ma.MaskedArray(column.data, np.array([each is None for each in column.data], np.bool_))
        return np.ma.MaskedArray(column.data, np.isnan(column.data) if column.dtype.kind == "f" else column.mask)

    @property
    def reward(self) -> np.ndarray:
        """The rewards of the trajectories, float64 ``[n]``."""
        return self._ordered("reward").data

    def field(self, name: str) -> np.ndarray:
        """Return a field of the rows of all steps, ``[N, ...]``."""
        return self._fields.read(self._stores, self._tables, name, self)

    def of_steps(self, mask: np.ndarray) -> np.ndarray:
        """Return for each step what is said of its trajectory: ``[n]`` to ``[N]``."""
        return mask[self.trajectory]

    def _ordered(self, name: str) -> np.ma.MaskedArray:
        if name not in self._held:
            column = self._joined(name)[self._order]
            column.harden_mask()
            column.flags.writeable = False  # filters of the user's see it, and later draws too
            self._held[name] = column
        return self._held[name]

    def _joined(self, name: str) -> np.ma.MaskedArray:
        kinds = {table.types[name] for table in self._tables if name in table.types}
        if len(kinds) > 1:
            which = " in one store and ".join(sorted(kinds))
            raise StoreError(f"column {name!r} is {which} in another: filter by others, or write it as one type.")
        kind = kinds.pop() if kinds else None
        parts = []
        for table in self._tables:
            if kind is None and name not in COLUMNS:
                parts.append(np.ma.MaskedArray(table[name], False))
            elif name in table.types:
                parts.append(np.ma.MaskedArray(table[name]))
            else:
                empty = {"str": None, "float": np.nan}.get(kind or "int", 0)
                parts.append(np.ma.MaskedArray(np.full(len(table), empty, TYPES[kind or "int"]), True))
        if not parts:
            return np.ma.MaskedArray(np.zeros(0, np.int64), False)
        whole = np.ma.concatenate(parts)
        return np.ma.MaskedArray(whole.data, np.ma.getmaskarray(whole))


class FieldCache:
    """Fields of rows that were read before: a step never changes once it is stored."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = {}  # lengths' sums by id, and the values

    def read(self, stores: Sequence[EpisodeStore], tables: Sequence[Table], name: str, steps: Steps) -> np.ndarray:
        """Return a field of all steps, in their order."""
        parts, begins, offset = [], [], 0
        for i, (store, table) in enumerate(zip(stores, tables, strict=True)):
            values = self._of_store(i, store, table, name)
            lengths = table["length"]
            begins.append(offset + np.cumsum(lengths) - lengths)
            offset += len(values)
            parts.append(values)
        if not parts or not offset:
            return np.zeros(0, np.bool_)
        begin = np.concatenate(begins)[steps._order]
        return np.concatenate(parts)[begin[steps.trajectory] + steps.step]

    def _of_store(self, number: int, store: EpisodeStore, table: Table, name: str) -> np.ndarray:
        ids, lengths = table["id"], table["length"]
        if not len(ids):
            return np.zeros(0, np.bool_)
        known, values = self._held.get((number, name), (np.zeros((2, 0), np.int64), None))
        kept = np.isin(known[0], ids)
        new = ~np.isin(ids, known[0])
        if values is None:
            found = _read(store, ids, lengths, name)
        else:
            old = values[np.repeat(kept, known[1])]
            found = np.concatenate([old, _read(store, ids[new], lengths[new], name)]) if new.any() else old
        # Ids only grow, and a table has them in order: what is new stands behind what is kept.
        self._held[(number, name)] = (np.stack([ids, lengths]), found)
        return found


def _read(store: EpisodeStore, ids: np.ndarray, lengths: np.ndarray, name: str) -> np.ndarray:
    begins = np.cumsum(lengths) - lengths
    result: Any = None
    for length in np.unique(lengths).tolist():  # windows of one length are read at once
        some = np.flatnonzero(lengths == length)
        values = store.read(ids[some], np.zeros(len(some), np.int64), length, [name])[name]
        if result is None:
            result = np.empty((int(lengths.sum()), *values.shape[2:]), values.dtype)
        result[begins[some][:, None] + np.arange(length)] = values
    return result
