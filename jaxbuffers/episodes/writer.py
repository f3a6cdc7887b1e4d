"""EpisodeWriter: the rows of parallel environments, which become episodes of a store when their last row comes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxbuffers.checks import one_of
from jaxbuffers.episodes import rows as checks
from jaxbuffers.episodes.rows import Finished, flag
from jaxbuffers.errors import DtypeError, ShapeError, StoreError, StructureError
from jaxbuffers.row import RowSpec, refuse_masked
from jaxbuffers.texts import TextTable


class EpisodeWriter:
    """Grows one open episode for each of E environments; `EpisodeStore.writer` makes one.

    An episode is committed when its last row comes, or the first of the next one: one commit for each `add`, however
    many end there. A row that opens an episode without ``is_first``, such as the first of a stream that was joined
    midway, is stored with ``is_first`` set: so every stored episode begins where its flags say, also in a ring.

    Open episodes are in memory only, and in a checkpoint that has the writer in its tree. Close the writer, or use it
    as a context manager: on leaving, open episodes are finished as truncated, or dropped where an exception is raised.

    Attributes:
      metadata: columns of your own for the episodes that end from now on; it may be changed at any time.
      texts: where texts go, the table of the store.

    >>> import numpy as np, jaxbuffers as jb
    >>> row = dict(obs=np.float32(0), is_first=np.bool_(True), is_last=np.bool_(False), is_terminal=np.bool_(False))
    >>> store = jb.EpisodeStore(row=row)
    >>> with store.writer(num_envs=2, metadata=dict(policy_version=7)) as writer:
    ...     for t in range(3):
    ...         ids = writer.add(dict(obs=np.full(2, t, np.float32), is_first=np.full(2, t == 0),
    ...                               is_last=np.array([t == 2, False]), is_terminal=np.zeros(2, bool)))
    >>> ids, store.metadata["stream"], store.metadata["ending"].tolist()
    (array([0]), array([0, 1]), ['truncated', 'truncated'])
    """

    def __init__(
        self,
        spec: RowSpec,
        num_envs: int | None,
        texts: TextTable,
        commit: Callable[[list[Finished]], list[int]],
        section: Callable[[], Any],
        metadata: Any,
    ) -> None:
        spec.require(("is_first", "is_last"), "EpisodeStore.writer")
        for name in checks.FLAGS:
            spec.require_scalar(name, np.bool_, "EpisodeStore.writer")
        self.metadata: dict[str, Any] = {} if metadata is None else metadata
        self.texts = texts
        self._spec, self._texts, self._commit, self._section = spec, texts, commit, section
        self._axes: tuple[int, ...] = () if num_envs is None else (num_envs,)
        self._streams = 1 if num_envs is None else num_envs
        self._open = [np.empty((self._streams, 0, *s), d) for s, d in zip(spec.shapes, spec.dtypes, strict=True)]
        self._fill = np.zeros(self._streams, np.int64)
        self._closed = False

    @property
    def open_rows(self) -> np.ndarray:
        """How many rows the open episode of each environment has, int64 ``[E]``: not stored yet."""
        return self._fill.copy()

    def add(self, rows: Any, mask: Any = None) -> np.ndarray:
        """Append rows, and commit the episodes that end with them.

        Args:
          rows: a pytree ``[E, ...]`` or ``[N, E, ...]``, as for `Replay.add`, N may be 0; texts as ``str`` in nested
            lists, or ids.
          mask: bool ``[E]`` or ``[N, E]``, which rows to take; None for all.

        Returns:
          The ids of the episodes that were committed, int64 ``[n]``, in the order in which they ended.

        Raises:
          StructureError, ShapeError, DtypeError: the rows are not those of the store, or their flags contradict one
            another. Nothing is taken.
          ConfigurationError: an episode that ends has more rows than the capacity. Nothing is taken.
          StoreError: they cannot be written, as where the disk is full. Nothing is taken: repeat the call.
        """
        with self._section():
            self._refuse_closed()
            leaves, written = self._checked(rows, mask)
            if not len(written):
                return np.zeros(0, np.int64)
            leaves = checks.interned(self._spec, leaves, self._texts, written)
            count = len(written)
            shaped = [
                np.asarray(leaf).reshape(count, self._streams, *leaf.shape[1 + len(self._axes) :]) for leaf in leaves
            ]
            return self._take(shaped, written.reshape(count, self._streams))

    def close(self, open: str = "truncate") -> np.ndarray:
        """End the writer.

        Args:
          open: "truncate" commits the open episodes, with ``is_last`` set in the newest row of each; "drop" forgets
            them.

        Returns:
          The ids of the episodes that were committed, int64 ``[n]``.
        """
        one_of("open", open, ("truncate", "drop"))
        with self._section():
            ids: list[int] = []
            if not self._closed and open == "truncate" and self._fill.any():
                episodes = [self._finished(int(e)) for e in np.flatnonzero(self._fill)]
                at = self._spec.paths.index(("is_last",))
                for each in episodes:
                    each.leaves[at][-1] = True
                ids = self._commit(episodes)
            self._closed = True
            self._fill[:] = 0
        return np.array(ids, np.int64)

    def text_ids(self) -> np.ndarray:
        """Return the ids of the texts in open episodes, int64 ``[n]``."""
        found = [np.zeros(0, np.int64)]
        for path, leaf in zip(self._spec.paths, self._open, strict=True):
            if path in self._spec.texts:
                found += [leaf[e, :n].ravel().astype(np.int64) for e, n in enumerate(self._fill.tolist())]
        return np.concatenate(found)

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self.close("truncate" if kind is None else "drop")

    def _checked(self, rows: Any, mask: Any) -> tuple[list[Any], np.ndarray]:
        """Return leaves ``[N, E, ...]``, or ``[N, ...]`` without an axis of environments, and which rows to take."""
        block = self._is_block(rows)
        if not block:
            rows = self._as_block(rows)
        leaves, lead = checks.leaves_of(self._spec, rows, 1 + len(self._axes), self._texts, least=0)
        if lead[1:] != self._axes:
            raise ShapeError(
                f"rows have the leading axes {lead if block else lead[1:]}, expected {self._axes} at the end."
            )
        shape = lead if block else lead[1:]
        written = np.ones(lead, np.bool_)
        if mask is not None:
            refuse_masked("mask", mask)
            if getattr(mask, "dtype", None) != np.bool_:
                raise DtypeError(f"mask must be a bool array of shape {list(shape)}; got {mask!r}.")
            if mask.shape != shape:
                raise ShapeError(f"mask must be a bool array of shape {list(shape)}; got {list(mask.shape)}.")
            written = np.asarray(mask).reshape(lead)
        last, terminal = (flag(self._spec, leaves, name) for name in ("is_last", "is_terminal"))
        if terminal is not None and (np.asarray(terminal) & ~np.asarray(last) & written).any():
            raise StructureError(
                "is_terminal is True where is_last is False: a terminal row is the last of its episode."
            )
        return leaves, written

    def _is_block(self, rows: Any) -> bool:
        """Say whether rows have an axis of moments; ``is_last`` tells, which is a scalar."""
        leaf = checks.top_level(rows, "is_last")
        return len(getattr(leaf, "shape", self._axes)) > len(self._axes)

    def _as_block(self, rows: Any) -> Any:
        return checks.with_axis(self._spec, rows)

    def _take(self, leaves: list[np.ndarray], written: np.ndarray) -> np.ndarray:
        at, end = (self._spec.paths.index((name,)) for name in ("is_first", "is_last"))
        first, last = leaves[at], leaves[end]
        before, finished = self._fill.copy(), list[Finished]()
        kept: dict[int, list[np.ndarray]] = {}
        try:
            for n in range(len(written)):
                for e in np.flatnonzero(written[n] & first[n] & (self._fill > 0)).tolist():
                    finished.append(self._finished(e))
                    kept.setdefault(e, finished[-1].leaves)
                    self._fill[e] = 0
                some = np.flatnonzero(written[n])
                if len(some):
                    self._grow(int(self._fill[some].max()) + 1)
                    for held, leaf in zip(self._open, leaves, strict=True):
                        held[some, self._fill[some]] = leaf[n, some]
                    self._open[at][some[self._fill[some] == 0], 0] = True
                    self._fill[some] += 1
                for e in np.flatnonzero(written[n] & last[n]).tolist():
                    finished.append(self._finished(e))
                    kept.setdefault(e, finished[-1].leaves)
                    self._fill[e] = 0
            return np.array(self._commit(finished) if finished else [], np.int64)
        except BaseException:
            for e, rows in kept.items():  # what was open before, and may have been written over
                for held, leaf in zip(self._open, rows, strict=True):
                    held[e, : before[e]] = leaf[: before[e]]
            self._fill = before
            raise

    def _finished(self, e: int) -> Finished:
        stream = e if self._axes else 0
        users = (
            dict(self.metadata) if isinstance(self.metadata, Mapping) else self.metadata
        )  # refused when it is stored
        return Finished([leaf[e, : self._fill[e]].copy() for leaf in self._open], stream, users)

    def _grow(self, rows: int) -> None:
        if rows > self._open[0].shape[1]:
            size = max(16, 2 * rows)
            for i, leaf in enumerate(self._open):
                self._open[i] = np.empty((self._streams, size, *leaf.shape[2:]), leaf.dtype)
                self._open[i][:, : leaf.shape[1]] = leaf

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StoreError("the writer is closed; make another one with store.writer().")
