"""Forks: what belongs to one process, and must not be used by a copy of it.

A forked process has a copy of everything: of the ids that come next, which both would give; of locks that other threads
held, which nobody releases there; and of SQLite's connections, which both would write through. So every lock is held
during a fork and new ones are made there, and no connection goes through.
"""

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

_making = threading.RLock()  # held while something is made, and during a fork
_owned: weakref.WeakSet["Owned"] = weakref.WeakSet()
_held: list["Owned"] = []


class Owned(ABC):
    """What belongs to the process that made it.

    Attributes:
      lock: to use it under. No code of a user runs under it, and nothing else of this class is made.
      process: the id of the process.
    """

    def __init__(self) -> None:
        with _making:
            self.lock = threading.RLock()
            self.process = os.getpid()
            _owned.add(self)

    @property
    def elsewhere(self) -> bool:
        """Whether this is a copy, in a forked process."""
        return os.getpid() != self.process

    @abstractmethod
    def suspend(self) -> None:
        """Let go of what must not be copied, before a fork; to be had again afterwards."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of what belongs to the other process, in the copy, without touching it."""


@contextmanager
def together(several: Iterable[Owned]) -> Iterator[None]:
    """Use several at once. Nobody else waits for more than one of them meanwhile, so that none waits for another."""
    with ExitStack() as stack:
        with _making:
            for one in several:
                stack.enter_context(one.lock)
        yield


def _before() -> None:
    _making.acquire()
    for one in list(_owned):
        one.lock.acquire()
        _held.append(one)
    for one in _held:
        one.suspend()


def _after_here() -> None:
    while _held:
        _held.pop().lock.release()
    _making.release()


def _after_there() -> None:
    global _making
    _making = threading.RLock()
    while _held:
        one = _held.pop()
        one.lock = threading.RLock()
        one.abandon()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(before=_before, after_in_parent=_after_here, after_in_child=_after_there)
