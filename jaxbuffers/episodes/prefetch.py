"""Batches made ahead by a thread, in order: reading and moving to the device go on while the device computes."""

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import jax

from jaxbuffers.errors import WrongProcessError

T = TypeVar("T")
_running: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


@atexit.register
def _wait() -> None:
    """Let threads end what they are at before the interpreter, and JAX, go away; they have been told to."""
    for thread in list(_running):
        if thread.is_alive():
            thread.join(5)


@dataclass
class _Shared(Generic[T]):
    """What the thread and the iterator share; the thread holds no more, so that the iterator can be forgotten.

    Attributes:
      room: how many results may wait.
      changed: guards all of it.
      waiting: results that nobody has taken, oldest first.
      error: what ended the thread; it comes after the results.
      finished: whether the thread makes no more.
      closed: whether nobody wants more.
      process: where the thread is.
    """

    room: int
    changed: threading.Condition = field(default_factory=threading.Condition)
    waiting: deque[T] = field(default_factory=deque)
    error: BaseException | None = None
    finished: bool = False
    closed: bool = False
    process: int = field(default_factory=os.getpid)


class Prefetched(Iterator[T]):
    """What a function makes of 0, 1, 2, ..., made by one thread ahead of its use.

    An error comes where the result would have been, and again whenever one is asked for: nothing is made after it.
    Use it in a ``with`` statement, or `close` it; forgotten, it closes itself. Several threads may share it.

    Args:
      make: called with 0, 1, 2, ... in the thread.
      steps: how many results; None for no end.
      ahead: how many are made ahead at most, one or more.
    """

    def __init__(self, make: Callable[[int], T], steps: int | None, ahead: int) -> None:
        self._shared: _Shared[T] = _Shared(ahead)
        device = jax.config.jax_default_device  # type: ignore[attr-defined]  # of this thread, not of a new one
        arguments = (make, steps, self._shared, device)
        self._thread = threading.Thread(target=_work, args=arguments, name="jaxbuffers-prefetch", daemon=True)
        self._finalizer = weakref.finalize(self, _close, self._shared)
        self._thread.start()
        _running.add(self._thread)

    def __next__(self) -> T:
        if os.getpid() != self._shared.process:
            raise WrongProcessError("batches that are made ahead by a thread stay in the process that made them.")
        shared = self._shared
        with shared.changed:
            shared.changed.wait_for(lambda: shared.waiting or shared.finished or shared.closed)
            if shared.waiting and not shared.closed:
                result = shared.waiting.popleft()
                shared.changed.notify_all()
                return result
            if shared.error is not None and not shared.closed:
                raise shared.error
            raise StopIteration

    def waiting(self) -> list[T]:
        """Return the results that nobody has seen yet."""
        return list(self._shared.waiting.copy())

    def close(self) -> None:
        """Make no more, forget what waits, and wait until the thread has ended."""
        self._finalizer()
        if self._thread is not threading.current_thread() and os.getpid() == self._shared.process:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _close(shared: _Shared[Any]) -> None:
    if os.getpid() != shared.process:
        return  # a copy, whose lock nobody may release
    with shared.changed:
        shared.closed = True
        shared.waiting.clear()
        shared.changed.notify_all()


def _work(make: Callable[[int], Any], steps: int | None, shared: _Shared[Any], device: Any) -> None:
    step = 0
    try:
        with jax.default_device(device):
            while steps is None or step < steps:
                with shared.changed:
                    shared.changed.wait_for(lambda: shared.closed or len(shared.waiting) < shared.room)
                    if shared.closed:
                        return
                result = make(step)
                with shared.changed:
                    if not shared.closed:
                        shared.waiting.append(result)
                    shared.changed.notify_all()
                del result  # here it would be kept alive
                step += 1
    except BaseException as error:
        shared.error = error
    finally:
        with shared.changed:
            shared.finished = True
            shared.changed.notify_all()
