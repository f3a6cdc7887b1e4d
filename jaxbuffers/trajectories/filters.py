"""Filters: which steps of a pool to learn from. Each looks at one thing, and they compose."""

import abc
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from typing_extensions import override

from jaxbuffers.errors import ConfigurationError
from jaxbuffers.trajectories.steps import Steps


class Filter(abc.ABC):
    """Says of each step whether to keep it. A filter is a value: equal ones say the same.

    >>> from jaxbuffers.trajectories import blocked, min_length, same_screenshot, successful
    >>> successful(0.5) & ~same_screenshot() & (min_length(3) | ~blocked())
    (successful(0.5) & ~same_screenshot() & (min_length(3) | ~blocked()))
    """

    @abc.abstractmethod
    def mask(self, steps: Steps) -> np.ndarray:
        """Return which steps to keep, bool ``[N]``."""

    def __and__(self, other: "Filter") -> "Filter":
        return _both(self, other, "&")

    def __or__(self, other: "Filter") -> "Filter":
        return _both(self, other, "|")

    def __invert__(self) -> "Filter":
        return Not(self)

    def __bool__(self) -> bool:
        raise ConfigurationError(
            f"{self!r} is neither true nor false: join filters by &, | and ~, not by and, or, not."
        )


class OfTrajectory(Filter):
    """Keeps whole trajectories, by their columns."""

    @abc.abstractmethod
    def trajectories(self, steps: Steps) -> np.ndarray:
        """Return which trajectories to keep, bool ``[n]``."""

    @override
    def mask(self, steps: Steps) -> np.ndarray:
        return steps.of_steps(self.trajectories(steps))


@final
@dataclass(frozen=True, repr=False)
class Both(Filter):
    """What ``&`` and ``|`` make."""

    parts: tuple[Filter, ...]
    sign: str

    @override
    def mask(self, steps: Steps) -> np.ndarray:
        join = np.logical_and if self.sign == "&" else np.logical_or
        return join.reduce([part.mask(steps) for part in self.parts])

    def __repr__(self) -> str:
        return f"({f' {self.sign} '.join(map(repr, self.parts))})"


@final
@dataclass(frozen=True, repr=False)
class Not(Filter):
    """What ``~`` makes."""

    part: Filter

    @override
    def mask(self, steps: Steps) -> np.ndarray:
        return ~self.part.mask(steps)

    def __repr__(self) -> str:
        return f"~{self.part!r}"


def _both(left: Filter, right: Any, sign: str) -> Filter:
    if not isinstance(right, Filter):
        hint = f" Write {right.__name__}()." if isinstance(right, type) else ""
        raise ConfigurationError(f"{sign} takes another filter, got {right!r}.{hint}")
    return Both((*_parts(left, sign), *_parts(right, sign)), sign)


def _parts(given: Filter, sign: str) -> tuple[Filter, ...]:
    return given.parts if isinstance(given, Both) and given.sign == sign else (given,)
