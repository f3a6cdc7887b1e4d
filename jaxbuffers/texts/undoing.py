"""Texts that a call has added are forgotten where it fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile

from jaxbuffers.texts.memory import MemoryStore
from jaxbuffers.texts.sqlite import SqliteStore


@contextmanager
def only_if_done(store: MemoryStore | SqliteStore) -> Iterator[None]:
    """Forget what was added within, and waits for a commit still, if an exception leaves; to be used under the lock."""
    last = next(reversed(store.waiting), None)
    try:
        yield
    except BaseException:
        store.drop(list(takewhile(lambda i: i != last, reversed(store.waiting))))
        raise
