"""What the store asks of the file system, and nothing else: each of these can fail, and is made to fail in tests."""

import contextlib
import mmap
import os
from collections.abc import Iterator

import numpy as np

from jaxbuffers.errors import StoreError

MOST = 2**30  # bytes in one call; systems write at most 2 GiB at once


@contextlib.contextmanager
def named(path: str, verb: str) -> Iterator[None]:
    """Say which file it was, and what could not be done with it."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be {verb}: {error.strerror or error}.") from error


def create(path: str, header: bytes, size: int) -> None:
    """Make a file of a size, of which only the header takes room on the disk yet; durable when this returns."""
    with named(path, "made"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o644)
        try:
            os.truncate(descriptor, size)
            write_all(descriptor, header, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(os.path.dirname(path))


def write(path: str, parts: list[tuple[int, np.ndarray]]) -> None:
    """Write contiguous arrays at their offsets in a file; durable when this returns."""
    with named(path, "written"):
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            for offset, data in parts:
                write_all(descriptor, data, offset)
            sync(descriptor)
        finally:
            os.close(descriptor)


def overwrite(path: str, data: bytes, offset: int) -> None:
    """Write a few bytes into a file, if that can be done; do not wait for the disk."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            write_all(descriptor, data, offset)
        finally:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes | np.ndarray, offset: int) -> None:
    """Write all bytes, however many the system takes at once."""
    rest = memoryview(data).cast("B")  # type: ignore[arg-type]
    while rest:
        count = pwrite(descriptor, rest[:MOST], offset)
        rest, offset = rest[count:], offset + count


def map_whole(path: str, size: int) -> mmap.mmap | None:
    """Map a file for reading; None if it does not have that size.

    Raises:
      FileNotFoundError: there is none.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        if os.fstat(descriptor).st_size != size:
            return None
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)


def first_bytes(path: str, count: int) -> bytes | None:
    """Return the first bytes of a file; None if there is no such file."""
    try:
        with named(path, "read"), open(path, "rb") as file:
            return file.read(count)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def size(path: str) -> int | None:
    """Return the size of a file; None if there is no such file."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return None


def remove(path: str) -> None:
    """Delete a file, if that can be done; where it is open elsewhere, its readers keep its bytes."""
    with contextlib.suppress(OSError):
        os.remove(path)


def sync(descriptor: int) -> None:
    """Wait until what was written is on the disk."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(path: str) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
    """Write some bytes at an offset, and return how many."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows
    return os.write(descriptor, data)
