"""What can be read of a store: its columns, its episodes and their rows."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.episodes import reading
from jaxbuffers.episodes.core import Core, Rows
from jaxbuffers.episodes.episode import StoredEpisode
from jaxbuffers.episodes.sampled import Sampled
from jaxbuffers.episodes.table import Table
from jaxbuffers.episodes.text_ids import text_ids
from jaxbuffers.episodes.where import chosen, integers, metadata_of, one_id
from jaxbuffers.episodes.writer import EpisodeWriter
from jaxbuffers.errors import DamagedError, ShapeError, StoreError, UnknownEpisodeError, WrongProcessError
from jaxbuffers.host.signals import section
from jaxbuffers.row import RowSpec
from jaxbuffers.texts import TextTable

R = TypeVar("R")


class Readable(Sampled):
    """The half of an `EpisodeStore` that reads.

    Attributes:
      texts: the `TextTable` of its texts.
    """

    texts: TextTable
    _core: Core
    _closed: bool
    _writers: "weakref.WeakSet[EpisodeWriter]"

    def __len__(self) -> int:
        """How many episodes there are."""
        return len(self.table())

    @property
    def rows(self) -> int:
        """How many rows all episodes have."""
        with self._looking():
            return self._core.total

    @property
    def metadata(self) -> dict[str, np.ndarray]:
        """The columns of the catalog, ``[n]`` each, in order of insertion; read-only, and never changed afterwards.

        ``id`` (int64, never used twice), ``length`` (rows), ``stream`` (-1: not said), ``return`` (the sum of rewards;
        NaN without scalar rewards), ``ending`` ("terminated", "truncated", "cut": no last row came, "unknown": no
        flags), ``time`` of insertion (seconds since 1970), ``segment`` and ``offset``, where its rows are; and the
        user's. Where an episode has no value, a float column has NaN, one of str None, one of int or bool is masked.

        >>> import numpy as np, jaxbuffers as jb
        >>> store = jb.EpisodeStore()
        >>> ids = [store.add_episode({"obs": np.zeros(n, np.float32)}, dict(level=n)) for n in (3, 5)]
        >>> store.metadata["level"] > 3
        array([False,  True])
        """
        return metadata_of(self.table())

    @property
    def spec(self) -> RowSpec | None:
        """What a row is; None before the first episode."""
        with self._looking():
            return self._made.layout.spec if self._core.made else None

    def table(self) -> Table:
        """Return the columns as one snapshot, which says by its ``revision`` whether another is the same."""
        with self._looking():
            return self._core.table

    def refresh(self) -> bool:
        """In a reader, see what the writer has committed since; return whether there was anything.

        Raises:
          DamagedError: the catalog is damaged.
          StoreError: there is another store in its place, or none.
        """
        with self._section():
            if self._core.writable:
                return False
            self._core.catalog.texts.verify()
            return self._core.refresh()

    def __getitem__(self, id: int) -> StoredEpisode:
        """Return an episode by its id, which is not its place.

        Raises:
          UnknownEpisodeError: there is none of that id.
        """
        return self._episode(one_id(id), None)

    def __contains__(self, id: object) -> bool:
        """Say whether there is an episode of this id."""
        return bool((self.table()["id"] == one_id(id)).any())

    def __iter__(self) -> Iterator[StoredEpisode]:
        """Go through the episodes in order of insertion; those that leave meanwhile are left out."""
        return self.episodes()

    def episodes(self, where: Any = None, fields: Sequence[str] | None = None) -> Iterator[StoredEpisode]:
        """Go through some episodes in order of insertion; those that leave meanwhile are left out.

        Args:
          where: bool ``[n]``, such as ``store.metadata["return"] > 5``, or a function that makes one of the columns.
          fields: read only these fields of the rows, and give them as a dict; see `select`.
        """
        where = self._sampling.lasting(where)
        with self._looking():
            table = self._core.table
            ids = table["id"][chosen(table, where)].tolist()
        return self._each(ids, fields)

    def select(self, fields: Sequence[str]) -> "Selection":
        """Return the store with some fields of its rows only: nothing else is read.

        >>> import numpy as np, jaxbuffers as jb
        >>> store = jb.EpisodeStore()
        >>> i = store.add_episode({"image": np.zeros((3, 8, 8), np.uint8), "reward": np.arange(3, dtype=np.float32)})
        >>> store.select(["reward"])[i].rows
        {'reward': array([0., 1., 2.], dtype=float32)}
        """
        return Selection(self, reading.names_of(fields))

    def read(
        self, ids: Any, starts: Any, length: int, fields: Sequence[str] | None = None, *, pad: bool = False
    ) -> Any:
        """Return windows of rows, each within its episode.

        Args:
          ids: int ``[B]``, the episodes.
          starts: int ``[B]``, the first row of each window, from 0.
          length: L, rows of a window.
          fields: only these top-level fields, as a dict.
          pad: take windows that lie within their episode in part: the rest of their rows is zero.

        Returns:
          A pytree of NumPy arrays ``[B, L, ...]``, which are the caller's; texts are ids.

        Raises:
          UnknownEpisodeError: an episode is not in the store, or left it while it was read.
          ShapeError: a window is not within its episode.
          DamagedError: the bytes are not those that were stored.
        """
        episodes, begins, size = integers("ids", ids), integers("starts", starts), positive("length", length)
        if episodes.shape != begins.shape:
            raise ShapeError(f"ids {episodes.shape} and starts {begins.shape} must have one length.")

        def windows() -> Any:
            made, table = self._made, self._core.table
            wanted = reading.leaves_of(made.layout.spec, fields)
            lengths = table["length"][table.find(episodes)]
            reach = min(size, 2**62)  # where starts and length are huge, their sum is beyond int64
            inside = (begins > -reach) & (begins < lengths) if pad else (begins >= 0) & (begins <= lengths - reach)
            if (wrong := ~inside).any():
                i = int(np.argmax(wrong))
                raise ShapeError(
                    f"rows {begins[i]} to {int(begins[i]) + size - 1} of episode {episodes[i]} were asked for, which "
                    f"has {lengths[i]} rows."
                )
            found = reading.windows(self._core, made, episodes, begins, size, wanted)
            return reading.tree_of(made.layout.spec, found, fields)

        return self._reading(windows)

    def text_ids(self) -> np.ndarray:
        """Return the ids of all texts in its rows, int64 ``[n]``, so that `TextTable.sweep` keeps them."""
        with self._section():
            held = [self._reading(lambda: text_ids(self._core)), *(writer.text_ids() for writer in self._writers)]
            return np.unique(np.concatenate(held))

    def __repr__(self) -> str:
        held = f"{len(self._core.table)} episodes, {self._core.total} rows"
        return f"EpisodeStore({str(self._core.catalog.path)!r}, {'closed' if self._closed else held})"

    def _section(self) -> Any:
        """Return what to enter so that a call is whole, and alone."""
        return section(self._looking())

    def _looking(self) -> Any:
        """Return the lock alone, for what no exception can leave half done."""
        texts = self._core.catalog.texts
        if texts.elsewhere:
            raise WrongProcessError(
                f"the store was opened in process {texts.process}, and this is a process forked from it: open it here, "
                f"jb.EpisodeStore(path, read_only=True)."
            )
        if self._closed:
            raise StoreError(f"{self._core.catalog.path} was closed; open it with jb.EpisodeStore(path).")
        return texts.lock

    @property
    def _made(self) -> Rows:
        if self._core.made is None:
            raise UnknownEpisodeError("the store has no episodes yet, and does not know what a row is.")
        return self._core.made

    def _each(self, ids: list[int], fields: Sequence[str] | None) -> Iterator[StoredEpisode]:
        for i in ids:
            try:
                episode = self._episode(i, fields)
            except UnknownEpisodeError:
                continue
            yield episode

    def _episode(self, i: int, fields: Sequence[str] | None) -> StoredEpisode:
        def look() -> StoredEpisode:
            made, table = self._made, self._core.table
            wanted = reading.leaves_of(made.layout.spec, fields)
            record = table.record(int(table.find(i)))
            return StoredEpisode(record, reading.whole(self._core, made, record, wanted, fields))

        return self._reading(look)

    def _reading(self, read: Callable[[], R]) -> R:
        """Read something; where the writer has moved or deleted it meanwhile, once more with what is there now."""
        with self._looking():
            try:
                return read()
            except (FileNotFoundError, UnknownEpisodeError) as error:
                if not self.refresh():
                    if isinstance(error, UnknownEpisodeError):
                        raise
                    raise DamagedError(f"{error.filename or error} is missing.") from error
            except DamagedError:
                self._core.catalog.texts.verify()  # it may be in order, and another store's
                raise
            try:
                return read()
            except FileNotFoundError as error:
                raise UnknownEpisodeError(f"{error.filename} was deleted while it was read: read anew.") from error


class Selection(Sampled):
    """Some fields of the rows of a store; `EpisodeStore.select` makes one."""

    def __init__(self, store: Readable, fields: list[str]) -> None:
        self.store, self.fields, self.texts = store, fields, store.texts

    @property
    def spec(self) -> RowSpec | None:
        """What is left of a row; None before the first episode."""
        whole = self.store.spec
        return None if whole is None else reading.part_of(whole, self.fields)

    def table(self) -> Table:
        """Return the columns as one snapshot."""
        return self.store.table()

    def __len__(self) -> int:
        """How many episodes there are."""
        return len(self.store)

    def __getitem__(self, id: int) -> StoredEpisode:
        """Return an episode by its id."""
        return self.store._episode(one_id(id), self.fields)

    def __iter__(self) -> Iterator[StoredEpisode]:
        """Go through all episodes."""
        return self.store.episodes(fields=self.fields)

    def episodes(self, where: Any = None) -> Iterator[StoredEpisode]:
        """Go through some episodes; see `EpisodeStore.episodes`."""
        return self.store.episodes(where, self.fields)

    def read(self, ids: Any, starts: Any, length: int, *, pad: bool = False) -> Any:
        """Return windows of rows; see `EpisodeStore.read`."""
        return self.store.read(ids, starts, length, self.fields, pad=pad)
