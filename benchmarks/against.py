"""Old beside new: our side of the cases on two checkouts of this project, in one run.

    git worktree add ../old COMMIT
    python -m benchmarks.against ../old --only uniform prioritized

The cases and their sides are those of this checkout, the library is each checkout's own. Each case alternates between
processes of old and new; printed are medians of all processes of each, and their ratio, old by new: above 1 the new one
is faster. Cases that the old library cannot run are named.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import page
from benchmarks.case import Case
from benchmarks.run import LIMIT, chosen

ROOT = Path(__file__).parent.parent
QUESTIONS = ("loop", "python", "growth")


def main() -> None:
    """Measure both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout of the project")
    parser.add_argument("--only", nargs="+", default=list(QUESTIONS), metavar="NAME", help="as of benchmarks.run")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--processes", type=int, default=4, help="of each checkout")
    parser.add_argument("--rounds", type=int, default=31, help="in each process")
    given = parser.parse_args()
    table = Table("work", "old", "new", "old / new", title=f"{given.old} beside {ROOT}")
    with tempfile.TemporaryDirectory() as folder:
        rooms = [_room(Path(folder) / name, checkout) for name, checkout in (("old", given.old), ("new", ROOT))]
        for case in chosen(given.only, given.quick):
            for row in beside(case, rooms, given.quick, given.processes, given.rounds):
                table.add_row(*row)
                print("; ".join(row), flush=True)
    Console().print(table)


def _room(room: Path, checkout: Path) -> Path:
    """Return a folder with the library of a checkout and the benchmarks of this one."""
    room.mkdir()
    (room / "jaxbuffers").symlink_to(checkout.resolve() / "jaxbuffers")
    (room / "benchmarks").symlink_to(ROOT / "benchmarks")
    return room


def beside(case: Case, rooms: list[Path], quick: bool, processes: int, rounds: int) -> list[tuple[str, ...]]:
    """Return a row for each point of a case."""
    times: list[dict[str, list[float]]] = [{}, {}]
    for number in range(processes):
        order = list(zip(rooms, times, strict=True))
        for room, found in order if number % 2 == 0 else order[::-1]:
            out = room / "found.json"
            command = [sys.executable, "-m", "benchmarks.one", case.name, str(out), "--ours", str(rounds)]
            command += ["--quick"] * quick
            env = os.environ | case.env
            done = subprocess.run(command, cwd=room, env=env, capture_output=True, text=True, timeout=LIMIT)
            if done.returncode:
                said = done.stderr.strip().splitlines()[-1:]
                return [(case.name, f"{room.name} cannot run it: {said[0] if said else ''}", "", "")]
            for point in json.loads(out.read_text()):
                found.setdefault(str(point["point"]), []).append(statistics.median(point["times"]))
    rows = []
    for point, old in times[0].items():
        new = times[1][point]
        ratio = statistics.median(old) / statistics.median(new)
        spread = f"{min(old) / max(new):.2f} to {max(old) / min(new):.2f}"
        work = case.work if point == "None" else f"{case.work}: {point}"
        cells = (page.times([statistics.median(side), min(side), max(side)]) for side in (old, new))
        rows.append((work, *cells, f"{ratio:.2f} ({spread})"))
    return rows


if __name__ == "__main__":
    main()
