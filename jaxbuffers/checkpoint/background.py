"""Work in another thread, one piece at a time, whose error is raised where somebody looks."""

import threading
from collections.abc import Callable
from typing import Any


class Background:
    """At most one piece of work under way. It ends before the process does, unless that is killed."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], Any]) -> None:
        """Begin some work, once the one before is over; raise what went wrong there instead."""
        self.wait()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._error = error

        thread = threading.Thread(target=run, name="jaxbuffers checkpoint")
        self._thread = thread  # first: if Ctrl-C comes between the two, `wait` finds one that was never started
        thread.start()

    def wait(self) -> None:
        """Wait until the work is over; raise its error, once."""
        thread = self._thread
        if thread is not None and thread.ident is not None:
            thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return self._thread is not None and self._thread.is_alive()
