"""What the fields of the components may hold: each function checks one value, and returns it."""

import math
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxbuffers.errors import TrajectoryError
from jaxbuffers.trajectories import strict_json

Kind = Callable[[str, Any], Any]

DIGITS = 4000  # of an int in JSON; Python reads and writes no more than 4300
_LARGE = 10**DIGITS


def refused(place: str, wanted: str, got: Any) -> TrajectoryError:
    """Return the error for a value of another type."""
    return TrajectoryError("type", place, f"must be {wanted}, got {shown(got)} of type {type(got).__name__}.")


def shown(value: Any) -> str:
    """Return a value in short, for an error."""
    try:
        return reprlib.repr(value)
    except ValueError:  # of an int with more digits than Python writes
        return "a value too long to write"


def text(place: str, value: Any) -> str:
    """Check a ``str``, and return it as a plain one, whatever it was derived from."""
    if not isinstance(value, str):
        raise refused(place, "a str", value)
    return _plain(value)


def flag(place: str, value: Any) -> bool:
    """Check a bool."""
    if not isinstance(value, bool | np.bool_):
        raise refused(place, "a bool", value)
    return bool(value)


def integer(place: str, value: Any) -> int:
    """Check an int of 64 bits."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise refused(place, "an int", value)
    if not -(2**63) <= value < 2**63:
        raise TrajectoryError("value", place, f"must fit 64 bits, got {shown(value)}.")
    return int(value)


def number(place: str, value: Any) -> float:
    """Check a finite number, and return it as a float of the same value."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise refused(place, "a number", value)
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise TrajectoryError("value", place, f"must be finite, got {shown(value)}.")
    if found != value:
        raise TrajectoryError("value", place, f"must be a number that a float can hold, got {shown(value)}.")
    return found


def name(place: str, value: Any) -> int | str:
    """Check what identifies something: an int or a ``str``."""
    return text(place, value) if isinstance(value, str) else integer(place, value)


def json_value(place: str, value: Any, depth: int = strict_json.DEPTH) -> Any:
    """Check what JSON can hold, and return a copy: None, bools, ints, finite floats, texts, lists, dicts of texts."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, int | float) and type(value) in (int, float):
        if isinstance(value, float) and not math.isfinite(value):
            raise TrajectoryError("value", place, f"must be finite, got {value}.")
        if isinstance(value, int) and not -_LARGE < value < _LARGE:
            raise TrajectoryError("value", place, f"is an int of more than {DIGITS} digits, which JSON cannot hold.")
        return value
    if not depth:
        raise TrajectoryError("value", place, f"lies more than {strict_json.DEPTH} lists and dicts deep.")
    if isinstance(value, list):
        return [json_value(f"{place}[{i}]", each, depth - 1) for i, each in enumerate(value)]
    if isinstance(value, dict):
        found = {}
        for key, each in value.items():
            if not isinstance(key, str):
                raise refused(f"{place} has a key that", "a str", key)
            found[_plain(key)] = json_value(f"{place}[{key!r}]", each, depth - 1)
        return found
    raise refused(place, "JSON: None, a bool, a number, a str, or a list or dict of them", value)


def json_dict(place: str, value: Any) -> dict[str, Any]:
    """Check a dict that JSON can hold."""
    if not isinstance(value, dict):
        raise refused(place, "a dict", value)
    return json_value(place, value)


def messages(place: str, value: Any) -> list[dict[str, Any]]:
    """Check a prompt, a list of messages or the JSON text of one, and return the list."""
    if isinstance(value, str):
        try:
            value = strict_json.loads(value)
        except ValueError as error:
            raise TrajectoryError("prompt", place, f"is no JSON: {error}. Give a list of messages.") from error
    try:
        found = json_value(place, value)
    except TrajectoryError as error:
        raise TrajectoryError("prompt", error.place, error.detail) from error
    if not isinstance(found, list) or not found:
        raise TrajectoryError("prompt", place, f"must be a list of messages, one at least, got {shown(value)}.")
    for i, message in enumerate(found):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str) or "content" not in message:
            raise TrajectoryError(
                "prompt",
                f"{place}[{i}]",
                f"must be a message, {{'role': str, 'content': ...}}, got {shown(message)}.",
            )
        if not isinstance(message["content"], str | list | None):
            got = shown(message["content"])
            raise TrajectoryError("prompt", f"{place}[{i}]['content']", f"must be a str or a list, got {got}.")
    return found


def columns(place: str, value: Any) -> dict[str, Any]:
    """Check columns of the user's own: ints, finite floats, bools and texts by name."""
    if not isinstance(value, dict):
        raise refused(place, "a dict", value)
    for key, each in value.items():
        if not isinstance(key, str):
            raise refused(f"{place} has a key that", "a str", key)
        if each is not None and type(each) not in (int, float, bool, str):
            raise refused(f"{place}[{key!r}]", "an int, a float, a bool or a str", each)
        if isinstance(each, float) and not math.isfinite(each):
            raise TrajectoryError("value", f"{place}[{key!r}]", f"must be finite, got {each}; None for no value.")
        if type(each) is int:
            integer(f"{place}[{key!r}]", each)
    return dict(value)


def or_none(kind: Kind) -> Kind:
    """Return the kind that may also be None."""

    def check(place: str, value: Any) -> Any:
        return None if value is None else kind(place, value)

    return check


def prompt_or_none(place: str, value: Any) -> list[dict[str, Any]] | None:
    """Check a prompt; None and "" mean that there is none."""
    return None if value is None or (isinstance(value, str) and not value) else messages(place, value)


def dict_or_empty(place: str, value: Any) -> dict[str, Any]:
    """Check a dict that JSON can hold; None means an empty one."""
    return {} if value is None else json_dict(place, value)


def _plain(value: str) -> str:
    return value if type(value) is str else str.__str__(value)
