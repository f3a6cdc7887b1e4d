"""Drawing from a store: which episodes, which windows, and what of it is kept for the next draw."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxbuffers.batch import Data
from jaxbuffers.checks import check_key, check_part, positive
from jaxbuffers.episodes.chances import Chances
from jaxbuffers.episodes.laws import Law, UniformWindows
from jaxbuffers.episodes.random_words import seed_of
from jaxbuffers.episodes.window_reading import read, windows_of
from jaxbuffers.episodes.window_draw import WindowDraw
from jaxbuffers.errors import ConfigurationError, EmptyReplayError, ShapeError
from jaxbuffers.host.batch import HostBatch, text_names
from jaxbuffers.host.transfers import transfers
from jaxbuffers.texts import TextTable
from jaxbuffers.views import View

Where = np.ndarray | Callable[[Any], np.ndarray] | None
KEPT = 8  # combinations of view, law and mask whose sums are kept


class Sampling:
    """Draws windows from a store. Threads may share it.

    Args:
      store: has ``table()``, the metadata at one moment with a ``revision``; ``read(ids, starts, length)``; ``spec``;
        and ``texts``, the `TextTable` or None.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, tuple[int, Any, Chances]] = OrderedDict()
        self._checked: set[View] = set()

    def chances(self, view: View, law: Law, where: Where = None) -> Chances:
        """Return how likely each window is now."""
        self._check(view)
        check_part("law", law, Law)
        table = self._store.table()
        mask = np.array(where) if isinstance(where, np.ndarray) else where
        name = view, law.family, mask if callable(mask) else mask is None
        with self._lock:
            kept = self._kept.get(name)
            if kept is None or kept[0] != table.revision or not np.array_equal(kept[1], mask):
                kept = table.revision, mask, _weighed(table, windows_of(view, self._store.spec), law, mask)
                self._kept[name] = kept
            self._kept.move_to_end(name)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return kept[2]

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
        batch = read(self._store, view, draw, key)
        table = getattr(self._store, "texts", None)
        return HostBatch(batch, TextTable() if table is None else table, text_names(batch.data, self._store.spec))

    @transfers
    def sample(
        self, view: View[Data], batch_size: int, key: jax.Array, law: Law | None = None, where: Where = None
    ) -> HostBatch[Data]:
        """Draw windows and read them."""
        check_key(key)
        draw = self.draw(view, batch_size, seed_of(key), UniformWindows() if law is None else law, where)
        return self.read(view, draw, key)

    def count(self, view: View, where: Where = None) -> int:
        """How many legal windows there are."""
        return self.chances(view, UniformWindows(), where).total

    def _check(self, view: View) -> None:
        if view not in self._checked:
            check_part("view", view, View)
            view.check(self._store.spec)
            windows_of(view, self._store.spec)
            self._checked.add(view)

    def _empty(self, view: View, law: Law, where: Where) -> EmptyReplayError:
        table = self._store.table()
        if not (windows := self.count(view, where)):
            some = "" if where is None else " that where= leaves"
            return EmptyReplayError(
                f"no legal window for {view} in the {len(table['length'])} episodes of the store{some}; the longest has "
                f"{max(table['length'], default=0)} rows."
            )
        return EmptyReplayError(f"{law} gives none of the {windows} legal windows for {view} any weight.")


def _weighed(table: Any, kind: Any, law: Law, where: Where) -> Chances:
    length = np.asarray(table["length"], np.int64)
    windows = kind.count_in(length)
    if where is not None:
        windows = np.where(masked(table, where), windows, 0)
    weights = law.weights(table, windows) if windows.any() else windows
    return Chances.of(np.asarray(table["id"]), length, windows, weights, kind)


def masked(table: Any, where: Where) -> np.ndarray:
    """Return which episodes are meant: bool ``[n]``, all if ``where`` is None."""
    episodes = len(table["id"])
    if where is None:
        return np.ones(episodes, np.bool_)
    mask = where(table) if callable(where) else where
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = getattr(mask, "dtype", type(mask).__name__)
        raise ConfigurationError(f"where must be a bool array of NumPy, or a function that returns one; got {got}.")
    if mask.shape != (episodes,):
        raise ShapeError(
            f"where has shape {list(mask.shape)}, but the store has {episodes} episodes now. A function of the metadata, "
            f"where=lambda table: ..., always fits."
        )
    return mask
