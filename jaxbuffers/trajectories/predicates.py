"""What a filter can look at: one predicate for each thing, none of which knows of another."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from typing_extensions import override

from jaxbuffers.checks import number, positive, settle
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError
from jaxbuffers.trajectories.components import PENDING
from jaxbuffers.trajectories.filters import Filter, OfTrajectory
from jaxbuffers.trajectories.steps import Steps


class _Named(OfTrajectory):
    def __repr__(self) -> str:
        values = [getattr(self, each.name) for each in dataclasses.fields(self)]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(map(repr, values))})"


@final
@dataclass(frozen=True, repr=False)
class successful(_Named):
    """Keep trajectories whose reward is at least a threshold. A pending judgement is never a success.

    Args:
      threshold: the least reward.
    """

    threshold: float = 1.0

    def __post_init__(self) -> None:
        settle(self, threshold=number("threshold", self.threshold, -math.inf))

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        reward = steps.reward
        return (reward >= self.threshold) & (reward != PENDING)


@final
@dataclass(frozen=True, repr=False)
class judged(_Named):
    """Keep trajectories whose judgement is not pending."""

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        return steps.reward != PENDING


@final
@dataclass(frozen=True, repr=False)
class blocked(_Named):
    """Keep trajectories that a website blocked."""

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        return steps.column("is_blocked").filled(False)


@final
@dataclass(frozen=True, repr=False)
class invalid_page(_Named):
    """Keep trajectories of a page that could not be opened.

    Such a one is a single step whose ``image_path`` is "", whose action is a dict with "invalid_url" as a key or as the
    value of "key", or whose ``action_string`` has "Invalid URL" in it.
    """

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        return steps.column("invalid_page").filled(False)


@final
@dataclass(frozen=True, repr=False)
class min_length(_Named):
    """Keep trajectories with at least so many steps.

    Args:
      steps: how many.
    """

    steps: int

    def __post_init__(self) -> None:
        settle(self, steps=positive("steps", self.steps))

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        return steps.lengths >= self.steps


@final
@dataclass(frozen=True, repr=False)
class latest(_Named):
    """Keep trajectories of the newest iterations that there are, such as the last four.

    Args:
      iterations: how many.
    """

    iterations: int

    def __post_init__(self) -> None:
        settle(self, iterations=positive("iterations", self.iterations))

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        iteration = steps.column("iteration")
        known = np.unique(iteration.compressed())[-self.iterations :]
        return np.isin(iteration.data, known) & ~iteration.mask


@final
@dataclass(frozen=True, repr=False)
class fresh(_Named):
    """Keep trajectories that a policy acted in which is not too old; those that do not say which are not kept.

    Args:
      policy_version: the version now.
      max_staleness: how many versions older it may be.
    """

    policy_version: int
    max_staleness: int

    def __post_init__(self) -> None:
        settle(self, policy_version=positive("policy_version", self.policy_version, -(2**62)))
        settle(self, max_staleness=positive("max_staleness", self.max_staleness, 0))

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        version = steps.column("policy_version")
        least = self.policy_version - self.max_staleness
        return (version.data >= least) & (version.data <= self.policy_version) & ~version.mask


@final
@dataclass(frozen=True, repr=False)
class unused(_Named):
    """Keep trajectories that were not taken yet; see `TrajectoryPool.take`."""

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        return np.ma.getmaskarray(steps.column("used_at"))


@final
@dataclass(frozen=True, repr=False)
class column_in(_Named):
    """Keep trajectories that have one of some values in a column; `domain` and its like are short for it.

    Args:
      column: its name.
      values: ints, floats, bools or texts.
    """

    column: str
    values: tuple[Any, ...]

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        column = steps.column(self.column)
        if np.ma.getmaskarray(column).all():
            return np.zeros(len(column), np.bool_)
        for value in self.values:
            kind = "O" if isinstance(value, str) else "b" if isinstance(value, bool) else "if"
            if column.dtype.kind not in kind:
                raise DtypeError(f"column {self.column!r} has no {value!r}: it is {column.dtype}.")
        if column.dtype.kind != "O":
            return np.isin(column.data, list(self.values)) & ~column.mask
        wanted = set(self.values)
        return np.fromiter((each in wanted for each in column.data), np.bool_, len(column))

    def __repr__(self) -> str:
        return f"{self.column}({', '.join(map(repr, self.values))})"


def domain(*names: str) -> Filter:
    """Keep trajectories of some domains."""
    return _some("domain", names, str)


def difficulty(*values: int | str) -> Filter:
    """Keep trajectories of tasks of some difficulties."""
    return _some("difficulty", values, int | str)


def iteration(*numbers: int) -> Filter:
    """Keep trajectories of some iterations."""
    return _some("iteration", numbers, int)


def attempt_level(*levels: int) -> Filter:
    """Keep trajectories of tasks at some attempt levels."""
    return _some("attempt_level", levels, int)


@final
@dataclass(frozen=True)
class by_columns(OfTrajectory):
    """Keep trajectories by a function of yours.

    Args:
      function: from the columns, each ``[n]``, to bool ``[n]``; see `EpisodeStore.metadata`.
    """

    function: Callable[[dict[str, np.ndarray]], np.ndarray]

    @override
    def trajectories(self, steps: Steps) -> np.ndarray:
        return _bools(self.function(steps.columns), len(steps.ids), "trajectory")


@final
@dataclass(frozen=True)
class by_step(Filter):
    """Keep steps by a function of yours.

    Args:
      function: from the `Steps`, which have ``step`` ``[N]``, ``field("raw_response")`` ``[N]`` (ids of texts) and so
        on, to bool ``[N]``.
    """

    function: Callable[[Steps], np.ndarray]

    @override
    def mask(self, steps: Steps) -> np.ndarray:
        return _bools(self.function(steps), len(steps), "step")


@final
@dataclass(frozen=True, repr=False)
class same_screenshot(Filter):
    """Keep steps after which the screen is the same. The last step of a trajectory never is, nor one without image."""

    @override
    def mask(self, steps: Steps) -> np.ndarray:
        return steps.field("same_as_next").astype(np.bool_)

    def __repr__(self) -> str:
        return "same_screenshot()"


def _some(column: str, values: tuple[Any, ...], kind: Any) -> Filter:
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigurationError(f"{column}() takes {getattr(kind, '__name__', kind)}s, got {value!r}.")
    if not values:
        raise ConfigurationError(f"{column}() takes one value at least.")
    return column_in(column, values)


def _bools(found: Any, count: int, each: str) -> np.ndarray:
    if isinstance(found, np.ma.MaskedArray):
        found = found.filled(False)  # what a trajectory does not have is not kept
    if not isinstance(found, np.ndarray) or found.dtype != np.bool_:
        raise DtypeError(f"a filter's function must return a bool array, got {type(found).__name__}.")
    if found.shape != (count,):
        raise ShapeError(f"a filter's function must return one bool for each {each}, [{count}], got {found.shape}.")
    return found
