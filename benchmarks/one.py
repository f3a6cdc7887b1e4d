"""Measure one case, in this process: make both sides, compare what they mean, search their programs, time them.

``python -m benchmarks.run`` starts it once for each case; ``python -m benchmarks.against`` measures our side alone.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import compiled
from benchmarks.case import Case, Difference
from benchmarks.cases import cases
from benchmarks.timing import race, timed


def main() -> None:
    """Measure, and write what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--ours", type=int, metavar="ROUNDS", help="time our side alone")
    given = parser.parse_args()
    case = next(each for each in cases(given.quick) if each.name == given.name)
    found = alone(case, given.ours) if given.ours else measure(case)
    given.out.write_text(json.dumps(found))


def measure(case: Case) -> list[dict[str, Any]]:
    """Return what was measured, for each point of the curve or, without points, once.

    Raises:
      Difference: the two sides do not mean the same.
      LargeArrayError: a program makes copies of a ring or a tree that its documented use would not have, or a side that
        the record names has not been searched.
    """
    found = []
    for point in case.points or (None,):
        began, contest = time.perf_counter(), case.contest(point)
        compiled.SEARCHED.clear()
        ours, theirs = contest.ours(), contest.theirs()
        contest.same(ours.shown, theirs.shown)
        if None not in (ours.reads, theirs.reads) and ours.reads != theirs.reads:
            raise Difference(f"not as much is read: ours {ours.reads}, the peer's {theirs.reads}")
        if missing := set(case.searched) - set(compiled.SEARCHED):
            raise compiled.LargeArrayError(f"nobody searched the programs of {', '.join(sorted(missing))}")
        ready = time.perf_counter()
        timing = race(ours.run, theirs.run, case.rounds, contest.per, case.seconds, case.least, contest.before)
        ours.finish(), theirs.finish()
        notes = [f"{who}: {side.note}" for who, side in (("ours", ours), ("the peer", theirs)) if side.note]
        figures = {"point": point, "note": ", ".join(notes), "searched": list(compiled.SEARCHED)}
        took = {"prepared": ready - began, "took": time.perf_counter() - began}
        found.append(asdict(timing) | figures | took | contest.after())
    return found


def alone(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Return the times of our side, in microseconds. Its programs are not searched: an older library may copy."""
    compiled.SEARCH = False
    found = []
    for point in case.points or (None,):
        contest = case.contest(point)
        side = contest.ours()
        times = []
        for _ in range(1 + rounds):  # the first is not measured
            contest.before()
            times.append(timed(side.run) / contest.per)
        found.append({"point": point, "times": times[1:]})
    return found


if __name__ == "__main__":
    main()
