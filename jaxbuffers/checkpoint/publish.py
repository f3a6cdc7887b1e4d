"""A file that is there as a whole or not at all: written beside its place, then renamed."""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jaxbuffers.checkpoint.file import translated
from jaxbuffers.checkpoint.turns import Turn
from jaxbuffers.errors import CheckpointError, TextFileError
from jaxbuffers.texts.forks import Owned
from jaxbuffers.texts.locks import WriterLock

PART = ".part"  # ends the name of a file that is being written
_one_at_a_time = Turn()


class Lock(Owned):
    """Being the only one who writes checkpoints at a place, from `take` until `release` or the end of the process.

    Args:
      path: of the place; the file that is locked has ``.lock`` behind it, and is deleted by `release`.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._held: WriterLock | None = None

    def take(self) -> None:
        """Be the only one.

        Raises:
          CheckpointError: another process, or another manager, has it.
        """
        self._held = WriterLock(self._path)  # first: wherever Ctrl-C comes, `release` finds it
        try:
            self._held.take()
        except TextFileError as error:
            self._held = None
            if "one writer at a time" not in str(error):
                raise CheckpointError(str(error)) from error
            raise CheckpointError(
                f"{self._path} is being written by another process or another manager; there is one writer at a time. "
                f"End or close that one, or save elsewhere."
            ) from None

    def release(self) -> None:
        """Let others write. Can be called again where Ctrl-C came amid it."""
        if self._held is not None:
            self._held.release(remove=True)
            self._held = None

    def suspend(self) -> None:
        """Nothing to do before a fork."""

    def abandon(self) -> None:
        """Leave it to the other process."""
        held, self._held = self._held, None
        if held is not None:
            held.abandon()


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Be the only one who saves to a path; threads wait for each other, other processes are refused."""
    with _one_at_a_time.lock:
        lock = Lock(path)
        try:
            lock.take()
            folder, name = os.path.split(path)
            clean(folder, re.escape(name))
            yield
        finally:
            try:
                lock.release()
            except BaseException:  # Ctrl-C
                lock.release()
                raise


def clean(folder: str, names: str) -> None:
    """Delete what saves that were killed have left; whoever calls this has the lock.

    Args:
      folder: where to look.
      names: a regular expression for those of the files that were saved.
    """
    leftover = re.compile(rf"{names}\.[0-9a-f]{{8}}{re.escape(PART)}")
    with translated(folder, "write"):
        for found in os.listdir(folder):
            if leftover.fullmatch(found):
                os.remove(os.path.join(folder, found))


def publish(path: str, write: Callable[[str], Any]) -> None:
    """Have a file written, and give it its name, in place of the one that has it; both are on the disk then.

    Raises:
      CheckpointError: it cannot be written. What was there is untouched.
    """
    part = f"{path}.{secrets.token_hex(4)}{PART}"
    with translated(path, "write"):
        try:
            write(part)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(part)
            raise
        sync(os.path.dirname(path))


def sync(folder: str) -> None:
    """Have the names in a folder on the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def absolute(path: str | os.PathLike) -> str:
    """Return where a file is, without links."""
    name = os.fsdecode(path)
    if "\0" in name:
        raise CheckpointError(f"a path has no NUL in it; got {name!r}.")
    return os.path.realpath(name)
