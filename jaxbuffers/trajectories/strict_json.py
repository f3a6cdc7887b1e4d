"""JSON without guesses: no key twice, no NaN, no number too large, no half of a text that is lost."""

import json
import math
from json.encoder import encode_basestring as _quoted
from typing import Any

DEPTH = 64  # lists and dicts within each other


def loads(text: str) -> Any:
    """Read JSON.

    Raises:
      ValueError: it is none; its ``pos``, where it has one, is the character.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("lists and dicts lie too deep in each other") from None


def prefix(text: str, start: int) -> tuple[Any, int]:
    """Read the JSON that begins at a character; return it, and where it ends.

    Raises:
      ValueError: there is none.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError("lists and dicts lie too deep in each other") from None


def dumps(value: Any) -> str:
    """Write JSON on one line, compactly; equal values with keys in one order give equal texts."""
    if type(value) is dict and set(map(type, value.values())) == {str}:  # most messages, in a tenth of the time
        return "{" + ",".join([f"{_quoted(name)}:{_quoted(each)}" for name, each in value.items()]) + "}"
    return _ENCODER.encode(value)


def dumps_ascii(value: Any) -> str:
    """Write JSON on one line in ASCII, which every file can hold."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    found = float(digits)
    if math.isinf(found):
        raise ValueError(f"{digits[:40]} is too large for a float")
    return found


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_constant, parse_float=_finite)
