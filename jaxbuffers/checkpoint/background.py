"""Work in another thread, one piece at a time, whose error is raised where somebody looks."""

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from jaxbuffers.errors import CheckpointError


class Background:
    """At most one piece of work under way. It ends before the process does, unless that is killed.

    An error that nobody looks for is printed when this is collected, or at the end of the process.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._begun = threading.Lock()  # taken by the work when it begins, or by who calls it off
        self._error: BaseException | None = None
        self._unsaid: list[str] = []  # the same in words; the error itself would keep this alive
        weakref.finalize(self, _tell, self._unsaid, os.getpid())

    def start(self, work: Callable[[], Any]) -> None:
        """Begin some work, once the one before is over; raise what went wrong there instead."""
        self.wait()
        begun = threading.Lock()

        def run() -> None:
            if not begun.acquire(blocking=False):
                return
            try:
                work()
            except BaseException as error:
                self._error = error
                self._unsaid.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=run, name="jaxbuffers checkpoint")
        self._begun, self._thread = begun, thread  # first: wherever Ctrl-C comes, `wait` knows of it
        thread.start()

    def wait(self) -> None:
        """Wait until the work is over; raise its error, once."""
        thread = self._thread
        # Ctrl-C amid `start` leaves one that may begin yet, or not: it is called off.
        if thread is not None and (thread.ident is not None or not self._begun.acquire(blocking=False)):
            thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            self._unsaid.clear()
            raise error

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self._thread is not None and self._thread.is_alive()


def _tell(errors: list[str], process: int) -> None:
    """Raise what nobody asked for: from a finalizer Python prints it, whatever warnings are ignored."""
    if errors and os.getpid() == process:
        raise CheckpointError(
            f"what was saved in the background is not there: {errors[0]} Call wait or close, which raise this."
        )
