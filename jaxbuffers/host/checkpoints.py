"""Host buffers in checkpoints: state, key, texts, batches drawn ahead, the trajectory that is open."""

import os
from abc import ABC, abstractmethod
from typing import Any

import jax
import numpy as np

from jaxbuffers import checkpoint
from jaxbuffers.checkpoint.tree import Holder, Part
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.host.ahead import Ahead, check_sizes
from jaxbuffers.host.batch import HostBatch, text_names
from jaxbuffers.host.batches import Drawn, living
from jaxbuffers.host.keys import Key
from jaxbuffers.host.steps import blank
from jaxbuffers.host.verbs import Drawing


class Saved(ABC):
    """What can be saved to a file by itself, and be loaded from there."""

    def save(self, path: str | os.PathLike, *, metadata: Any = None, overwrite: bool = False) -> None:
        """Save everything to one file, texts included; see `jaxbuffers.checkpoint.save`, which saves more at once.

        Batches that iterators have drawn ahead are part of it: the iterators that are made after `load` begin with
        them, in the order in which those that were saved were made.

        Args:
          path: where the file will be.
          metadata: JSON of the user's own, for `jaxbuffers.checkpoint.restore`.
          overwrite: whether to take the place of a checkpoint that is there.

        Raises:
          CheckpointError: it cannot be written, or there is a file already.
        """
        checkpoint.save(path, self, metadata=metadata, overwrite=overwrite)

    def load(self, path: str | os.PathLike, *, any_version: bool = False) -> None:
        """Go back to what `save` saved, of an equal configuration: bit for bit, and so is what is drawn next.

        The texts are put into the table that is here, under the same ids.

        Args:
          path: of the file.
          any_version: load what another release of this library saved.

        Raises:
          CheckpointError, DamagedCheckpointError: there is no such file, or not a whole one; nothing has changed.
          StructureError, ShapeError, DtypeError, ConfigurationError: it was saved from another configuration, or other
            fields; nothing has changed.
          UnknownTextError: the table has other texts under the saved ids; nothing has changed.
        """
        checkpoint.restore(path, self, any_version=any_version)

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Return everything but the texts, for those who want bytes."""


def _part(buffer: Any) -> Part:
    lists = [*([*each.ahead] for each in living(buffer._guard)), *buffer._ahead.lists]
    while lists and not lists[-1]:
        lists.pop()
    return Part(
        tree={
            "state": buffer._state,
            "key": buffer.key,
            "ahead": [
                [{"batch": each.batch.batch, "before": each.before.whole, "after": each.after.whole} for each in some]
                for some in lists
            ],
        },
        facts={
            "view": type(buffer.replay.view).__name__,
            "key": buffer._key.impl,
            "words": list(buffer._key.words.shape),
            "ahead": [[each.lead[0] if len(each.lead) == 1 else list(each.lead) for each in some] for some in lists],
        },
        table=buffer.table,
    )


def _like(buffer: Any, facts: dict[str, Any]) -> Any:
    if (ours := type(buffer.replay.view).__name__) != facts["view"]:
        raise ConfigurationError(f"the buffer was saved with the view {facts['view']}, here it has {ours}.")
    leads = [[(lead,) if isinstance(lead, int) else tuple(lead) for lead in some] for some in facts["ahead"]]
    for some, batches in zip(leads, living(buffer._guard), strict=False):
        check_sizes(some, batches)
    key = words = jax.ShapeDtypeStruct(tuple(facts["words"]), np.uint32)
    if facts["key"] is not None:
        key = jax.eval_shape(lambda words: jax.random.wrap_key_data(words, impl=facts["key"]), key)

    def drawn(lead: tuple[int, ...]) -> dict[str, Any]:
        drawing = Drawing(lead[-1], lead[0] if len(lead) > 1 else None, facts["key"])
        batch, _ = jax.eval_shape(buffer._verbs.sample(drawing), buffer._state, words)
        return {"batch": batch, "before": key, "after": key}

    return {"state": buffer._state, "key": key, "ahead": [[drawn(lead) for lead in some] for some in leads]}


def _take(buffer: Any, tree: dict[str, Any]) -> None:
    keys: dict[bytes, Key] = {}  # a draw that is taken back looks for the very key it left

    def own(key: jax.Array) -> Key:
        return keys.setdefault(np.asarray(Key.of(key).words).tobytes(), Key.of(key))

    def drawn(each: dict[str, Any]) -> Drawn:
        names = text_names(each["batch"].data, buffer._state.spec)
        batch = HostBatch(each["batch"], buffer.table, names)
        return Drawn(batch, batch.probability.shape, set(), own(each["before"]), own(each["after"]))

    with buffer._guard():
        ahead = Ahead([drawn(each) for each in some] for some in tree["ahead"])
        buffer._become(tree["state"], shared=False)
        buffer._key = own(tree["key"])
        buffer._overwritten.may_be_others = bool(tree["state"].spec.texts)
        buffer._ahead = ahead
        for batches in living(buffer._guard):
            batches.go_on(())
            ahead.hand_to(batches)


def _part_of_demonstrations(demonstrations: Any) -> Part:
    steps = demonstrations._open
    facts = {"kind": demonstrations._kind(), "open": [sorted(step) for step in steps]}
    return Part({"buffer": demonstrations.buffer, "open": steps}, facts)


def _like_demonstrations(demonstrations: Any, facts: dict[str, Any]) -> Any:
    if (ours := demonstrations._kind()) != facts["kind"]:
        raise ConfigurationError(f"saved from other demonstrations.\n  saved: {facts['kind']}\n  here:  {ours}")
    steps = [blank(names, demonstrations._features) for names in facts["open"]]
    return {"buffer": demonstrations.buffer, "open": steps}


def _take_demonstrations(demonstrations: Any, tree: dict[str, Any]) -> None:
    with demonstrations.buffer.section():
        demonstrations._open = tree["open"]


REPLAY = Holder(_part, _like, _take, lambda buffer: buffer.section())
DEMONSTRATIONS = Holder(
    _part_of_demonstrations, _like_demonstrations, _take_demonstrations, lambda each: each.buffer.section()
)
