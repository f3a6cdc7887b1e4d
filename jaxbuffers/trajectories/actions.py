"""Actions as typed values. Coordinates are always x, then y: x to the right, y down, from the upper left corner."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from jaxbuffers.checks import number, one_of, settle
from jaxbuffers.errors import DtypeError

DIRECTIONS = ("up", "down", "left", "right")
MOST = sys.float_info.max


def _point(action: Any, needed: bool) -> None:
    name = type(action).__name__
    if not needed and action.x is None and action.y is None:
        return
    settle(action, x=number(f"{name}.x", action.x, 0, MOST), y=number(f"{name}.y", action.y, 0, MOST))


def _text(action: Any, field: str) -> None:
    value = getattr(action, field)
    if not isinstance(value, str):
        raise DtypeError(f"{type(action).__name__}.{field} must be a str, got {value!r}.")


def _amount(action: Any, field: str) -> None:
    value = getattr(action, field)
    if value is not None:
        settle(action, **{field: number(f"{type(action).__name__}.{field}", value, 0, MOST)})


@dataclass(frozen=True)
class Click:
    """Click at a point.

    Attributes:
      x: to the right, not negative.
      y: down, not negative.
    """

    x: float
    y: float

    def __post_init__(self) -> None:
        _point(self, needed=True)


@dataclass(frozen=True)
class Type:
    """Type a text, at a point or where the cursor is.

    Attributes:
      text: what to type.
      x: to the right; None where the cursor is.
      y: down.
    """

    text: str
    x: float | None = None
    y: float | None = None

    def __post_init__(self) -> None:
        _text(self, "text")
        _point(self, needed=False)


@dataclass(frozen=True)
class Scroll:
    """Scroll.

    Attributes:
      direction: "up", "down", "left" or "right".
      amount: how far, in the units of the environment; None for its usual step.
      x: to the right, where to scroll; None for the page.
      y: down.
    """

    direction: str
    amount: float | None = None
    x: float | None = None
    y: float | None = None

    def __post_init__(self) -> None:
        one_of("Scroll.direction", self.direction, DIRECTIONS)
        _amount(self, "amount")
        _point(self, needed=False)


@dataclass(frozen=True)
class Goto:
    """Open an address.

    Attributes:
      url: the address.
    """

    url: str

    def __post_init__(self) -> None:
        _text(self, "url")


@dataclass(frozen=True)
class Back:
    """Go back one page."""


@dataclass(frozen=True)
class Wait:
    """Do nothing for a while.

    Attributes:
      seconds: how long; None for the usual time.
    """

    seconds: float | None = None

    def __post_init__(self) -> None:
        _amount(self, "seconds")


@dataclass(frozen=True)
class Stop:
    """End the attempt.

    Attributes:
      answer: the answer to the task; None where it asks for none.
    """

    answer: str | None = None

    def __post_init__(self) -> None:
        if self.answer is not None:
            _text(self, "answer")


TypedAction = Click | Type | Scroll | Goto | Back | Wait | Stop
KINDS: Mapping[str, type] = MappingProxyType(
    {kind.__name__.lower(): kind for kind in (Click, Type, Scroll, Goto, Back, Wait, Stop)}
)
NAMES: Mapping[str, str] = MappingProxyType(  # what else they are called
    {
        **{name: name for name in KINDS},
        **dict.fromkeys(("left_click", "tap"), "click"),
        **dict.fromkeys(("input", "fill", "write"), "type"),
        **dict.fromkeys(("navigate", "visit", "open"), "goto"),
        **dict.fromkeys(("go_back", "goback"), "back"),
        **dict.fromkeys(("answer", "done", "finish", "terminate", "submit"), "stop"),
    }
)


def arguments(action: TypedAction) -> dict[str, Any]:
    """Return what an action was made with, without what is None."""
    found = {each.name: getattr(action, each.name) for each in fields(action)}
    return {name: value for name, value in found.items() if value is not None}
