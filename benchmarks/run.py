"""Run the benchmarks, each case in a process of its own, print what was measured, and write it down.

    make bench                                     # all of them, in about 20 minutes; writes docs/benchmarks.*
    python -m benchmarks.run --only prioritized    # those whose name contains it, or that answer the question; prints
    python -m benchmarks.run --only disk --update  # and writes, beside what others were recorded to be
    python -m benchmarks.run --quick               # tiny sizes: do all of them run, mean the same and make no copies?

Run it on a machine that does nothing else.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import page
from benchmarks.case import QUESTIONS, Case
from benchmarks.cases import cases
from benchmarks.machine import described

LIMIT = 600  # seconds of one case, then it has failed


def main() -> int:
    """Measure, print, write; return 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="parts of names, or questions")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, nothing is written")
    parser.add_argument("--update", action="store_true", help="write these results beside the others")
    parser.add_argument("--list", action="store_true", help="print the cases")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    given = parser.parse_args()
    found = chosen(given.only, given.quick)
    if not found:
        parser.error(f"no case is called {' or '.join(given.only)}; --list prints all of them")
    if given.list:
        print(*(f"{case.question:9} {case.name:32} {case.work}, against {case.peer}" for case in found), sep="\n")
        return 0
    began, machine, results, failed = time.time(), described(), [], []
    for number, case in enumerate(found, 1):
        started, used = time.time(), processor_seconds()
        result = measured(case, given.quick)
        took = f"{time.time() - started:.0f} s, of the processor {processor_seconds() - used:.0f} s"
        (results if isinstance(result, dict) else failed).append(result)
        print(f"[{number}/{len(found)}] {_line(case, result)} ({took})", flush=True)
    show(results)
    print(f"{len(results)} cases in {(time.time() - began) / 60:.1f} minutes, {len(failed)} failed")
    recorded = {"machine": machine, "results": results}
    if given.json:
        given.json.write_text(json.dumps(recorded, indent=1))
    if not failed and not given.quick and (given.update or not given.only):
        page.record(recorded, update=given.update)
    return int(bool(failed))


def chosen(only: list[str], quick: bool) -> list[Case]:
    """Return the cases that ``only`` names by a part of their names, or by their question; all if it is empty."""
    return [
        case for case in cases(quick)
        if not only or any(part == case.question or part in case.name for part in only)
    ]  # fmt: skip


def measured(case: Case, quick: bool) -> dict[str, Any] | str:
    """Return the record of a case and what was measured; or the end of what its process said, if it failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, "-m", "benchmarks.one", case.name, str(out), *["--quick"] * quick]
        try:
            done = subprocess.run(command, env=os.environ | case.env, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return f"took more than {LIMIT} seconds"
        if done.returncode or not out.exists():
            return "\n".join(done.stderr.strip().splitlines()[-6:])
        record = {"name": case.name, "question": case.question, "work": case.work, "peer": case.peer}
        return record | {"goal": case.goal, "axis": case.axis, "found": json.loads(out.read_text())}


def _line(case: Case, result: dict[str, Any] | str) -> str:
    if isinstance(result, str):
        return f"{case.name} FAILED: {result}"
    ratios = ", ".join(f"{each['ratio'][0]:.3g}" for each in result["found"])
    return f"{case.name}: {ratios} x {case.peer}"


def processor_seconds() -> float:
    """Return what the processes that have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def show(results: list[dict[str, Any]]) -> None:
    """Print a table for each question."""
    for question, title in QUESTIONS.items():
        rows = [row for result in results if result["question"] == question for row in page.rows(result)]
        if rows:
            table = Table(*page.COLUMNS, title=title)
            for row in rows:
                table.add_row(*row)
            Console(width=180).print(table)
        if question == "training" and rows:
            print(*page.learned([r for r in results if r["question"] == question]), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
