"""Opening a store: a folder with a catalog and segments, or memory."""

import os
from collections.abc import Mapping
from typing import Any

from jaxbuffers.checks import flag, positive
from jaxbuffers.episodes import columns as users
from jaxbuffers.episodes.catalog import Catalog
from jaxbuffers.episodes.core import Core
from jaxbuffers.episodes.memory import MemoryCatalog
from jaxbuffers.episodes.where import integer
from jaxbuffers.errors import ConfigurationError, DamagedError, StoreError
from jaxbuffers.host.convert import declared
from jaxbuffers.row import RowSpec


def opened(
    path: str | os.PathLike | None,
    capacity: int | None,
    row: Any,
    columns: Mapping[str, Any] | None,
    segment_bytes: int,
    read_only: bool,
) -> Core:
    """Open a store, as `EpisodeStore` says."""
    flag("read_only", read_only)
    limit = None if capacity is None else positive("capacity", capacity)
    size = integer("segment_bytes", segment_bytes, 1)
    spec = None if row is None else RowSpec.of(declared(row))
    types = users.declared({} if columns is None else columns)
    if path is None:
        if read_only:
            raise ConfigurationError("read_only=True needs the path of a store.")
        core = Core(MemoryCatalog(), None, spec, limit, size)
    else:
        core = _on_disk(os.path.realpath(os.fsdecode(path)), limit, spec, size, read_only)
    try:
        merged = users.merged(core.state.types, types, str(core.catalog.path))
        if read_only and merged != core.state.types:
            raise StoreError(f"{path} has no column {min(set(merged) - set(core.state.types))!r}; its writer adds one.")
        core.declare(merged)
        if core.writable:
            core.tidy()
    except BaseException:
        core.catalog.abort()
        raise
    return core


def _on_disk(path: str, limit: int | None, spec: RowSpec | None, size: int, read_only: bool) -> Core:
    folder = os.path.join(path, "segments")
    if not read_only:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path} cannot be a store: {error.strerror or error}.") from error
    elif not os.path.isdir(folder):
        raise StoreError(
            f"there is no store at {path} yet; a writer makes it: jb.EpisodeStore(path), without read_only=True."
        )
    name = os.path.join(path, "catalog.sqlite")
    if not os.path.exists(name) and (os.listdir(folder) or os.path.exists(f"{name}.revision")):
        raise DamagedError(f"{name} is missing, and there are episodes beside it. Bring it back, or clear the folder.")
    catalog = Catalog(name, read_only)
    try:
        return Core(catalog, folder, spec, limit, size)
    except BaseException:
        catalog.abort()
        raise
