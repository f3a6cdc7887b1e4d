"""StoreWindows: every legal window once, by its number."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbuffers.episodes.laws import UniformWindows
from jaxbuffers.episodes.window_draw import WindowDraw
from jaxbuffers.loading.raw import RawBatch, together
from jaxbuffers.loading.source import Source
from jaxbuffers.views import View


class StoreWindows(Source):
    """Every legal window of one or several stores, as they are now, once: a random-access source.

    Item i is a `RawBatch` of one window, for Grain's ``MapDataset.source(source).shuffle(seed).batch(size,
    batch_fn=jb.loading.together)`` and for PyTorch's ``DataLoader(source, size, shuffle=True,
    collate_fn=jb.loading.together)``. Workers, forked or spawned, open the stores themselves and need no device; what
    arrives goes through `read` in the process that learns.

    Args:
      stores: an `EpisodeStore`, ``store.select(fields)``, the path of a store, or a sequence of such, of equal rows.
      view: what a window is.
      where: which episodes, as in `EpisodeStore.sample`; for several stores a list, or one function.

    Raises:
      EmptyReplayError: a store has no legal window.
      StructureError: the stores have different rows, or texts.

    >>> import numpy as np, jaxbuffers as jb
    >>> store = jb.EpisodeStore()
    >>> ids = [store.add_episode({"x": np.arange(n, dtype=np.int32)}) for n in (3, 4)]
    >>> source = jb.loading.StoreWindows(store, jb.Sequences(2))
    >>> len(source), source.read(source.__getitems__([0, 4])).data["x"].tolist()
    (5, [[0, 1], [2, 3]])
    """

    def __init__(self, stores: Any, view: View, *, where: Any = None) -> None:
        super().__init__(stores, view, UniformWindows(), where)
        self._ends = np.cumsum([part.known().total for part in self.parts])

    def __len__(self) -> int:
        """How many windows there are."""
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> RawBatch:
        """Read the rows around one window."""
        return self.__getitems__([number])

    def __getitems__(self, numbers: Sequence[int]) -> RawBatch:
        """Read the rows around several windows, in their order."""
        wanted = np.array([self._checked(number) for number in numbers], np.int64)
        if not len(wanted):
            raise IndexError("no window was asked for: name one or more.")
        source = np.searchsorted(self._ends, wanted, side="right")
        pieces, places = [], []
        for part in np.unique(source).tolist():
            at = np.flatnonzero(source == part)
            first = int(self._ends[part - 1]) if part else 0
            pieces.append((part, self._window(part, wanted[at] - first)))
            places.append(at)
        raw = self._raw(pieces, (len(self), int(wanted[0])))
        if len(pieces) == 1:
            return raw
        order = np.argsort(np.concatenate(places))
        return together([_window(raw, i) for i in order.tolist()])

    def _window(self, part: int, number: np.ndarray) -> WindowDraw:
        """Return the windows with some numbers among those of one store."""
        chances = self.parts[part].known()
        at = np.searchsorted(chances.ends, number, side="right")
        rank = number - (chances.ends[at] - chances.weight[at])
        probability = np.full(len(number), 1 / len(self), np.float32)
        return WindowDraw(chances.episode[at], chances.kind.start_in(rank), chances.length[at], probability)

    def _checked(self, number: int) -> int:
        if not isinstance(number, int | np.integer) or not -len(self) <= number < len(self):
            raise IndexError(f"window {number!r} of {len(self)}")
        return int(number) % len(self)


def _window(raw: RawBatch, i: int) -> RawBatch:
    some = {name: value[i : i + 1] for name, value in vars(raw).items() if name != "rows"}
    return RawBatch(rows=tuple(leaf[i : i + 1] for leaf in raw.rows), **some)
