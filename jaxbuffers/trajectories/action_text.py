"""parse_action and render_action: ``click(12, 34)``, or a dict of a name and arguments, and typed actions."""

import dataclasses
import re
from typing import Any

from jaxbuffers.errors import ConfigurationError, ResponseError
from jaxbuffers.trajectories import strict_json
from jaxbuffers.trajectories.actions import KINDS, NAMES, TypedAction, arguments
from jaxbuffers.trajectories.kinds import shown

CALL = re.compile(r"\s*([A-Za-z_]+)\s*(\()?\s*")
KEYWORD = re.compile(r"([A-Za-z_]+)\s*=(?!=)\s*")
SPACE = re.compile(r"\s*")
JSON = re.compile(r"\s*(?:(\{.*\})|```(?:json)?\s*(\{.*\})\s*```)\s*", re.S)
QUOTED = re.compile(r"'((?:[^'\\\x00-\x1f]|\\.)*)'")
POINTS = ("coordinate", "coordinates", "point", "position")
KEYS = ("action", "name", "type", "key")  # under which a dict says what to do, the first that there is
NESTED = ("arguments", "args", "parameters")


def parse_action(action: str | dict[str, Any], size: tuple[float, float] | None = None) -> TypedAction:
    """Read an action: a call in words, or a dict such as a tool call.

    A call has the fields of the action in their order or by their names, in JSON or in single quotes:
    ``click(12, 34)``, ``type("red door", x=5, y=6)``, ``scroll("down")``, ``back()``. A dict has its name under
    "action", "name", "type" or "key", and its fields beside it or under "arguments"; a point may be one list ``[x, y]``
    under "coordinate". The JSON text of a dict, fenced or not, is read like the dict. A point is always x, then y.

    Args:
      action: the text or the dict.
      size: width and height; a point beyond them is refused. None to take any.

    Returns:
      `Click`, `Type`, `Scroll`, `Goto`, `Back`, `Wait` or `Stop`.

    Raises:
      ResponseError: it is no action, with the reason and the place.

    >>> from jaxbuffers.trajectories import parse_action
    >>> parse_action("click(12, 34)")
    Click(x=12, y=34)
    >>> parse_action({"name": "computer", "arguments": {"action": "left_click", "coordinate": [12, 34]}})
    Click(x=12, y=34)
    """
    if isinstance(action, str) and (found := JSON.fullmatch(action)):
        try:
            action = strict_json.loads(found[1] or found[2])
        except ValueError as error:
            raise ResponseError("not JSON", found.start(1 if found[1] else 2), f"{error}.") from error
    if isinstance(action, str):
        name, positional, named, place = _call(action)
    elif isinstance(action, dict):
        name, named = _entries(action)
        positional, place = [], 0
    else:
        raise ResponseError("no action", 0, f"expected a str or a dict, got {shown(action)}.")
    made = _made(name, positional, named, place)
    if size is not None and getattr(made, "x", None) is not None:
        for field, limit in zip("xy", size, strict=True):
            if getattr(made, field) >= limit:
                raise ResponseError("outside", place, f"{field}={getattr(made, field)} is not below {limit}.")
    return made


def render_action(action: TypedAction) -> str:
    """Write an action as a call that `parse_action` reads.

    >>> from jaxbuffers.trajectories import Click, Stop, render_action
    >>> render_action(Click(12, 34)), render_action(Stop("It is red"))
    ('click(12, 34)', 'stop("It is red")')
    """
    if not isinstance(action, TypedAction):
        names = ", ".join(kind.__name__ for kind in KINDS.values())
        raise ConfigurationError(f"action must be one of {names}, got {action!r}.")
    given, skipped, parts = arguments(action), False, []
    for field in dataclasses.fields(action):
        if field.name not in given:
            skipped = True
            continue
        value = strict_json.dumps(given[field.name])
        parts.append(f"{field.name}={value}" if skipped else value)
    return f"{type(action).__name__.lower()}({', '.join(parts)})"


def action_of(tokens: dict[str, Any], size: tuple[float, float] | None = None) -> TypedAction:
    """Read the action in the tokens of a response: that of the tool call, where there is one.

    Raises:
      ResponseError: it is no action.

    >>> from jaxbuffers.trajectories import action_of, parse_response
    >>> action_of(parse_response("Action: stop('red')"))
    Stop(answer='red')
    """
    if "tool_call" not in tokens and "action" not in tokens:
        raise ResponseError("no action", 0, f"there is neither an action nor a tool call; got {list(tokens)}.")
    return parse_action(tokens["tool_call"] if "tool_call" in tokens else tokens["action"], size)


