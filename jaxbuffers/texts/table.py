"""TextTable: texts on the host, each stored once, named by int32 ids in the rows."""

import os
import reprlib
import threading
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    ShapeError,
    StructureError,
    TextTableFullError,
    UnknownTextError,
    positive,
)
from jaxbuffers.texts.coding import decode, digest, encode
from jaxbuffers.texts.live import as_ids, ids_of
from jaxbuffers.texts.memory import MemoryStore
from jaxbuffers.texts.remap import UNKNOWN, Remap
from jaxbuffers.texts.sqlite import SqliteStore

NULL = -1
CHUNK = 1000  # texts that are read at a time


class TextTable:
    """A side table of texts: equal texts are stored once, and rows hold their int32 ids.

    Texts are told apart by their 128-bit digest and, where a digest is known already, by all their bytes. An id
    is never used for another text, and the id of a text that was freed raises. No two tables of a process give the
    same id; but a file brings the ids it was given elsewhere, which may be the same as ids given here before it was
    opened: keep to each state's own table. -1 names no text, and so does 0, which memory holds that was never written.

    One thread may write while others read.

    Args:
      path: None to keep texts in memory, or a file: see `commit`.
      max_bytes: how many bytes of text to keep; `TextTableFullError` beyond. None for no limit.
      compress: whether to keep texts compressed (zlib). A file keeps what it was made with.
      cache_bytes: with a path, how much of the file to hold in memory.
      read_only: open a file that another process may be writing.

    >>> import jaxbuffers as jb
    >>> table = jb.TextTable()
    >>> ids = table.intern(["open the door", "go north", "open the door"])
    >>> bool(ids[0] == ids[2]), len(table)
    (True, 2)
    >>> table.lookup(ids[:2])
    ['open the door', 'go north']
    """

    def __init__(
        self,
        path: str | os.PathLike | None = None,
        *,
        max_bytes: int | None = None,
        compress: bool | None = None,
        cache_bytes: int = 2**26,
        read_only: bool = False,
    ) -> None:
        if max_bytes is not None:
            positive("max_bytes", max_bytes)
        positive("cache_bytes", cache_bytes)
        if path is None and read_only:
            raise ConfigurationError("read_only=True needs the path of a file.")
        self.path = path
        self.max_bytes = max_bytes
        self._store = (
            MemoryStore(bool(compress)) if path is None else SqliteStore(path, compress, cache_bytes, read_only)
        )
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """How many texts there are."""
        with self._lock:
            return len(self._store)

    @property
    def nbytes(self) -> int:
        """How many bytes the texts take, as they are kept; the index over them comes on top."""
        with self._lock:
            return self._store.nbytes

    def intern(self, texts: Any) -> Any:
        """Store texts that are not here yet, and return the ids of all.

        Args:
          texts: a ``str``, None for no text, or a (nested) list or NumPy array of them.

        Returns:
          int32, in the shape of ``texts``.

        Raises:
          DtypeError, ShapeError: something is not a text, or lists have different lengths. Nothing is stored.
          TextTableFullError: over ``max_bytes``, or out of ids. Nothing is stored.
          TextFileError: the file cannot be written, as where the disk is full. Nothing is stored.
        """
        shape, flat = _flatten(texts)
        data = [None if text is None else encode(text) for text in flat]
        with self._lock:
            ids = self._intern([x for x in data if x is not None])
        named = iter(ids)
        result = np.array([NULL if x is None else next(named) for x in data], np.int32).reshape(shape)
        return result if shape else np.int32(result)

    def lookup(self, ids: Any) -> Any:
        """Return the texts of ids.

        Args:
          ids: an int, or an integer array of any shape.

        Returns:
          A ``str`` for one id, (nested) lists for arrays; None for -1 and for 0.

        Raises:
          UnknownTextError: an id was not given by this table, or its text has been freed.
        """
        array = integers(ids)
        wanted = set(array.ravel().tolist()) - {NULL, 0}
        found: dict[int, str | None] = {i: decode(data) for i, data in self._read(wanted).items()}
        found |= {NULL: None, 0: None}
        return _nested(array.tolist(), found)

    def ids(self) -> np.ndarray:
        """Return the ids of all texts that are here, int32 ``[n]``, oldest first."""
        with self._lock:
            return np.sort(np.fromiter(self._store.ids(), np.int32))

    def digests(self, ids: Any) -> np.ndarray:
        """Return what identifies texts on every host: uint8 ``[..., 16]``, zeros for no text."""
        array = integers(ids)
        found = {i: digest(data) for i, data in self._read(set(array.ravel().tolist()) - {NULL, 0}).items()}
        flat = b"".join(found.get(i, bytes(16)) for i in array.ravel().tolist())
        return np.frombuffer(flat, np.uint8).reshape(*array.shape, 16)

    def fingerprint(self, ids: Any) -> bytes:
        """Return what tells whether ids mean the same texts in another table: 16 bytes.

        Args:
          ids: an int, or an integer array of any shape, in any order; repeated ones count once, 0 and -1 do not count.

        Returns:
          BLAKE2b with 128 bits over the ids and the digests of their texts.

        Raises:
          UnknownTextError: an id was not given by this table, or its text has been freed.

        >>> import jaxbuffers as jb
        >>> here, there = jb.TextTable(), jb.TextTable()
        >>> ids = here.intern(["a", "b"])
        >>> here.fingerprint(ids) == here.fingerprint(ids[::-1]), here.fingerprint(ids) == here.fingerprint(ids[:1])
        (True, False)
        """
        wanted = np.setdiff1d(integers(ids), [NULL, 0])
        total = blake2b(digest_size=16)
        for start in range(0, len(wanted), CHUNK):  # so that not all texts are in memory at once
            some = wanted[start : start + CHUNK].tolist()
            found = self._read(some)
            total.update(b"".join(i.to_bytes(8, "little", signed=True) + digest(found[i]) for i in some))
        return total.digest()

    def sweep(self, states: Any, pins: Any = (), candidates: Any = None) -> int:
        """Free the texts that nothing refers to any more.

        States are immutable and can be forked, so this marks what is in all of them: give *every* state that will
        be read again, and as pins the ids held elsewhere, such as in batches or in a checkpoint.

        Args:
          states: `ReplayState`, or any pytree of them, with fields marked ``jb.text``.
          pins: a pytree of int32 arrays, further ids to keep.
          candidates: int32 ``[n]``, free only these, such as what an `add` overwrote; None for all.

        Returns:
          How many texts were freed; their ids raise from now on.

        Raises:
          UnknownTextError: a state refers to a text that is not in this table; nothing is freed.
        """
        live = np.concatenate([ids_of(states), as_ids(pins)]).astype(np.int64)
        live = live[live > 0]
        with self._lock:
            known = np.fromiter(self._store.ids(), np.int64)
            if (strange := live[~np.isin(live, known)]).size:
                raise _unknown(int(strange[0]))
            gone = known[~np.isin(known, live)]
            if candidates is not None:
                gone = np.intersect1d(gone, as_ids(candidates))
            self._store.drop(gone.tolist())
        return len(gone)

    def merge(self, other: "TextTable") -> Remap:
        """Take over every text of another table, and return what turns its ids into ours."""
        if not isinstance(other, TextTable):
            raise StructureError(
                f"expected a jb.TextTable, got {type(other).__name__}; open a file with TextTable(path)."
            )
        with other._lock:
            items = list(other._store.items())
        with self._lock:
            ours = self._intern([data for _, data in items])
        return Remap.of([i for i, _ in items], ours)

    def commit(self) -> None:
        """Make every text durable: after this, nothing that happens to the process loses one. No-op in memory.

        Commit first, then save the states that refer to the texts; then `purge`.
        """
        with self._lock:
            self._store.commit()

    def purge(self) -> None:
        """Delete texts from the file that `sweep` has freed. Call it once no save refers to them any more.

        Until then they are there again when the file is opened anew, as after a crash.
        """
        with self._lock:
            self._store.purge()

    def close(self) -> None:
        """Commit, and let go of the file."""
        with self._lock:
            self._store.close()

    def __enter__(self) -> "TextTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _intern(self, texts: list[bytes]) -> list[int]:
        store, found, new = self._store, [], {}
        for data in texts:
            key = digest(data)
            i = store.find(key, data)
            found.append(i)
            if i is None:
                new[data] = key
        kept = {data: store.pack(data) for data in new}
        if self.max_bytes is not None and new:
            size = sum(map(len, kept.values()))
            if store.nbytes + size > self.max_bytes:
                raise TextTableFullError(
                    f"{len(new)} new texts take {size} bytes, the table has {store.nbytes} of max_bytes="
                    f"{self.max_bytes}. Sweep it, or raise the limit."
                )
        store.reserve(len(new))
        given = {data: store.add(key, kept[data]) for data, key in new.items()}
        return [given[data] if i is None else i for i, data in zip(found, texts, strict=True)]

    def _read(self, wanted: Iterable[int]) -> dict[int, bytes]:
        with self._lock:  # a text that is read is not freed meanwhile
            found = self._store.read(wanted)
        for i in wanted:
            if i not in found:
                raise _unknown(i)
        return found


