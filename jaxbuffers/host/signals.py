"""One call at a time, and none cut in half: a lock, and signals that wait until the call is over.

An exception that a signal handler raises in the middle of a call, as Ctrl-C does, would leave a replay whose arrays
have been donated and whose new ones were never stored.
"""

import _signal  # type: ignore[import-not-found]  # of `signal` itself each function takes 2 to 3 µs, to make enums of numbers
import os
import signal
import threading
import weakref
from types import FrameType
from typing import Any

from jaxbuffers.errors import WrongProcessError

WAIT = 0.1  # seconds between looks at the signals while another thread has the lock
_IMPOSSIBLE = {"SIGKILL", "SIGSTOP", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL"}  # to catch, or to put off
_NUMBERS = tuple(  # not the real-time signals, which nobody's Ctrl-C is: there are twice as many of them
    sorted(int(s) for s in signal.valid_signals() if s < 32 and getattr(s, "name", "") not in _IMPOSSIBLE)
)
_getsignal = _signal.getsignal
_lock = threading.RLock()  # of the next line
_locks: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
_here = os.getpid(), threading.main_thread().ident


def _forked() -> None:
    global _here, _lock
    _here = os.getpid(), threading.main_thread().ident
    _lock = threading.RLock()  # the others may be held by threads that are not in this process
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def section(lock: Any) -> Any:
    """Return what to enter so that no other thread is inside, and no signal handler in Python interrupts.

    Python runs handlers in the main thread only, so only there they are put off.

    Args:
      lock: a ``threading.RLock``.
    """
    return Section(lock) if threading.get_ident() == _here[1] else lock


class Guard:
    """Makes the sections of a buffer, ``with guard():``, and lets others look at it, ``with guard.looking():``.

    Buffers on one table take turns: a sweep must know the texts of them all, also of a row that is being inserted.

    Args:
      table: what is shared.
    """

    def __init__(self, table: Any) -> None:
        with section(_lock):
            self._lock = _locks.setdefault(table, threading.RLock())
        self._process = _here[0]

    def __call__(self) -> Any:
        """Return a new `section`; raise `WrongProcessError` in another process than the one that made the guard."""
        return section(self.looking())

    def looking(self) -> Any:
        """Return the lock alone, for what no exception can leave half done: putting signals off takes some µs."""
        if self._process != _here[0]:
            raise WrongProcessError(
                f"the buffer was made in process {self._process}, and JAX does not work in one forked from it. Make it "
                f'after the fork, or start processes with multiprocessing.get_context("spawn").'
            )
        return self._lock


class Section:
    """A stretch of the main thread in which handlers in Python are put off, by one that remembers what came.

    On leaving, the lock is released, the handlers are put back, and those whose signal came are called: they may raise,
    and may enter a section with the same lock. A signal that came twice is one signal, as for the system. What
    ``signal.siginterrupt`` has set for these signals is not kept.

    Args:
      lock: a ``threading.RLock``.

    >>> import signal, threading
    >>> lock, done = threading.RLock(), []
    >>> before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background has none
    >>> try:
    ...     with Section(lock):
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("all of it")
    ... except KeyboardInterrupt:
    ...     done.append("interrupted")
    >>> done
    ['all of it', 'interrupted']
    >>> handler = signal.signal(signal.SIGINT, before)
    """

    __slots__ = ("_came", "_handlers", "_lock", "_waits")

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._handlers: dict[int, Any] = {}  # that were there before
        self._came: dict[int, FrameType | None] = {}  # signals, and where the program was

    def __enter__(self) -> None:
        try:
            self._hold()
            while not self._lock.acquire(False) and not self._lock.acquire(timeout=WAIT):
                self._release()
                self._hold()
        except BaseException:
            self._release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._lock.release()
        finally:
            self._release()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._waits:
            self._came[number] = frame
        else:
            self._handlers[number](number, frame)

    def _hold(self) -> None:
        self._waits = True
        for number in [number for number in _NUMBERS if callable(_getsignal(number))]:
            handler = _getsignal(number)
            # A section that could not put a handler back, because another signal's handler raised just then.
            while type(handler) is Section and not handler._waits:
                handler = handler._handlers[number]
            if type(handler) is not Section:  # else one that is around this one has the signal
                self._handlers[number] = handler  # first, as the next line may let another signal's handler raise
                _signal.signal(number, self)

    def _release(self) -> None:
        self._waits = False  # from here on a signal reaches its own handler in any case
        try:
            for number, handler in self._handlers.items():
                if _getsignal(number) is self:
                    _signal.signal(number, handler)
        finally:
            if self._came:
                self._deliver()

    def _deliver(self) -> None:
        number = min(self._came)
        frame = self._came.pop(number)
        try:
            self._handlers[number](number, frame)
        finally:
            if self._came:
                self._deliver()
