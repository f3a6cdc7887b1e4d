"""Drawing from a store: which episodes, which windows, and what of it is kept for the next draw."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxbuffers.batch import Data
from jaxbuffers.checks import check_key, check_part, positive
from jaxbuffers.episodes.among import Among, Arrays
from jaxbuffers.episodes.chances import Chances
from jaxbuffers.episodes.laws import Law, UniformWindows
from jaxbuffers.episodes.random_words import seed_of
from jaxbuffers.episodes.table import Table
from jaxbuffers.episodes.where import chosen, of_columns
from jaxbuffers.episodes.window_draw import WindowDraw
from jaxbuffers.episodes.window_reading import read, windows_of
from jaxbuffers.errors import EmptyReplayError, UnknownEpisodeError
from jaxbuffers.host.batch import HostBatch, text_names
from jaxbuffers.host.transfers import transfers
from jaxbuffers.row import RowSpec
from jaxbuffers.views import View
from jaxbuffers.windows.base import Windows

Where = np.ndarray | Callable[[Any], np.ndarray] | None
ATTEMPTS = 10
KEPT = 8  # combinations of view, law and mask whose sums are kept


class Sampling:
    """Draws windows from a store. Threads may share it.

    Args:
      store: an `EpisodeStore`, or some fields of one.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._lock = threading.RLock()  # a function of the user's may ask again
        self._kept: OrderedDict[Any, tuple[int, Any, Chances]] = OrderedDict()
        self._checked: set[View] = set()
        self._arrays = Arrays()

    def chances(self, view: View, law: Law, where: Where = None) -> Chances:
        """Return how likely each window is now."""
        self._check(view)
        check_part("law", law, Law)
        table = self._store.table()
        with self._lock:
            mask = self._arrays.checked(table, where)
            name = view, law.family, mask if callable(mask) else mask is None
            kept = self._kept.get(name) if (known := _hashable(name)) else None
            if kept is None or kept[0] != table.revision or not _same(kept[1], mask):
                kept = table.revision, mask, _weighed(table, view, windows_of(view, self._spec()), law, mask)
            if known:
                self._kept[name] = kept
                self._kept.move_to_end(name)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return kept[2]

    def lasting(self, where: Where) -> Where:
        """Return what chooses the same episodes as ``where`` does now, however the store changes."""
        if where is None or callable(where):
            return where
        table = self._store.table()
        with self._lock:
            return Among(table["id"][chosen(table, self._arrays.checked(table, where))])

    def draw(self, view: View, batch_size: int, seed: tuple[int, ...], law: Law, where: Where = None) -> WindowDraw:
        """Point at ``batch_size`` windows."""
        size = positive("batch_size", batch_size)
        chances = self.chances(view, law, where)
        if not chances.total:
            raise self._empty(view, law, where)
        return chances.draw(law, seed, size)

    @transfers
    def read(self, view: View[Data], draw: WindowDraw, key: jax.Array) -> HostBatch[Data]:
        """Read windows."""
        self._check(view)
        batch = read(self._store.read, self._spec(), view, draw, key)
        return HostBatch(batch, self._store.texts, text_names(batch.data, self._spec()))

    @transfers
    def sample(
        self, view: View[Data], batch_size: int, key: jax.Array, law: Law | None = None, where: Where = None
    ) -> HostBatch[Data]:
        """Draw windows and read them."""
        check_key(key)
        law = UniformWindows() if law is None else law
        seed = seed_of(key)
        for attempt in range(1, ATTEMPTS):
            try:
                return self.read(view, self.draw(view, batch_size, seed, law, where), key)
            except UnknownEpisodeError:  # an episode has left the store between the two: draw others
                seed = (*seed, attempt)
        return self.read(view, self.draw(view, batch_size, seed, law, where), key)

    def count(self, view: View, where: Where = None) -> int:
        """How many legal windows there are."""
        return self.chances(view, UniformWindows(), where).total

    def _check(self, view: View) -> None:
        check_part("view", view, View)
        if view not in self._checked:
            view.check(self._spec())
            windows_of(view, self._spec())
            self._checked.add(view)

    def _spec(self) -> RowSpec:
        if (spec := self._store.spec) is None:
            raise EmptyReplayError("the store has no episode yet, and does not know what a row is.")
        return spec

    def _empty(self, view: View, law: Law, where: Where) -> EmptyReplayError:
        table = self._store.table()
        if not (windows := self.count(view, where)):
            some = "" if where is None else " that where= leaves"
            return EmptyReplayError(
                f"no legal window for {view} in the {len(table)} episode{'s' * (len(table) != 1)} of the store{some}; "
                f"the longest has {table['length'].max(initial=0)} rows."
            )
        return EmptyReplayError(f"{law} gives none of the {windows} legal windows for {view} any weight.")


def _weighed(table: Table, view: View, kind: Windows, law: Law, where: Where) -> Chances:
    length, ended = table["length"], np.ones(len(table), np.bool_)
    if "is_last" in view.fields:  # comparing texts takes time
        ended = table["ending"] != "cut"
    windows = kind.count_in(length, ended)
    if where is not None:
        only = np.zeros(len(table), np.bool_)
        only[chosen(table, where)] = True
        windows = np.where(only, windows, 0)
    weights = of_columns(lambda columns: law.weights(columns, windows), table) if windows.any() else windows
    return Chances.of(table["id"], length, windows, weights, kind)


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else a is b or a == b


def _hashable(name: Any) -> bool:
    try:
        hash(name)
    except TypeError:  # a function of the user's is none: what it gives is computed each time
        return False
    return True
