"""The answering tokens of a response, and the places at which they are looked for."""

from typing import Any, NamedTuple

from jaxbuffers.errors import DtypeError, ResponseError, TrajectoryError
from jaxbuffers.trajectories.kinds import json_value, shown

TOKENS = ("thinking", "thought", "memory", "action", "tool_call", "observation")
DICTS = ("action", "tool_call")  # what may be a dict; a tool call always is
ALIASES = {"memory_updated": "memory", "memory updated": "memory"}

Tokens = dict[str, Any]


class Region(NamedTuple):
    """A part of a response, which knows where it lies."""

    text: str
    start: int
    stop: int

    @property
    def inner(self) -> str:
        """The characters in it."""
        return self.text[self.start : self.stop]

    def part(self, start: int, stop: int | None = None) -> "Region":
        """Return the part between two characters of the whole text."""
        return Region(self.text, start, self.stop if stop is None else stop)


def token_name(written: str) -> str | None:
    """Return the token that a label, a tag or a key stands for, whatever its case; None if none."""
    name = written.lower()
    name = ALIASES.get(name, name)
    return name if name in TOKENS else None


def put(found: Tokens, name: str, value: Any, place: int) -> None:
    """Add a token; refuse a second one of its name."""
    if name in found:
        raise ResponseError("repeated", place, f"there is a second {name}.")
    found[name] = value


def settled(found: Tokens, place: int) -> Tokens:
    """Return tokens in their order; refuse those that say nothing to do."""
    if not found.get("action") and "tool_call" not in found:
        raise ResponseError("no action", place, f"there is neither an action nor a tool call; got {list(found)}.")
    return {name: found[name] for name in TOKENS if name in found}


def checked(tokens: Any, who: str) -> Tokens:
    """Return tokens that a function of the user's made, or that are to be written.

    Raises:
      DtypeError: they are no tokens.
    """
    if not isinstance(tokens, dict):
        raise DtypeError(f"{who} must be a dict of tokens, got {shown(tokens)}.")
    for name, value in tokens.items():
        if name not in TOKENS:
            raise DtypeError(f"{who} has the token {name!r}; there are {', '.join(TOKENS)}.")
        if not (isinstance(value, str) and name != "tool_call") and not (isinstance(value, dict) and name in DICTS):
            wanted = "a dict" if name == "tool_call" else "a str or a dict" if name in DICTS else "a str"
            raise DtypeError(f"{who} must have {wanted} as {name!r}, got {shown(value)}.")
        try:
            json_value(name, value)
        except TrajectoryError as error:
            raise DtypeError(f"{who}: {error}") from error
    try:
        return settled(tokens, 0)
    except ResponseError as error:
        raise DtypeError(f"{who}: {error.detail}") from error