def _made(name: str, positional: list[Any], named: dict[str, Any], place: int) -> TypedAction:
    if name.lower() not in NAMES:
        raise ResponseError("unknown action", place, f"there is no {name!r}; there are {', '.join(KINDS)}.")
    kind = KINDS[NAMES[name.lower()]]
    known = [field.name for field in dataclasses.fields(kind)]
    if len(positional) > len(known):
        raise ResponseError("arguments", place, f"{name} takes {len(known)} at most, got {len(positional)}.")
    given = dict(zip(known, positional, strict=False))
    for key, value in named.items():
        if key not in known:
            raise ResponseError("arguments", place, f"{name} has no {key!r}; it has {', '.join(known) or 'none'}.")
        if key in given:
            raise ResponseError("arguments", place, f"{name} has {key!r} twice.")
        given[key] = value
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise ResponseError("arguments", place, str(error)) from error


def _call(text: str) -> tuple[str, list[Any], dict[str, Any], int]:
    head = CALL.match(text)
    if head is None:
        raise ResponseError("no action", 0, "expected a name such as click(12, 34).")
    positional: list[Any] = []
    named: dict[str, Any] = {}
    at, place = head.end(), head.start(1)
    if head[2] is None:
        if at < len(text):
            raise ResponseError("no action", at, f"expected {head[1]}(...).")
        return head[1], positional, named, place
    while not text.startswith(")", at):
        key = KEYWORD.match(text, at)
        value, at = _value(text, key.end() if key else at)
        if key is None:
            if named:
                raise ResponseError("arguments", at, "a value without a name follows one with a name.")
            positional.append(value)
        elif key[1] in named:
            raise ResponseError("arguments", key.start(), f"{key[1]} stands there twice.")
        else:
            named[key[1]] = value
        at = _after(text, at)
        if text.startswith(",", at):
            at = _after(text, at + 1)
        elif not text.startswith(")", at):
            raise ResponseError("unclosed", at, "expected a comma or a closing parenthesis.")
    if _after(text, at + 1) < len(text):
        raise ResponseError("no action", at + 1, "there is more after the closing parenthesis.")
    return head[1], positional, named, place


def _value(text: str, at: int) -> tuple[Any, int]:
    if single := QUOTED.match(text, at):
        inner = re.sub(r'\\(.)|"', _requote, single[1], flags=re.S)
        try:
            return strict_json.loads(f'"{inner}"'), single.end()
        except ValueError as error:
            raise ResponseError("arguments", at, f"{single[0][:40]} is no text: {error}.") from error
    try:
        return strict_json.prefix(text, at)
    except ValueError as error:
        raise ResponseError("arguments", at, f"expected a number or a quoted text: {error}.") from error


def _requote(found: re.Match[str]) -> str:
    if found[0] == '"':
        return '\\"'
    return "'" if found[1] == "'" else found[0]


def _after(text: str, at: int) -> int:
    return SPACE.match(text, at).end()  # type: ignore[union-attr]  # it always matches


def _entries(action: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    given = dict(action)
    nested = [key for key in NESTED if key in given]
    if len(nested) > 1:
        raise ResponseError("ambiguous", 0, f"it has both {nested[0]!r} and {nested[1]!r}.")
    key = next((each for each in KEYS if isinstance(given.get(each), str)), None)
    if nested:
        inner = given.pop(nested[0])
        if not isinstance(inner, dict):
            raise ResponseError("arguments", 0, f"{nested[0]!r} must be a dict, got {shown(inner)}.")
        if isinstance(inner.get("action"), str):  # the outer name is that of the tool
            if len(given) != (key is not None):
                raise ResponseError("arguments", 0, f"there are keys beside {nested[0]!r}: {list(given)}.")
            given, key = dict(inner), "action"
        elif twice := set(given) & set(inner):
            raise ResponseError("arguments", 0, f"{min(twice)!r} stands there twice.")
        else:
            given |= inner
    if key is None:
        raise ResponseError("no action", 0, f"none of {', '.join(KEYS)} says what to do.")
    name = given.pop(key)
    for each in POINTS:
        if each in given:
            point = given.pop(each)
            if not isinstance(point, list) or len(point) != 2 or "x" in given or "y" in given:
                raise ResponseError("arguments", 0, f"{each!r} must be [x, y], alone, got {shown(point)}.")
            given["x"], given["y"] = point
    return name, given
