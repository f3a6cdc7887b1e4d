"""Side-by-side timing: one process, both sides in turns, medians and quartiles."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.machine import Watch


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """One comparison.

    Attributes:
      name: what was done.
      ours: microseconds.
      peer: whom we compare with.
      theirs: microseconds.
      ratio: theirs / ours, round by round; above 1 we are faster.
      goal: the ratio aimed at, or None.
      load: the system's load average of the last minute, when it was done.
      others: the share of all cores that other processes took meanwhile; None if unknown.
    """

    name: str
    ours: Spread
    peer: str
    theirs: Spread
    ratio: Spread
    goal: float | None
    load: float
    others: float | None


def race(
    name: str,
    ours: Callable[[], None],
    peer: str,
    theirs: Callable[[], None],
    rounds: int,
    per: int = 1,
    goal: float | None = None,
) -> Result:
    """Time two functions in turns, after one unmeasured call of each.

    Args:
      name: what is done.
      ours: our function; must block until its work is finished.
      peer: the other's name.
      theirs: the other function.
      rounds: how often each is timed; who goes first alternates.
      per: how many repetitions one call makes inside, to divide by.
      goal: the ratio aimed at.
    """
    ours(), theirs()
    sides: tuple[tuple[Callable[[], None], list[float]], ...] = ((ours, []), (theirs, []))
    watch = Watch()
    for i in range(rounds):
        for function, times in sides if i % 2 == 0 else sides[::-1]:
            start = time.perf_counter()
            function()
            times.append((time.perf_counter() - start) / per * 1e6)
    (_, mine), (_, other) = sides
    ratios = [b / a for a, b in zip(mine, other, strict=True)]
    load, others = os.getloadavg()[0], watch.others()
    return Result(name, _spread(mine), peer, _spread(other), _spread(ratios), goal, load, others)


def _spread(values: list[float]) -> Spread:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)
