"""Manager: the checkpoints of one run, numbered, of which the newest are kept."""

import contextlib
import os
import re
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxbuffers.checkpoint.background import Background
from jaxbuffers.checkpoint.cursor import Later
from jaxbuffers.checkpoint.file import translated
from jaxbuffers.checkpoint.peers import Meeting
from jaxbuffers.checkpoint.publish import Lock, absolute, clean
from jaxbuffers.checkpoint.restoring import Restored, metadata, restore
from jaxbuffers.checkpoint.saving import check_place, damaged, meeting_of, put, told
from jaxbuffers.checkpoint.shares import sweep
from jaxbuffers.checkpoint.snapshot import Snapshot, Tables, taken
from jaxbuffers.checkpoint.tree import sections
from jaxbuffers.checkpoint.turns import Turn
from jaxbuffers.checks import flag, number, positive
from jaxbuffers.errors import CheckpointError, DamagedCheckpointError, WrongProcessError

_NAME = re.compile(r"step-(\d{12,})\.safetensors")


class Manager:
    """The checkpoints in one folder, by the number of their step.

    One manager writes to a folder at a time: it has the folder from its first `save` until `close`. Any number may read
    it meanwhile. Threads may share a manager.

    Args:
      folder: where the files are; it is made if it is not there.
      keep: how many to keep. Older ones are deleted, after the new one is there. None keeps all.
      timeout: seconds to wait for another process, where several share what is saved or restored: then each has a
        manager of the same folder. The first of them has the folder, and rotates.

    >>> import tempfile, numpy as np, jaxbuffers as jb
    >>> with jb.checkpoint.Manager(tempfile.mkdtemp(), keep=2) as manager:
    ...     for step in range(5):
    ...         manager.save(step, {"weights": np.full(2, step)})
    ...     manager.steps(), manager.restore({"weights": np.zeros(2, int)}).tree["weights"].tolist()
    ([3, 4], [4, 4])
    """

    def __init__(self, folder: str | os.PathLike, keep: int | None = 3, timeout: float = 300.0) -> None:
        self.folder = absolute(folder)
        self.timeout = number("timeout", timeout, 0, above=True)
        self.keep = None if keep is None else positive("keep", keep)
        with translated(self.folder, "write"):
            os.makedirs(self.folder, exist_ok=True)
        self._turn = Turn()
        self._background = Background()
        self._lock: Lock | None = None
        self._closed = False

    def steps(self) -> list[int]:
        """Return the numbers of the checkpoints that are there, lowest first."""
        with translated(self.folder, "read"):
            return sorted(int(found[1]) for name in os.listdir(self.folder) if (found := _NAME.fullmatch(name)))

    def path(self, step: int) -> str:
        """Return where the checkpoint of a step is."""
        return os.path.join(self.folder, f"step-{positive('step', step, 0):012}.safetensors")

    def save(
        self,
        step: int,
        tree: Any,
        *,
        tables: Tables = None,
        store: Any = None,
        metadata: Any = None,
        overwrite: bool = False,
        background: bool = False,
    ) -> None:
        """Save a step; see `jaxbuffers.checkpoint.save`.

        Args:
          step: its number, from 0.
          tree: what to save.
          tables: where the texts of states are.
          store: an `EpisodeStore`, of which is noted how far it had come.
          metadata: JSON of the user's own.
          overwrite: whether to take the place of a checkpoint of the same step; one that is damaged is replaced anyway.
            A run that goes on from an older step than the newest needs it, and the later steps are still there.
          background: return as soon as everything is copied to memory of its own, on the host, and write it in another
            thread: arrays may be donated or written to at once. Waits for the one before. What goes wrong is raised by
            the next call of `save`, `wait` or `close`.

        Raises:
          CheckpointError: it cannot be written, the step is there already, or another manager writes to the folder.
            Earlier checkpoints are untouched.
        """
        flag("background", background)
        flag("overwrite", overwrite)
        self.wait()
        meeting = meeting_of(tree, self.timeout)
        leads = meeting is None or meeting.peers.leads
        # In this order, as who calls this may be in a section already.
        with told(meeting), sections(tree), self._turn.lock:
            self._check_open()
            where = self.path(step)
            check = partial(self._check, where, overwrite)
            if leads:
                self._own()
                check()
            snapshot = taken(tree, tables, store, metadata, copy=background, shared=meeting is not None)
            if background:
                self._background.start(lambda: self._publish(where, snapshot, check, meeting))
            else:
                self._background.wait()
                self._publish(where, snapshot, check, meeting)

    def restore(
        self,
        like: Any,
        step: int | None = None,
        *,
        tables: Tables = None,
        store: Any = None,
        later: Later = "error",
        any_version: bool = False,
        fallback: bool = False,
    ) -> Restored:
        """Return what a step saved; see `jaxbuffers.checkpoint.restore`.

        Args:
          like: a tree of the same structure.
          step: which; the newest by default.
          tables: where texts go.
          store: the `EpisodeStore` that was given to ``save``.
          later: what to do if episodes were committed to it since.
          any_version: restore states that another release of this library saved.
          fallback: if the newest is damaged, take the newest that is whole; ``step`` of what is returned says which.

        Raises:
          CheckpointError: there is none.
          DamagedCheckpointError: it is damaged, and ``fallback`` was not asked for, or all are.
        """
        flag("fallback", fallback)
        self.wait()
        given = {"tables": tables, "store": store, "later": later, "any_version": any_version, "timeout": self.timeout}
        below: int | None = None  # those from there on are damaged
        while True:
            each = self._agreed(like, below) if step is None else positive("step", step, 0)
            try:
                found = restore(self.path(each), like, **given)
            except DamagedCheckpointError:
                gone = step is None and not os.path.lexists(self.path(each))  # its writer has rotated meanwhile
                if not gone and (not fallback or step is not None or self.steps()[:1] in ([], [each])):
                    raise
                below = below if gone else each
            except CheckpointError:
                if step is not None or os.path.lexists(self.path(each)):
                    raise  # else the writer of the folder has deleted it meanwhile, and there is a newer one
            else:
                return Restored(found.tree, found.tables, found.metadata, found.store, found.path, each)

    def metadata(self, step: int | None = None) -> Any:
        """Return what a user said about a step, the newest by default; see `jaxbuffers.checkpoint.metadata`."""
        self.wait()
        while True:
            each = self._newest() if step is None else step
            try:
                return metadata(self.path(each))
            except CheckpointError:
                if step is not None or os.path.lexists(self.path(each)):
                    raise

    def wait(self) -> None:
        """Wait until what is saved in the background is on the disk.

        Raises:
          CheckpointError: it could not be written.
        """
        with self._turn.lock:
            self._background.wait()

    def close(self) -> None:
        """Wait, and let others write to the folder.

        Raises:
          CheckpointError: what was saved in the background could not be written.
        """
        with self._turn.lock:
            try:
                self._background.wait()
            finally:
                self._closed = True
                if self._lock is not None:
                    self._lock.release()
                    self._lock = None

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _newest(self, below: int | None = None) -> int:
        steps = [step for step in self.steps() if below is None or step < below]
        if not steps:
            raise CheckpointError(f"{self.folder} holds no checkpoint{'' if below is None else ' that is whole'}.")
        return steps[-1]

    def _agreed(self, like: Any, below: int | None) -> int:
        """Return the newest step, in the eyes of the first of the processes that share it."""
        meeting = meeting_of(like, self.timeout)
        if meeting is None:
            return self._newest(below)
        if not meeting.peers.leads:
            return int(meeting.hear("step")["step"])
        with meeting.telling("step"):
            step = self._newest(below)
            meeting.say("step", step=step)
        return step

    def _check_open(self) -> None:
        if self._closed:
            raise CheckpointError(f"the manager of {self.folder} was closed; make another.")

    def _own(self) -> None:
        """Be the one who writes to the folder."""
        if self._lock is not None and self._lock.elsewhere:
            raise WrongProcessError(
                f"the manager of {self.folder} belongs to process {self._lock.process}, and this is a fork of it: save "
                f"there, or make another manager once that one is closed."
            )
        if self._lock is None:
            lock = Lock(os.path.join(self.folder, "writer"))
            try:
                lock.take()
                clean(self.folder, _NAME.pattern)
                sweep(self.folder, _NAME.pattern)
                weakref.finalize(self, lock.release)  # also where nobody closes it
                self._lock = lock
            except BaseException:  # Ctrl-C
                self._lock = None
                lock.release()
                raise

    def _check(self, path: str, overwrite: bool) -> None:
        if not overwrite and not damaged(path):
            check_place(path, overwrite)

    def _publish(self, path: str, snapshot: Snapshot, check: Callable[[], None], meeting: Meeting | None) -> None:
        put(path, snapshot, check, meeting)
        if self.keep is not None and (meeting is None or meeting.peers.leads):
            with translated(self.folder, "write"):
                for old in [self.path(step) for step in self.steps()[: -self.keep]]:
                    if old != path:  # one that was saved out of turn is kept until the next
                        with contextlib.suppress(FileNotFoundError):
                            os.remove(old)
            sweep(self.folder, _NAME.pattern)
