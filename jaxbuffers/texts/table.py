"""TextTable: texts on the host, each stored once, named by int32 ids in the rows."""

import os
from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import Any

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.errors import ConfigurationError, StructureError, TextTableFullError, WrongProcessError
from jaxbuffers.texts.backup import whole_file
from jaxbuffers.texts.coding import decode, digest, encode
from jaxbuffers.texts.live import as_ids, references
from jaxbuffers.texts.memory import MemoryStore
from jaxbuffers.texts.nested import NULL, flatten, integers, nested, unknown
from jaxbuffers.texts.remap import Remap
from jaxbuffers.texts.sqlite import SqliteStore

CHUNK = 1000  # texts that are read at a time


class TextTable:
    """A side table of texts: equal texts are stored once, and rows hold their int32 ids.

    Texts are told apart by their 128-bit digest and, where a digest is known already, by all their bytes. An id
    is never used for another text, and the id of a text that was freed raises. No two tables of a process give the
    same id; but a file brings the ids it was given elsewhere, which may be the same as ids given here before it was
    opened: keep to each state's own table. -1 names no text, and so does 0, which memory holds that was never written.

    One thread may write while others read. A table belongs to the process that made it: one that is forked from it can
    read a table in memory, and opens a file anew.

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

    @classmethod
    def over(cls, store: MemoryStore | SqliteStore) -> "TextTable":
        """Make a table of texts that lie beside something else, in a file that is open already."""
        table = cls.__new__(cls)
        table.path = None if isinstance(store, MemoryStore) else store.file.path
        table.max_bytes, table._store = None, store
        return table

    def __len__(self) -> int:
        """How many texts there are."""
        with self._store.lock:
            return len(self._store)

    @property
    def nbytes(self) -> int:
        """How many bytes the texts take, as they are kept; the index over them comes on top."""
        with self._store.lock:
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
          WrongProcessError: this process was forked from the one that made the table. Nothing is stored.
        """
        shape, flat = flatten(texts)
        data = {text: encode(text) for text in dict.fromkeys(flat) if text is not None}
        with self._store.lock:
            ids: dict[str | None, int] = dict(zip(data, self._intern(data.values()), strict=True))
        ids[None] = NULL
        result = np.array([ids[text] for text in flat], np.int32).reshape(shape)
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
        return nested(array.tolist(), found)

    def ids(self) -> np.ndarray:
        """Return the ids of all texts that are here, int32 ``[n]``, oldest first."""
        with self._store.lock:
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
        be read again, and as pins the ids held elsewhere, such as in a checkpoint. Everything given is checked before
        anything is freed.

        Args:
          states: a pytree of `ReplayState`, `HostReplay`, `Demonstrations`, `HostBatch`, of which the fields marked
            ``jb.text`` count; and of `RolloutState`, `RecorderState`, `Batch`, `Minibatches`, which have no marks:
            every integer of 32 bits or more in their rows that names a text keeps it, whatever it means.
          pins: a pytree of int32 arrays, further ids to keep; batches may stand here too.
          candidates: int32 ``[n]``, free only these, such as what `Replay.add` overwrote; None for all.

        Returns:
          How many texts were freed; their ids raise from now on.

        Raises:
          StructureError: ``states`` has a leaf that is no state, batch or buffer, or one of another table; nothing is
            freed.
          DtypeError: a pin is no array of ids; nothing is freed.
          UnknownTextError: a state refers to a text that is not in this table; nothing is freed.
        """
        named, possible = references(states, self, pins)
        named = named[named > 0]
        some = None if candidates is None else as_ids(candidates)
        with self._store.lock:
            known = np.fromiter(self._store.ids(), np.int64)
            if (strange := named[~np.isin(named, known)]).size:
                raise unknown(int(strange[0]))
            gone = known[~np.isin(known, np.concatenate([named, possible]))]
            if some is not None:
                gone = np.intersect1d(gone, some)
            self._store.drop(gone.tolist())
        return len(gone)

    def merge(self, other: "TextTable") -> Remap:
        """Take over every text of another table, and return what turns its ids into ours."""
        if not isinstance(other, TextTable):
            raise StructureError(
                f"expected a jb.TextTable, got {type(other).__name__}; open a file with TextTable(path)."
            )
        with other._store.lock:
            items = list(other._store.items())
        with self._store.lock:
            ours = self._intern([data for _, data in items])
        return Remap.of([i for i, _ in items], ours)

    def commit(self) -> None:
        """Make every text durable: after this, nothing that happens to the process loses one. No-op in memory.

        Commit first, then save the states that refer to the texts; then `purge`.

        Raises:
          TextFileError: the file cannot be written, or was deleted, moved or replaced while it was open: `backup` saves
            the texts elsewhere.
          WrongProcessError: this process was forked from the one that opened the file.
        """
        with self._store.lock:
            self._store.commit()

    def purge(self) -> None:
        """Delete texts from the file that `sweep` has freed. Call it once no save refers to them any more.

        Until then they are there again when the file is opened anew, as after a crash.
        """
        with self._store.lock:
            self._store.purge()

    def backup(self, path: str | os.PathLike) -> None:
        """Write all texts with their ids to a new file, while this table goes on; also those not committed yet.

        Open the file with `TextTable`, in place of this table or to read it. A table in memory is saved like this, too.
        The file is there as a whole or not at all. What `sweep` has freed is in it until `purge`.

        Args:
          path: where no file is.

        Raises:
          TextFileError: there is a file already, or it cannot be written.

        >>> import pathlib, tempfile, jaxbuffers as jb
        >>> table = jb.TextTable()
        >>> i = table.intern("a red door")
        >>> table.backup(pathlib.Path(tempfile.mkdtemp(), "texts.sqlite"))
        """
        with self._store.lock, whole_file(path) as database:
            self._store.copy(database)

    def close(self) -> None:
        """Commit, and let go of the file. In a forked process, do nothing."""
        with self._store.lock:
            self._store.close()

    def __reduce__(self) -> Any:
        raise WrongProcessError(
            "a TextTable cannot be copied or sent to another process: both would give one id to two texts. Send texts, "
            "or the path of a file to open there, jb.TextTable(path, read_only=True); backup(path) makes one."
        )

    def __enter__(self) -> "TextTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _intern(self, texts: Collection[bytes]) -> list[int]:
        store = self._store
        keys = {data: digest(data) for data in texts}
        found = store.find(keys)
        kept = {data: store.pack(data) for data in keys if data not in found}
        if self.max_bytes is not None and kept:
            size = sum(map(len, kept.values()))
            if store.nbytes + size > self.max_bytes:
                raise TextTableFullError(
                    f"{len(kept)} new texts take {size} bytes, the table has {store.nbytes} of max_bytes="
                    f"{self.max_bytes}. Sweep it, or raise the limit."
                )
        store.reserve(len(kept))
        for data, packed in kept.items():
            found[data] = store.add(keys[data], packed)
        return [found[data] for data in texts]

    def _read(self, wanted: Iterable[int]) -> dict[int, bytes]:
        with self._store.lock:  # a text that is read is not freed meanwhile
            found = self._store.read(wanted)
        for i in wanted:
            if i not in found:
                raise unknown(i)
        return found
