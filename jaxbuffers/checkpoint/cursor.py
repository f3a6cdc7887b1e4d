"""Where a store of episodes was when a checkpoint was taken, and what a resumed run does about what came later."""

from typing import Any, Literal, Protocol, runtime_checkable

from jaxbuffers.checks import one_of
from jaxbuffers.errors import CheckpointError, ConfigurationError

Later = Literal["error", "drop", "keep"]


@runtime_checkable
class Durable(Protocol):
    """What is on the disk by itself, and of which a checkpoint only notes how far it had come.

    `EpisodeStore` is one.
    """

    def checkpoint(self) -> dict[str, Any]:
        """Make everything durable that was committed, and return where this is, as JSON."""
        ...

    def restore_check(self, cursor: dict[str, Any]) -> list[int]:
        """Return the ids of what was committed after a cursor, oldest first.

        Raises:
          CheckpointError: it is another store, or lacks what was committed at the cursor.
        """
        ...

    def delete(self, ids: list[int]) -> Any:
        """Delete what has these ids."""
        ...


def note(store: Any) -> dict[str, Any]:
    """Return the cursor of a store."""
    if not isinstance(store, Durable):
        raise ConfigurationError(
            f"store must be a jb.EpisodeStore, or have checkpoint(), restore_check() and delete(), got {store!r}."
        )
    return dict(store.checkpoint())


def later_ids(store: Any, cursor: dict[str, Any] | None, later: Later, path: str) -> list[int]:
    """Return what was committed to a store after a checkpoint, if that is not refused; nothing is deleted yet."""
    one_of("later", later, ("error", "drop", "keep"))
    if cursor is None:
        raise CheckpointError(f"{path} was saved without a store; leave store out.")
    if not isinstance(store, Durable):
        raise ConfigurationError(
            f"store must be a jb.EpisodeStore, or have checkpoint(), restore_check() and delete(), got {store!r}."
        )
    ids = list(store.restore_check(cursor))
    if ids and later == "error":
        raise CheckpointError(
            f"{len(ids)} episodes were committed to the store after {path} was saved, from {ids[0]} on: a resumed run "
            f'would find them before it has made them. Give later="drop" to delete them, or later="keep".'
        )
    return ids
