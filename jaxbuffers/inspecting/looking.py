"""inspect: find out what a path is, and look at it."""

import os
from typing import Any

from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.errors import StructureError
from jaxbuffers.inspecting.of_files import look_at_arrays, look_at_texts
from jaxbuffers.inspecting.of_store import look_at_store
from jaxbuffers.inspecting.report import Report
from jaxbuffers.inspecting.terminal import progress

SQLITE = b"SQLite format 3\x00"


def inspect(what: str | os.PathLike | EpisodeStore, *, everything: bool = False, row: Any = None) -> Report:
    """Look at a store, a text file, or a file of arrays such as a checkpoint; it is only read.

    Args:
      what: its path, or an open store.
      everything: read all rows of a store, which checks them against their checksums.
      row: for a store whose rows are of a class of your own: one row, or its description.

    Returns:
      What was seen. ``python -m jaxbuffers inspect PATH`` shows it.

    Raises:
      StructureError: it is none of these.
      FileNotFoundError: there is nothing at that path.
      StoreError, TextFileError: it cannot be read.
    """
    if isinstance(what, EpisodeStore):
        return look_at_store(what, everything, progress)
    path = os.fspath(what)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file or folder.")
    if os.path.isdir(path):
        names = sorted(os.listdir(path))
        files = [name for name in names if name.endswith(".safetensors") and os.path.isfile(os.path.join(path, name))]
        if not any(_is_sqlite(os.path.join(path, name)) for name in names):
            if files:
                return look_at_arrays(os.path.join(path, files[-1]))
            if "segments" not in names:
                raise StructureError(f"{path} is a folder with neither a store nor a checkpoint in it.")
        with EpisodeStore(path, row=row, read_only=True) as store:
            return look_at_store(store, everything, progress)
    if _is_sqlite(path):
        return look_at_texts(path)
    return look_at_arrays(path)


def _is_sqlite(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(SQLITE)) == SQLITE
