"""A store as several processes read it: what may be drawn is settled once, rows are read wherever they are wanted."""

import os
from typing import Any

import numpy as np

from jaxbuffers.episodes.chances import Chances
from jaxbuffers.episodes.laws import Law
from jaxbuffers.episodes.sampling import Sampling, Where
from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.episodes.window_draw import WindowDraw
from jaxbuffers.episodes.window_reading import windows_of
from jaxbuffers.errors import ConfigurationError, EmptyReplayError, WrongProcessError
from jaxbuffers.row import RowSpec, row_of
from jaxbuffers.views import View


class Part:
    """One store, or some fields of one, and what a law makes of it now.

    In another process, forked or spawned, the store is opened again from its path, read only.

    Args:
      store: an `EpisodeStore`, ``store.select(fields)``, or the path of one.
      view: what a window is.
      law: how likely windows are.
      where: which episodes.
    """

    def __init__(self, store: Any, view: View, law: Law, where: Where) -> None:
        if isinstance(store, str | os.PathLike):
            store = EpisodeStore(store, read_only=True)
        whole = getattr(store, "store", store)
        if not isinstance(whole, EpisodeStore):
            raise ConfigurationError(f"a source reads an EpisodeStore, or its path, got {store!r}.")
        self.store, self.path, self.fields = store, whole.path, getattr(store, "fields", None)
        self._process, self.view = os.getpid(), view
        sampling = Sampling(store)
        if not sampling.count(view, where):
            sampling.draw(view, 1, (0,), law, where)  # raises, and says why
        self._arrays: tuple[np.ndarray, ...] = ()
        self.chances: Chances | None = sampling.chances(view, law, where)
        if not self.chances.total:
            raise EmptyReplayError(f"{law} gives none of the windows for {view} any weight.")
        assert whole.spec is not None
        self._row = row_of(whole.spec)

    @property
    def spec(self) -> RowSpec:
        """What a row is."""
        found = self._here().spec
        assert found is not None
        return found

    def known(self) -> Chances:
        """Return how likely each window is."""
        if self.chances is None:
            episode, length, windows, weight, ends = self._arrays
            self.chances = Chances(episode, length, windows, weight, ends, windows_of(self.view, self.spec))
        return self.chances

    def around(self, draw: WindowDraw) -> tuple[np.ndarray, ...]:
        """Return the leaves of the rows around windows, ``[B, K, ...]``."""
        count = self.view.before + self.view.after
        rows = self._here().read(draw.episode, draw.start - self.view.before, count, pad=True)
        return tuple(self.spec.treedef.flatten_up_to(rows))

    def read(self, ids: np.ndarray, starts: np.ndarray, length: int) -> Any:
        """Return windows of rows."""
        return self._here().read(ids, starts, length)

    def _here(self) -> Any:
        """Return the store, as it is open in this process."""
        if self.store is None or self._process != os.getpid():
            if self.path is None:
                raise WrongProcessError(
                    "a store in memory is in one process only: give the store a path, or read without workers."
                )
            whole = EpisodeStore(self.path, row=self._row, read_only=True)
            self.store = whole if self.fields is None else whole.select(self.fields)
            self._process = os.getpid()
        return self.store

    def __getstate__(self) -> dict[str, Any]:
        if self.path is None:
            raise WrongProcessError(
                "a store in memory cannot be sent to another process: give the store a path, or read without workers."
            )
        chances = self.known()
        arrays = chances.episode, chances.length, chances.windows, chances.weight, chances.ends
        return vars(self) | {"store": None, "chances": None, "_arrays": arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
