"""Arrays that choose episodes: each is good for the episodes that there were when it was first given."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxbuffers.episodes.table import Table
from jaxbuffers.episodes.where import chosen
from jaxbuffers.errors import StaleIndexError


class Among:
    """A function of the columns that chooses episodes by their ids; those that have left are left out.

    Args:
      ids: int64 ``[n]``, ascending.
    """

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids

    def __call__(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return which episodes of a table they are, bool ``[n]``."""
        return np.isin(columns["id"], self.ids, assume_unique=True)


class Arrays:
    """Remembers the arrays that were given, to notice one that has become stale."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Callable[[], Any], int, np.ndarray, np.ndarray]] = {}

    def checked(self, table: Table, where: Any) -> Any:
        """Return a copy of an array, or what else chooses episodes, as it is.

        Raises:
          DtypeError, ShapeError: it is no bool array with an entry for each episode.
          StaleIndexError: the array was given before, with the same values, when other episodes were in the store.
        """
        if where is None or callable(where):
            return where
        chosen(table, where)
        copy, ids, key = where.copy(), table["id"], id(where)
        known, revision, values, before = self._seen.get(key, (lambda: None, table.revision, copy, ids))
        same = known() is where and np.array_equal(values, copy)
        if same and revision != table.revision and not np.array_equal(before, ids):
            raise StaleIndexError(
                "where was made of an earlier state of the store, and its rows are other episodes now. Make it of "
                "store.metadata anew, or give a function of the columns: where=lambda columns: columns['length'] > 10."
            )
        forget = weakref.ref(where, lambda _: self._seen.pop(key, None))
        self._seen[key] = forget, table.revision, copy, ids
        return copy
