"""EpisodeStore: whole episodes outside the device, durable where there is a path."""

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.episodes import columns as users
from jaxbuffers.episodes import compacting
from jaxbuffers.episodes import rows as _rows
from jaxbuffers.episodes.appending import append
from jaxbuffers.episodes.opening import opened
from jaxbuffers.episodes.readable import Readable
from jaxbuffers.episodes.rows import Finished
from jaxbuffers.episodes.where import integer, integers, once, per_episode
from jaxbuffers.episodes.writer import EpisodeWriter
from jaxbuffers.errors import (
    ShapeError,
    StoreError,
    StructureError,
    WrongProcessError,
)
from jaxbuffers.host.signals import section
from jaxbuffers.row import RowSpec
from jaxbuffers.texts import TextTable
from jaxbuffers.texts.undoing import only_if_done

R = TypeVar("R")


class EpisodeStore(Readable):
    """Whole episodes on disk or in memory, of any length, with what is known of them as columns.

    With a path, an episode is durable when `add_episode` returns: its rows, its columns and its texts, in one
    transaction. Whatever happens to the process later, it is there; what was not committed leaves no trace. There is
    one writer, and any number of readers in other processes, which see whole episodes only.

    Args:
      path: a folder, made where there is none; None to keep everything in memory.
      capacity: rows to keep; the oldest episodes leave, whole, when new ones come. None for no limit. It is not
        recorded: each opening for writing says it, and what is too much leaves with the next episode.
      row: one row, of arrays or ``jax.ShapeDtypeStruct``, and ``jb.text`` for texts. None to take it from the store, or
        from the first episode.
      columns: types of columns of your own, such as ``dict(success=bool)``; others are declared by their first value.
      segment_bytes: about how large the files are that hold the rows.
      read_only: read a store that another process may be writing. It is seen as it is now, and after each `refresh`.

    Attributes:
      texts: the `TextTable` of its texts, in the same file.

    Raises:
      StoreError: it cannot be opened: another writer has it, its rows are others, it is no store or a newer one.
      DamagedError: its catalog is damaged.

    >>> import numpy as np, jaxbuffers as jb
    >>> store = jb.EpisodeStore(capacity=1000)
    >>> rows = jb.episode_rows(np.zeros((3, 2), np.float32), np.zeros(2, np.int32), np.ones(2, np.float32), True, False)
    >>> store.add_episode(rows, dict(success=True))
    0
    >>> len(store), store.rows, store.metadata["return"]
    (1, 3, array([2.]))
    """

    def __init__(
        self,
        path: str | os.PathLike | None = None,
        capacity: int | None = None,
        *,
        row: Any = None,
        columns: Mapping[str, Any] | None = None,
        segment_bytes: int = 2**28,
        read_only: bool = False,
    ) -> None:
        self._core = opened(path, capacity, row, columns, segment_bytes, read_only)
        self.path = None if self._core.folder is None else os.path.dirname(self._core.folder)
        self.texts = TextTable.over(self._core.catalog.texts)
        self._writers: weakref.WeakSet[EpisodeWriter] = weakref.WeakSet()
        self._closed = False

    def add_episode(self, rows: Any, metadata: Mapping[str, Any] | None = None, *, stream: int = -1) -> int:
        """Store a whole episode; it is durable when this returns.

        Args:
          rows: a pytree of NumPy or JAX arrays ``[T + 1, ...]``, as `episode_rows` makes them. Fields marked
            ``jb.text`` take lists of ``str``, or ids of `texts`. The flags a row has must be those of one episode.
          metadata: columns of your own, each an int, a float, a bool, a str, or None.
          stream: where it comes from, such as the number of an environment.

        Returns:
          Its id.

        Raises:
          StructureError, ShapeError, DtypeError: the rows are not those of the store, or not one episode. Nothing is
            stored.
          ConfigurationError: it has more rows than the capacity. Nothing is stored.
          StoreError: it cannot be written, as where the disk is full. Nothing is stored.
        """
        return int(self.add_episodes([rows], [{} if metadata is None else metadata], stream=stream)[0])

    def add_episodes(
        self,
        episodes: Sequence[Any],
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        stream: int = -1,
        max_episodes: int | None = None,
    ) -> np.ndarray:
        """Store several whole episodes in one transaction, which takes hardly longer than one does for short ones.

        Args:
          episodes: the rows of each, as for `add_episode`.
          metadata: columns of your own for each, if any.
          stream: where they come from.
          max_episodes: how many the store may have then; the oldest leave in the same transaction. None for no limit.

        Returns:
          Their ids, int64 ``[n]``. Those that come before as many rows as the capacity, or before ``max_episodes``,
          have left already.

        Raises:
          StructureError, ShapeError, DtypeError, ConfigurationError, StoreError: as for `add_episode`, which says them
            of one. Nothing is stored, none of them.

        >>> import numpy as np, jaxbuffers as jb
        >>> store = jb.EpisodeStore()
        >>> store.add_episodes([{"obs": np.zeros(n, np.float32)} for n in (3, 1)], [dict(level=1), dict(level=2)])
        array([0, 1])
        """
        number = integer("stream", stream, -1)
        most = None if max_episodes is None else positive("max_episodes", max_episodes)
        if isinstance(episodes, Mapping) or isinstance(metadata, Mapping):
            raise StructureError("give a list of episodes, and a list of dicts as metadata; add_episode takes one.")
        if metadata is not None and len(metadata) != len(episodes):
            raise ShapeError(f"there are {len(episodes)} episodes, but metadata for {len(metadata)}.")
        if not len(episodes):
            return np.zeros(0, np.int64)
        with self._writing():
            spec = self._core.made.layout.spec if self._core.made else _rows.spec_of(episodes[0])
            checked = [_rows.leaves_of(spec, rows, 1, self.texts)[0] for rows in episodes]
            for leaves in checked:
                _rows.check_flags(spec, leaves)
            told: Sequence[Any] = [None] * len(episodes) if metadata is None else metadata
            given = [{} if each is None else each for each in told]
            self._settled(given)
            arrays = _rows.all_interned(spec, checked, self.texts)
            finished = [Finished(leaves, number, each) for leaves, each in zip(arrays, given, strict=True)]
            return np.array(self._commit(spec, finished, most), np.int64)

    def writer(self, num_envs: int | None = None, *, metadata: dict[str, Any] | None = None) -> EpisodeWriter:
        """Return what takes the rows of parallel environments, as `Replay.add` does, and stores their episodes.

        Args:
          num_envs: E; None for one, whose rows have no such axis.
          metadata: columns of your own for its episodes.

        Raises:
          StoreError: it is not known what a row is: open the store with ``row=``.
        """
        with self._section():
            self._refuse_readers()
            if self._core.made is None:
                raise StoreError("the store does not know what a row is: open it with row=.")
            spec = self._made.layout.spec
            made = EpisodeWriter(
                spec,
                None if num_envs is None else positive("num_envs", num_envs),
                self.texts,
                lambda episodes: self._commit(spec, episodes),
                self._writing,
                metadata,
            )
            users.settled(made.metadata, self._core.state.types)
            self._writers.add(made)
            return made

    def set(self, ids: Any, /, **columns: Any) -> None:
        """Change columns of your own; durable when this returns.

        Args:
          ids: an id, or some, int ``[n]``, each once.
          **columns: for each column one value for all, or a list or array ``[n]``. None takes the value away.

        Raises:
          UnknownEpisodeError: there is no such episode. Nothing is changed.
          DtypeError: a value is not of its column's type. Nothing is changed.

        >>> import numpy as np, jaxbuffers as jb
        >>> store = jb.EpisodeStore(columns=dict(judgment=float))
        >>> ids = [store.add_episode({"obs": np.zeros(3, np.float32)}) for _ in range(2)]
        >>> store.set(ids, judgment=[0.5, 1.0])
        >>> store.metadata["judgment"]
        array([0.5, 1. ])
        """
        with self._section():
            self._refuse_readers()
            wanted, types = once(integers("ids", ids)), self._core.state.types
            at = self._core.table.find(wanted).tolist()
            if not columns or not at:
                return
            given = {name: per_episode(name, values, len(at)) for name, values in columns.items()}
            records = [self._core.table.record(i) for i in at]
            for i, record in enumerate(records):
                found, types = users.settled({name: values[i] for name, values in given.items()}, types)
                for name in given:
                    record.pop(name, None)
                record |= found
            self._core.edit(at, records, list(given), types)

    def evict(self, count: int) -> np.ndarray:
        """Delete the oldest episodes, so many or as many as there are; return their ids, int64 ``[n]``."""
        number = positive("count", count, 0)
        with self._section():
            self._refuse_readers()
            ids = self._core.table["id"][:number].copy()
            self._core.remove(ids.tolist())
            return ids

    def delete(self, ids: Any) -> None:
        """Delete episodes by id, durably. Who has one open keeps its rows; its texts, until a sweep.

        Raises:
          UnknownEpisodeError: there is no such episode. Nothing is deleted.
        """
        with self._section():
            self._refuse_readers()
            wanted = once(integers("ids", ids))
            self._core.table.find(wanted)
            self._core.remove(wanted.tolist())

    def compact(self, below: float = 0.5) -> int:
        """Copy what is left of segments that have lost much to new ones, and delete them.

        Args:
          below: compact segments of whose rows a smaller share is still in use.

        Returns:
          How many segments were deleted.

        Raises:
          DamagedError: an episode that would be copied is damaged; it stays where it is.
          StoreError: the disk is full. What was copied until then is in order, and so is the rest.
        """
        with self._section():
            self._refuse_readers()
            return compacting.compact(self._core, compacting.share(below))

    def close(self) -> None:
        """Let go of the store; another process may write it then. Open episodes of writers are not in it.

        Raises:
          StoreError: the disk is full, and texts wait that were added to `texts` directly, or by rows of episodes that
            are open. The store stays open: make room, or free them with ``store.texts.sweep(store)``.
        """
        if not self._closed and not self._core.catalog.texts.elsewhere:
            with section(self._core.catalog.texts.lock):
                self.texts.close()
                self._closed = True

    def __enter__(self) -> "EpisodeStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise WrongProcessError(
            "an EpisodeStore cannot be copied or sent to another process. Send its path, and open it there: "
            "jb.EpisodeStore(path, read_only=True)."
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Let rows be added within; where that fails, their texts are not kept either."""
        with self._section():
            self._refuse_readers()
            with only_if_done(self._core.catalog.texts):
                yield

    def _refuse_readers(self) -> None:
        if not self._core.writable:
            raise StoreError(f"{self._core.catalog.path} was opened with read_only=True: nothing can be written.")

    def _settled(self, given: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Check the columns of some episodes; return their values, and the columns with those that are new."""
        types, found = self._core.state.types, []
        for each in given:
            values, types = users.settled(each, types)
            found.append(values)
        return found, types

    def _commit(self, spec: RowSpec, episodes: list[Finished], most: int | None = None) -> list[int]:
        found, types = self._settled([each.users for each in episodes])
        settled = [replace(each, users=values) for each, values in zip(episodes, found, strict=True)]
        return append(self._core, spec, settled, types, most)
