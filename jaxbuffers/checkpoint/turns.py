"""Locks that a forked process does not find held by threads that it does not have."""

import os
import threading
import weakref

_turns: weakref.WeakSet["Turn"] = weakref.WeakSet()


class Turn:
    """Threads take turns. A fork does not wait for them.

    Attributes:
      lock: to hold meanwhile; a new one in a forked process.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _turns.add(self)


def _forked() -> None:
    for turn in list(_turns):
        turn.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
