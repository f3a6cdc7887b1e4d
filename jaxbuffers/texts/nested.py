"""Nested lists of texts, and arrays of ids."""

import reprlib
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.errors import DtypeError, ShapeError, UnknownTextError

NULL = -1  # no text
PLAIN = frozenset({str, type(None)})  # the types of most items
UNKNOWN = -2  # what a Remap returns for ids that it does not know


class Flat(NamedTuple):
    """Texts one after the other, and the shape they had."""

    shape: tuple[int, ...]
    items: list[str | None]


def flatten(texts: Any) -> Flat:
    """Take (nested) lists of texts apart."""
    if texts is None or isinstance(texts, str):
        return Flat((), [texts])
    if isinstance(texts, np.ndarray):
        return flatten(texts.tolist()) if texts.size else Flat(texts.shape, [])
    if not isinstance(texts, list | tuple):
        raise DtypeError(f"expected a str or a list of them, got {type(texts).__name__} {reprlib.repr(texts)}.")
    if PLAIN.issuperset(map(type, texts)):
        return Flat((len(texts),), list(texts))
    parts = [flatten(text) for text in texts]
    if len({part.shape for part in parts}) > 1:
        raise ShapeError("lists of texts have different lengths; fill them up with None.")
    return Flat((len(parts), *(parts[0].shape if parts else ())), [text for part in parts for text in part.items])


def nested(ids: Any, found: dict[int, str | None]) -> Any:
    """Put the texts of (nested) lists of ids in their places."""
    return [nested(i, found) for i in ids] if isinstance(ids, list) else found[ids]


def integers(ids: Any) -> np.ndarray:
    """Return ids as int64, of the same shape."""
    array = np.asarray(ids)
    if array.dtype.kind not in "iu" and array.size:
        raise DtypeError(f"ids must be integers, got {array.dtype}{list(array.shape)}.")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise unknown(int(array.max()))
    return array.astype(np.int64)


def unknown(i: int) -> UnknownTextError:
    """Return the error for an id that has no text."""
    if i == UNKNOWN:
        return UnknownTextError("text id -2 is what a Remap returns for ids that it does not know.")
    return UnknownTextError(
        f"text id {i} is not in this table: it was freed by sweep(), never committed, or given by another table."
    )