class _Flat(NamedTuple):
    shape: tuple[int, ...]
    items: list[str | None]


def _flatten(texts: Any) -> _Flat:
    if texts is None or isinstance(texts, str):
        return _Flat((), [texts])
    if isinstance(texts, np.ndarray):
        return _flatten(texts.tolist()) if texts.size else _Flat(texts.shape, [])
    if not isinstance(texts, list | tuple):
        raise DtypeError(f"expected a str or a list of them, got {type(texts).__name__} {reprlib.repr(texts)}.")
    parts = [_flatten(text) for text in texts]
    if len({part.shape for part in parts}) > 1:
        raise ShapeError("lists of texts have different lengths; fill them up with None.")
    return _Flat((len(parts), *(parts[0].shape if parts else ())), [text for part in parts for text in part.items])


def _nested(ids: Any, found: dict[int, str | None]) -> Any:
    return [_nested(i, found) for i in ids] if isinstance(ids, list) else found[ids]


def integers(ids: Any) -> np.ndarray:
    """Return ids as int64, of the same shape."""
    array = np.asarray(ids)
    if array.dtype.kind not in "iu" and array.size:
        raise DtypeError(f"ids must be integers, got {array.dtype}{list(array.shape)}.")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise _unknown(int(array.max()))
    return array.astype(np.int64)


def _unknown(i: int) -> UnknownTextError:
    if i == UNKNOWN:
        return UnknownTextError("text id -2 is what a Remap returns for ids that it does not know.")
    return UnknownTextError(
        f"text id {i} is not in this table: it was freed by sweep(), never committed, or given by another table."
    )
