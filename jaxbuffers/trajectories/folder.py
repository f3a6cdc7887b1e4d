"""The stores of pools: one that this process writes, or those of many processes in one folder."""

import os
from pathlib import Path
from typing import Any

from jaxbuffers.episodes import EpisodeStore
from jaxbuffers.errors import StoreError
from jaxbuffers.trajectories import rows

MESSAGES = 16


def opened(path: str | os.PathLike | None, capacity: int | None, messages: int | None) -> EpisodeStore:
    """Open the store of a pool for writing.

    Raises:
      StoreError: it cannot be opened, or is no pool, or one whose prompts have another number of messages.
    """
    kind: Any = rows.row(messages or MESSAGES)
    if path is None:
        return EpisodeStore(None, capacity, row=kind, columns=rows.COLUMNS)
    store = EpisodeStore(path, capacity)
    try:
        if store.spec is None:
            store.close()
            return EpisodeStore(path, capacity, row=kind, columns=rows.COLUMNS)
        known = messages_of(store)
        if messages not in (None, known):
            raise StoreError(f"{path} was made with prompt_messages={known}, got {messages}.")
    except BaseException:
        store.close()
        raise
    return store


def messages_of(store: EpisodeStore) -> int:
    """Return how many messages the prompts of a pool may have.

    Raises:
      StoreError: its rows are not those of a pool.
    """
    spec = store.spec
    names = set() if spec is None else {path[0] for path in spec.paths if path}
    if spec is None or names != set(rows.row(1)):
        raise StoreError(f"{store.path} holds other rows than steps of trajectories: it is no pool.")
    return spec.shapes[spec.paths.index(("raw_prompt",))][0]


def pools_in(path: str) -> list[str]:
    """Return the folders of the pools at a path: itself, or those in it, each once and in order."""
    whole = Path(os.path.realpath(path))
    if (whole / "catalog.sqlite").is_file():
        return [str(whole)]
    return sorted({os.path.realpath(found.parent) for found in whole.glob("*/catalog.sqlite")})


def read(path: str) -> EpisodeStore | None:
    """Open the store of a pool for reading; None if it has no trajectories yet.

    Raises:
      StoreError: it is no pool.
    """
    try:
        store = EpisodeStore(path, read_only=True)
    except StoreError as error:
        if "in it yet" in str(error):
            return None
        raise
    if store.spec is None:
        store.close()
        return None
    messages_of(store)
    return store
