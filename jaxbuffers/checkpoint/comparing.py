"""Whether what was saved is what the program now has room for: everything that differs, in one error."""

from typing import Any

from jaxbuffers.checkpoint.leaves import Described, difference
from jaxbuffers.checkpoint.snapshot import FORMAT, versions
from jaxbuffers.checkpoint.tree import Node
from jaxbuffers.errors import CheckpointError, ConfigurationError, ShapeError, StructureError
from jaxbuffers.states.made_by import differences

SHOWN = 20  # lines in an error
REFILL = (
    "The rows of a replay are not moved into one of another size: restore them with the sizes they were saved with and "
    "add them to the new replay, or begin with init() and fill it from a store, store.refill(replay, state); "
    "see docs/checkpoints.md."
)


def check_version(path: str, words: dict[str, Any], any_version: bool) -> None:
    """Refuse another format, and states of a release whose states may mean something else."""
    if words.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was saved in format {words.get('format')}, this version of jaxbuffers reads {FORMAT}; use the "
            f"version that saved it, jaxbuffers {words.get('versions', {}).get('jaxbuffers', 'unknown')}."
        )
    saved, here = words["versions"]["jaxbuffers"], versions()["jaxbuffers"]
    if (words["made_by"] or words["parts"]) and saved.split(".")[:2] != here.split(".")[:2] and not any_version:
        raise CheckpointError(
            f"{path} was saved by jaxbuffers {saved}, this is {here}: the arrays of a state may mean something else. If "
            f"the changelog says that they do not, give any_version=True; otherwise use the version that saved it."
        )


def check_alike(path: str, words: dict[str, Any], like: Node) -> None:
    """Raise unless a tree has the leaves that were saved, made by the same configurations.

    Raises:
      StructureError: leaves are missing, or there are more.
      ConfigurationError: a state comes from another configuration.
      ShapeError, DtypeError: a leaf is another.
    """
    saved, here = words["leaves"], like.everything()
    lines = [f"leaf {name!r}: saved {_what(saved[name])}, not here" for name in saved.keys() - here.keys()]
    lines += [f"leaf {name!r}: not saved, here" for name in here.keys() - saved.keys()]
    if lines:
        raise StructureError(_error(path, "other leaves", sorted(lines)))
    _check_makers(path, words["made_by"], like)
    found = [each for name, leaf in here.items() if (each := difference(name, saved[name], leaf)) is not None]
    if found:
        resized = any(_inside(name, words["made_by"]) for name, leaf in here.items() if difference(name, saved[name], leaf))
        kind = ShapeError if all(each is ShapeError for each, _ in found) else next(
            each for each, _ in found if each is not ShapeError
        )
        raise kind(_error(path, "other arrays", [line for _, line in found], REFILL if resized else ""))


def _check_makers(path: str, saved: dict[str, dict[str, str]], like: Node) -> None:
    here = {name: maker.text for name, maker in like.makers().items()}
    if saved.keys() != here.keys():
        lines = [f"{name!r} was saved as a state of this library, and is none here" for name in saved.keys() - here.keys()]
        lines += [f"{name!r} is a state of this library, and was none" for name in here.keys() - saved.keys()]
        raise StructureError(_error(path, "other states", sorted(lines)))
    lines, resized = [], False
    for name, found in saved.items():
        for line in differences(found, here[name], "the saved state", "here it", {}):
            resized |= line.startswith("rows of each stream")
            lines.append(f"{name!r}: {line}" if name else line)
    if lines:
        raise ConfigurationError(_error(path, "states of another configuration", lines, REFILL if resized else ""))


def _error(path: str, what: str, lines: list[str], advice: str = "") -> str:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    shown = "".join(f"\n  {line}" for line in [*lines[:SHOWN], *more])
    return f"{path} holds {what} than are here; nothing was restored.{shown}" + (f"\n{advice}" if advice else "")


def _inside(name: str, states: dict[str, Any]) -> bool:
    return any("rows of each stream" in text and (not state or name.startswith(f"{state}.")) for state, text in states.items())


def _what(described: Described) -> str:
    return described.get("dtype", described["kind"])
