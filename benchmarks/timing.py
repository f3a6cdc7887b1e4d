"""Side-by-side timing: one process, both sides in turns, medians and quartiles."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.machine import Watch


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Return the spread of some values."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Timing:
    """What was measured.

    Attributes:
      ours: microseconds.
      theirs: microseconds.
      ratio: theirs / ours, round by round; above 1 we are faster.
      rounds: how often each side was timed.
      load: the system's load average of the last minute, when it was done.
      others: the share of all cores that other processes took meanwhile; None if unknown.
    """

    ours: Spread
    theirs: Spread
    ratio: Spread
    rounds: int
    load: float
    others: float | None


def race(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    rounds: int,
    per: int = 1,
    seconds: float = 1e9,
    least: int = 3,
    before: Callable[[], Any] = lambda: None,
) -> Timing:
    """Time two functions in turns, after one unmeasured call of each.

    Args:
      ours: our function; must block until its work is finished.
      theirs: the other function.
      rounds: how often each is timed at most; who goes first alternates.
      per: how many repetitions one call makes inside, to divide by.
      seconds: no further round begins after this time,
      least: unless there were fewer than these.
      before: called before each call of either, and not timed.
    """
    before(), ours(), before(), theirs()
    sides: tuple[tuple[Callable[[], Any], list[float]], ...] = ((ours, []), (theirs, []))
    watch, begin = Watch(), time.perf_counter()
    for i in range(rounds):
        if i >= least and time.perf_counter() - begin > seconds:
            break
        for function, times in sides if i % 2 == 0 else sides[::-1]:
            before()
            times.append(timed(function) / per)
    (_, mine), (_, other) = sides
    ratios = [b / a for a, b in zip(mine, other, strict=True)]
    load, others = os.getloadavg()[0], watch.others()
    return Timing(Spread.of(mine), Spread.of(other), Spread.of(ratios), len(mine), load, others)


def timed(function: Callable[[], Any]) -> float:
    """Return how many microseconds a call takes."""
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e6
