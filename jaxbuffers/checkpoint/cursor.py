"""Where a store of episodes was when a checkpoint was taken, and what a resumed run does about what came later."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from jaxbuffers.checks import one_of
from jaxbuffers.errors import CheckpointError, ConfigurationError

Later = Literal["error", "drop", "keep"]
_COLUMNS = {"id": np.int64, "length": np.int64, "time": np.float64}  # what tells one episode from all others


@runtime_checkable
class Durable(Protocol):
    """What is on the disk by itself, so that a checkpoint only notes how far it had come: an `EpisodeStore`.

    Attributes:
      metadata: columns ``[n]`` of its episodes, among them ``id``, which ascends and is never used again, ``length``
        and ``time``.
    """

    @property
    def metadata(self) -> Mapping[str, np.ndarray]:
        """Columns of the episodes that are committed."""
        ...

    def delete(self, ids: Any) -> Any:
        """Delete the episodes that have these ids; raise where nothing can be deleted, also for no ids."""
        ...


def note(store: Any) -> dict[str, Any]:
    """Return how far a store has come, as JSON."""
    columns = _columns(store)
    last = int(columns["id"][-1]) if len(columns["id"]) else -1
    return {"episodes": len(columns["id"]), "last": last, "digest": _digest(columns)}


def later_ids(store: Any, cursor: dict[str, Any] | None, later: Later, path: str) -> np.ndarray:
    """Return the ids of what was committed after a checkpoint, int64 ``[n]``, if that is not refused; delete nothing.

    Raises:
      CheckpointError: there are such episodes, and nobody said what to do; or the store cannot be as it was.
    """
    one_of("later", later, ("error", "drop", "keep"))
    if cursor is None:
        raise CheckpointError(f"{path} was saved without a store; leave store out.")
    columns = _columns(store)
    new = columns["id"] > cursor["last"]
    there = {name: column[~new] for name, column in columns.items()}
    if (gone := cursor["episodes"] - len(there["id"])) > 0:
        if later != "keep":
            raise CheckpointError(
                f"the store has lost episodes since {path} was saved, {gone} of {cursor['episodes']}: it cannot be as "
                f'it was. If this is the store that was saved, later="keep" goes on with what it has.'
            )
    elif _digest(there) != cursor["digest"]:
        raise CheckpointError(f"{path} was saved with another store: this one has other episodes.")
    ids = columns["id"][new]
    if len(ids) and later == "error":
        raise CheckpointError(
            f"the store has episodes that were committed after {path} was saved, {len(ids)} from id {ids[0]} on: a "
            f'resumed run would find them before it has made them. Give later="drop" to delete them, or '
            f'later="keep".'
        )
    return ids


def _columns(store: Any) -> dict[str, np.ndarray]:
    if not isinstance(store, Durable):
        raise ConfigurationError(f"store must be a jb.EpisodeStore, got {store!r}.")
    found = store.metadata
    order = np.argsort(found["id"], kind="stable")
    return {name: np.asarray(found[name], dtype)[order] for name, dtype in _COLUMNS.items()}


def _digest(columns: Mapping[str, np.ndarray]) -> str:
    total = blake2b(digest_size=16)
    for name in _COLUMNS:
        total.update(columns[name].tobytes())
    return total.hexdigest()
