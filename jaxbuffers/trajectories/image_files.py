"""Screenshots that a pool keeps itself: one file for each content, beside the catalog, or bytes in memory."""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from jaxbuffers.errors import StoreError
from jaxbuffers.trajectories.screenshots import Screenshot


class ImageFiles:
    """Images by their digests.

    Args:
      folder: where the files are; None for memory.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._memory: dict[str, bytes] = {}

    def put(self, some: Collection[Screenshot]) -> None:
        """Keep images, durably; those that are there already are not written again."""
        if self._folder is None:
            self._memory |= {each.digest: each.data for each in some}
            return
        folders = set()
        try:
            for each in some:
                path = self._path(each.digest)
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _write(path, each.data)
                    folders |= {path.parent, self._folder, self._folder.parent}
            for folder in folders:
                _sync(folder, os.O_RDONLY)
        except OSError as error:
            raise StoreError(f"{error.filename} cannot be written: {error.strerror}.") from error

    def get(self, digest: str) -> bytes | None:
        """Return an image; None if it is not there."""
        if self._folder is None:
            return self._memory.get(digest)
        try:
            return self._path(digest).read_bytes()
        except FileNotFoundError:
            return None

    def sweep(self, kept: Collection[str]) -> int:
        """Delete all images but some; return how many."""
        if self._folder is None:
            gone = [digest for digest in self._memory if digest not in kept]
            for digest in gone:
                del self._memory[digest]
            return len(gone)
        files = [path for path in self._folder.glob("*/*") if path.name not in kept]
        for path in files:
            path.unlink()
        return len(files)

    def _path(self, digest: str) -> Path:
        assert self._folder is not None
        return self._folder / digest[:2] / digest


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        _sync(part, os.O_RDWR)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
