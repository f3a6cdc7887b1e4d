"""The file of a checkpoint: safetensors with a checksum over every byte.

Eight bytes, the length of the header, little endian; the header, JSON that says where each array is; the arrays. The
last array, ``checksums``, is uint32: the CRC-32 of each other array in their order in the file, then that of the length
and the header.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.errors import CheckpointError, DamagedCheckpointError

CHUNK = 2**22  # bytes that are summed and then written, while they are in the processor's cache
ALIGNMENT = 64  # of the first array
CHECKSUMS = "checksums"
_NAMES = {  # of dtypes; all others are kept as bytes, with an axis more
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip


class Entry(NamedTuple):
    """Where an array is.

    Attributes:
      dtype: as the file names it.
      shape: as the file has it.
      start: in the file.
      size: in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def write(path: str, words: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> int:
    """Write a new file, on the disk when this returns; return how many bytes it has.

    Args:
      path: where no file is.
      words: what the header says beside the places.
      arrays: by name; the largest elements come first in the file, so that all are aligned.
    """
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    kinds = [(name, *_kind(array), array.nbytes) for name, array in ordered]
    kinds.append((CHECKSUMS, "U32", [len(ordered) + 1], 4 * (len(ordered) + 1)))
    header: dict[str, Any] = {"__metadata__": dict(words)}
    end = 0
    for name, dtype, shape, size in kinds:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o644)
    try:
        last = _write(descriptor, memoryview(head))
        sums = [_write(descriptor, bytes_of(array)) for _, array in ordered]
        _write(descriptor, bytes_of(np.array([*sums, last], "<u4")))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return len(head) + end


class Reader:
    """An open file, whose header is whole.

    Attributes:
      path: of the file.
      words: what the header says beside the places.
      entries: the arrays by name, in the order of the file.
      sum: of all checksums: no other file has it.
    """

    def __init__(self, path: str, file: Any) -> None:
        self.path, self._file = path, file
        size = os.fstat(file.fileno()).st_size
        head, found = self._header(size)
        try:
            self.words: dict[str, str] = found.pop("__metadata__")
            start, self.entries = len(head), {name: _entry(len(head), each) for name, each in found.items()}
            for entry in self.entries.values():
                if entry.start != start:
                    raise ValueError("its arrays do not follow one another")
                start += entry.size
            if start != size:
                raise ValueError(f"it has {size} bytes instead of {start}")
            *names, last = self.entries
            if last != CHECKSUMS or self.entries[last].size != 4 * len(self.entries):
                raise ValueError("its checksums are missing")
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(str(error)) from error
        sums = self._bytes(self.entries.pop(CHECKSUMS))
        self.sum = zlib.crc32(sums)
        self._sums: dict[str, int] = dict(zip(names, np.frombuffer(sums, "<u4").tolist(), strict=False))

    def read(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array of its own memory, once its bytes are known to be those that were written."""
        entry = self.entries.get(name)
        array = np.empty(shape, dtype)
        if entry is None or (entry.dtype, list(entry.shape)) != _kind(array):
            raise self._damaged(f"it has no {name!r} of {dtype}{list(shape)}")
        view, total, at = bytes_of(array), 0, 0
        self._file.seek(entry.start)
        while at < len(view):
            number = self._file.readinto(view[at : at + CHUNK])
            if not number:
                raise self._damaged("it ends early")
            total = zlib.crc32(view[at : at + number], total)
            at += number
        if total != self._sums[name]:
            raise self._damaged(f"the checksum of {name!r} does not fit")
        return array

    def check(self) -> None:
        """Raise `DamagedCheckpointError` unless every byte is the one that was written."""
        memory = memoryview(bytearray(CHUNK))
        for name, entry in self.entries.items():
            self._file.seek(entry.start)
            total, left = 0, entry.size
            while left and (number := self._file.readinto(memory[: min(left, CHUNK)])):
                total, left = zlib.crc32(memory[:number], total), left - number
            if left or total != self._sums[name]:
                raise self._damaged(f"the checksum of {name!r} does not fit")

    def _header(self, size: int) -> tuple[bytes, dict[str, Any]]:
        self._file.seek(0)
        head = self._file.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or 8 + length + 4 > size:
            raise self._damaged("its header does not end")
        head += self._file.read(length)
        self._file.seek(size - 4)
        if zlib.crc32(head) != int.from_bytes(self._file.read(4), "little"):
            raise self._damaged("the checksum of its header does not fit")
        try:
            found = json.loads(head[8:])
        except ValueError as error:
            raise self._damaged(str(error)) from error
        return head, found

    def _bytes(self, entry: Entry) -> bytes:
        self._file.seek(entry.start)
        return self._file.read(entry.size)

    def _damaged(self, why: str) -> DamagedCheckpointError:
        return DamagedCheckpointError(f"{self.path} is damaged, or no checkpoint: {why}. Go back to an earlier one.")


@contextmanager
def opened(path: str) -> Iterator[Reader]:
    """Open a file to read it.

    Raises:
      CheckpointError: there is none, or it cannot be read.
      DamagedCheckpointError: it is damaged.
    """
    with translated(path, "read"), open(path, "rb", buffering=0) as file:
        yield Reader(path, file)


@contextmanager
def translated(path: str, verb: str) -> Iterator[None]:
    """Say which file it was that the system could not read or write."""
    try:
        yield
    except FileNotFoundError as error:
        missing = error.filename or path
        raise CheckpointError(f"{path} cannot be {_PAST[verb]}: {missing} does not exist.") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be {_PAST[verb]}: {error.strerror or error}.") from error


_PAST = {"read": "read", "write": "written"}


def _write(descriptor: int, view: memoryview) -> int:
    """Write all of it; return its checksum."""
    total = 0
    for start in range(0, len(view), CHUNK):
        chunk = view[start : start + CHUNK]
        total = zlib.crc32(chunk, total)
        while len(chunk):
            chunk = chunk[os.write(descriptor, chunk) :]
    return total


def _kind(array: np.ndarray) -> tuple[str, list[int]]:
    name = _NAMES.get(array.dtype.name)
    return (name, list(array.shape)) if name else ("U8", [*array.shape, array.dtype.itemsize])


def bytes_of(array: np.ndarray) -> memoryview:
    """Return the bytes of an array, C order."""
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memoryview(flat)


def _entry(start: int, found: Any) -> Entry:
    first, last = found["data_offsets"]
    return Entry(found["dtype"], tuple(found["shape"]), start + first, last - first)
