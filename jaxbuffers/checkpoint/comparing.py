"""Whether what was saved is what the program now has room for: everything that differs, in one error."""

from typing import Any

import numpy as np

from jaxbuffers.checkpoint.leaves import called, difference
from jaxbuffers.checkpoint.snapshot import versions
from jaxbuffers.checkpoint.tree import Node
from jaxbuffers.errors import CheckpointError, ConfigurationError, DtypeError, ShapeError, StructureError
from jaxbuffers.states.made_by import differences

SHOWN = 20  # lines in an error
REFILL = (
    "The rows of a replay are not moved into one of another size: restore them with the sizes they were saved with and "
    "add them to the new replay, or begin with init() and fill it from a store, store.refill(replay, state); "
    "see docs/checkpoints.md."
)

SHARDS = (
    "A jb.Sharded is restored into as many shards as it was saved with, on however many processes: make its mesh axis "
    "of that size."
)
_SHARDS = "shards of a jb.Sharded, or seeds"


def check_version(path: str, words: dict[str, Any], any_version: bool) -> None:
    """Refuse states of a release whose states may mean something else."""
    saved, here = words["versions"]["jaxbuffers"], versions()["jaxbuffers"]
    if (words["made_by"] or words["parts"]) and saved.split(".")[:2] != here.split(".")[:2] and not any_version:
        raise CheckpointError(
            f"{path} was saved by jaxbuffers {saved}, this is {here}: the arrays of a state may mean something else. "
            f"If the changelog says that they do not, give any_version=True; otherwise use the version that saved it."
        )


def check_alike(path: str, words: dict[str, Any], like: Node) -> None:
    """Raise unless a tree has the leaves that were saved, made by the same configurations; say all that differs.

    Raises:
      ConfigurationError: a state comes from another configuration.
      StructureError: leaves are missing, or there are more.
      ShapeError, DtypeError: a leaf is another.
    """
    saved, here = words["leaves"], like.everything()
    made, makes = words["made_by"], {name: maker.text for name, maker in like.makers().items()}
    found: list[tuple[type[Exception], str]] = [
        (StructureError, f"{called(name)}: saved, not here") for name in saved.keys() - here.keys()
    ]
    found += [(StructureError, f"{called(name)}: here, not saved") for name in here.keys() - saved.keys()]
    for name in made.keys() ^ makes.keys():
        found.append((StructureError, f"{name!r}: a state of this library {'when saved' if name in made else 'here'}"))
    found.sort(key=lambda each: each[1])
    resized = False
    for name in [name for name in here if name in saved]:
        if (other := difference(name, saved[name], here[name])) is not None:
            found.append(other)
            resized |= any("rows of each stream" in made[each] and _is_in(name, each) for each in made)
    configured = []
    for name in [name for name in made if name in makes]:
        for line in differences(made[name], makes[name], "saved", "here", {}):
            configured.append((ConfigurationError, f"{name!r}: {line}" if name else line))
            resized |= line.startswith("rows of each stream")
        if (other_shards := _shards(name, saved, here)) is not None:
            configured.append((ConfigurationError, other_shards))
    if found := configured + found:
        kinds = [kind for kind, _ in found]
        kind = next(each for each in (ConfigurationError, StructureError, DtypeError, ShapeError) if each in kinds)
        lines = [line for _, line in found]
        shown = lines if len(lines) <= SHOWN else [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"]
        text = "".join(f"\n  {line}" for line in shown)
        advice = f"\n{REFILL}" if resized else ""
        advice += f"\n{SHARDS}" if any(_SHARDS in line for line in lines) else ""
        raise kind(f"{path} was saved from something else; nothing was restored.{text}{advice}")


def _shards(name: str, saved: dict[str, Any], here: dict[str, Any]) -> str | None:
    """Say that a replay was saved with another number of shards, if it was."""
    leaf = f"{name}.dropped" if name else "dropped"  # of a plain replay a number, of one over shards one for each
    if leaf not in saved or leaf not in here:
        return None
    before, now = saved[leaf].get("shape"), list(np.shape(here[leaf]))
    if before == now or before is None or max(len(before), len(now)) != 1:
        return None
    numbers = [str(each[0]) if each else "none" for each in (before, now)]
    return f"{name!r}: {_SHARDS}: saved has {numbers[0]}, here has {numbers[1]}"


def _is_in(leaf: str, state: str) -> bool:
    return not state or leaf.startswith(f"{state}.")
