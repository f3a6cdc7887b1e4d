"""Side-by-side timing: one process, rounds interleaved, medians of ratios."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One comparison.

    Attributes:
      name: what was done.
      ours: microseconds, median.
      peer: whom we compare with.
      theirs: microseconds, median.
      ratio: median over rounds of theirs / ours; above 1 we are faster.
      goal: the ratio aimed at, or None.
    """

    name: str
    ours: float
    peer: str
    theirs: float
    ratio: float
    goal: float | None = None


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
      rounds: how often each is timed.
      per: how many repetitions one call makes inside, to divide by.
      goal: the ratio aimed at.
    """
    ours(), theirs()
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, times in zip((ours, theirs), samples, strict=True):
            start = time.perf_counter()
            function()
            times.append((time.perf_counter() - start) / per * 1e6)
    ratio = statistics.median(b / a for a, b in zip(*samples, strict=True))
    return Result(name, statistics.median(samples[0]), peer, statistics.median(samples[1]), ratio, goal)
