"""Waiting for a change, where a signal's handler may raise at any moment."""

import threading
import time
from typing import Any

from jaxbuffers.checks import number


class Changes:
    """Lets threads wait until another one tells of a change, each with a ticket that it took under a lock of theirs.

    An exception that a signal's handler raises in a ``threading.Condition`` may leave its lock released twice. Here the
    lock is not held while a thread waits, and nothing has to be put back.

    >>> changes = Changes()
    >>> ticket = changes.ticket(end=None)
    >>> changes.tell()
    >>> changes.wait(ticket, end=None)
    >>> changes.ticket(end=time.monotonic()) is None
    True
    """

    def __init__(self) -> None:
        self._tickets: set[Any] = set()

    def ticket(self, end: float | None) -> Any:
        """Return what to wait with, before the lock is released under which there was nothing to do.

        Args:
          end: of the time to wait, on the monotonic clock: if it has come there is no ticket. None for no end.
        """
        if end is not None and time.monotonic() >= end:
            return None
        ticket = threading.Lock()
        ticket.acquire()
        self._tickets.add(ticket)
        return ticket

    def tell(self) -> None:
        """Wake all who wait, with the lock held."""
        tickets, self._tickets = self._tickets, set()
        for ticket in tickets:
            ticket.release()

    def wait(self, ticket: Any, end: float | None) -> None:
        """Wait for a change, or for the end, without the lock."""
        left = -1 if end is None else min(max(0, end - time.monotonic()), threading.TIMEOUT_MAX)
        try:
            ticket.acquire(timeout=left)
        finally:
            self._tickets.discard(ticket)


def end_of(timeout: float | None) -> float | None:
    """Return when a time to wait, in seconds from now on, ends on the monotonic clock."""
    return None if timeout is None else time.monotonic() + number("timeout", timeout, 0)
