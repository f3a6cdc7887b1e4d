"""Rows as they are given, checked, and as the bytes that are kept of them."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxbuffers.errors import ShapeError, StructureError
from jaxbuffers.host import convert
from jaxbuffers.host.checks import usable
from jaxbuffers.row import RowSpec, check_leaf, field, show
from jaxbuffers.texts import TextTable
from jaxbuffers.texts.nested import flatten

FLAGS = ("is_first", "is_last", "is_terminal")


@dataclass(frozen=True)
class Finished:
    """An episode to be stored.

    Attributes:
      leaves: its rows, ``[T + 1, ...]`` a leaf, contiguous.
      stream: where it comes from; -1 if nobody said.
      users: the user's columns.
    """

    leaves: list[np.ndarray]
    stream: int
    users: dict[str, Any]

    def __len__(self) -> int:
        return len(self.leaves[0])


def spec_of(rows: Any) -> RowSpec:
    """Return what the rows of an episode are, by the arrays that hold them."""
    flat, treedef = jax.tree_util.tree_flatten_with_path(rows)
    described = []
    for path, leaf in flat:
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not len(leaf.shape):
            raise ShapeError(
                f"leaf {jax.tree_util.keystr(path)} has no axis: give the rows of an episode, [T + 1, ...]."
            )
        whole = hasattr(leaf, "shape") and hasattr(leaf, "dtype")
        described.append(jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) if whole else leaf)
    return RowSpec.of(jax.tree.unflatten(treedef, described))


def leaves_of(
    spec: RowSpec, rows: Any, axes: int, texts: TextTable, least: int = 1
) -> tuple[list[Any], tuple[int, ...]]:
    """Return the checked leaves of rows with so many leading axes, and these axes; texts as nested lists or ids.

    Raises:
      StructureError, ShapeError, DtypeError: as `Replay.add` does.
    """
    try:
        leaves = spec.treedef.flatten_up_to(rows)
    except (ValueError, TypeError, AttributeError):
        spec.leading(rows)  # raises, and says what is missing
        raise
    lead: tuple[int, ...] | None = None
    for path, shape, dtype, leaf in zip(spec.paths, spec.shapes, spec.dtypes, leaves, strict=True):
        if path in spec.texts and not hasattr(leaf, "dtype"):
            continue
        own = check_leaf(path, leaf, shape, dtype)
        if len(own) != axes or (lead is not None and own != lead):
            wanted = f"{axes} leading axes" if lead is None else f"the leading axes {lead}, as the others"
            raise ShapeError(
                f"{show(path)} has the leading axes {own} before its own shape {shape}, expected {wanted}."
            )
        lead = own
    if lead is None:
        lead = np.shape(leaves[0])[:axes]  # of lists of texts
    if lead[0] < least:
        raise ShapeError(f"the rows have the leading axes {lead}: there are none. An episode has at least one row.")
    for i, (path, shape) in enumerate(zip(spec.paths, spec.shapes, strict=True)):
        if path in spec.texts:
            leaves[i] = convert.texts(path, leaves[i], shape, lead)
            if hasattr(leaves[i], "dtype"):
                leaves[i] = np.asarray(leaves[i])
                texts.lookup(leaves[i])  # raises where they are ids of another table
        elif not isinstance(leaves[i], np.ndarray):
            leaves[i] = np.asarray(usable(path, leaves[i]))
    return leaves, lead


def interned(spec: RowSpec, leaves: list[Any], texts: TextTable, mask: np.ndarray | None = None) -> list[np.ndarray]:
    """Return the leaves as arrays, texts as their ids; of rows that ``mask`` leaves out no text is stored."""
    if mask is not None:
        for i, path in enumerate(spec.paths):
            if path in spec.texts and not isinstance(leaves[i], np.ndarray):
                leaves[i] = _masked(leaves[i], mask.tolist(), spec.shapes[i])
    return all_interned(spec, [leaves], texts)[0]


def all_interned(spec: RowSpec, episodes: list[list[Any]], texts: TextTable) -> list[list[np.ndarray]]:
    """Return the leaves of episodes as arrays, texts as their ids: all are looked up together."""
    named = [i for i, path in enumerate(spec.paths) if path in spec.texts]
    places = [(leaves, i) for leaves in episodes for i in named if not isinstance(leaves[i], np.ndarray)]
    given = [flatten(leaves[i]) for leaves, i in places]
    ids, end = texts.intern([text for part in given for text in part.items]), 0
    for (leaves, i), part in zip(places, given, strict=True):
        begin, end = end, end + len(part.items)
        leaves[i] = ids[begin:end].reshape(part.shape)
    return episodes


def check_flags(spec: RowSpec, leaves: list[np.ndarray]) -> None:
    """Refuse flags that are not those of one whole episode; a flag that the row does not have is not asked for."""
    first, last, terminal = (flag(spec, leaves, name) for name in FLAGS)
    if first is not None:
        if first[1:].any():
            at = 1 + int(np.argmax(first[1:]))
            raise StructureError(f"is_first is True on row {at}: give one episode at a time.")
        if not first[0]:
            raise StructureError("is_first is False on row 0: give an episode from its first row on.")
    if last is not None:
        if last[:-1].any():
            at = int(np.argmax(last[:-1]))
            raise StructureError(f"is_last is True on row {at} of {len(last)}: give one episode at a time.")
        if not last[-1]:
            raise StructureError(
                "is_last is False on the last row: an episode ends with the row of its final observation, for which "
                "is_last is True. jb.episode_rows makes such rows."
            )
    if terminal is not None and (terminal[:-1].any() or (last is not None and terminal[-1] and not last[-1])):
        raise StructureError("is_terminal is True where is_last is False: a terminal row is the last of its episode.")


def ending(spec: RowSpec, leaves: list[np.ndarray]) -> str:
    """Say how an episode ended: "terminated", "truncated", "cut" (no last row came), or "unknown" (no flags)."""
    last, terminal = flag(spec, leaves, "is_last"), flag(spec, leaves, "is_terminal")
    if terminal is not None and terminal[-1]:
        return "terminated"
    if last is None:
        return "unknown"
    return "truncated" if last[-1] else "cut"


def reward_sum(spec: RowSpec, leaves: list[np.ndarray]) -> float:
    """Return the sum of all rewards in float64; NaN where the row has no scalar reward."""
    if ("reward",) not in spec.paths:
        return float("nan")
    at = spec.paths.index(("reward",))
    if spec.shapes[at] or spec.dtypes[at].kind == "c":
        return float("nan")
    return float(np.sum(leaves[at].astype(np.float64))) + 0.0  # one zero, as in other columns


def flag(spec: RowSpec, leaves: list[np.ndarray], name: str) -> Any:
    """Return a flag of the rows; None where they have none of that name that is one bool a row."""
    if (name,) not in spec.paths:
        return None
    at = spec.paths.index((name,))
    return leaves[at] if spec.dtypes[at] == np.bool_ and not spec.shapes[at] else None


def _masked(given: Any, mask: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(mask, list):
        return [_masked(part, keep, shape) for part, keep in zip(given, mask, strict=True)]
    return given if mask else np.full(shape, None).tolist()


def top_level(rows: Any, name: str) -> Any:
    """Return a top-level field of rows, if they have it."""
    return field(rows, name)


def with_axis(spec: RowSpec, rows: Any) -> Any:
    """Return rows with a first axis of size 1."""
    try:
        leaves = spec.treedef.flatten_up_to(rows)
    except (ValueError, TypeError, AttributeError):
        spec.leading(rows)  # raises, and says what is missing
        raise
    return spec.treedef.unflatten([leaf[None] if hasattr(leaf, "dtype") else [leaf] for leaf in leaves])
