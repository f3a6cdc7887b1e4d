"""One episode of a store."""

from collections.abc import Callable
from typing import Any


class StoredEpisode:
    """An episode as it was when it was looked up; its rows stay readable, also after it has left the store.

    Attributes:
      id: its number, which no other episode of the store ever has.
      metadata: what is known of it: ``length``, ``return``, ``ending`` and the user's own columns, as Python values.
        A column in which it has no value is missing.

    >>> import numpy as np, jaxbuffers as jb
    >>> store = jb.EpisodeStore()
    >>> i = store.add_episode({"obs": np.arange(3.0, dtype=np.float32), "is_last": np.arange(3) == 2})
    >>> episode = store[i]
    >>> len(episode), episode.metadata["ending"], episode.rows["obs"]
    (3, 'truncated', array([0., 1., 2.], dtype=float32))
    """

    def __init__(self, metadata: dict[str, Any], rows: Callable[[], Any]) -> None:
        self.id: int = metadata["id"]
        self.metadata = metadata
        self._read: Callable[[], Any] | None = rows
        self._rows: Any = None

    def __len__(self) -> int:
        """How many rows it has."""
        return self.metadata["length"]

    @property
    def rows(self) -> Any:
        """Its rows, a pytree of NumPy arrays ``[T + 1, ...]``, read-only: of a store on disk they are not copied.

        Raises:
          DamagedError: they are not those that were stored.
        """
        if self._read is not None:
            self._rows, self._read = self._read(), None
        return self._rows

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.metadata.items() if name != "id")
        return f"StoredEpisode({self.id}, {told})"
