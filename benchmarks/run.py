"""Run the benchmarks, print what was measured, and write it to docs/benchmarks.md with a picture.

Run it with ``make bench``, on a machine that does nothing else. ``python -m benchmarks.run core host`` runs
some groups of them, and prints only.
"""

import argparse
import os

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import checkpoint, core, host, loading, page, prioritized, rollouts, store, texts
from benchmarks.timing import Result

GROUPS = {
    "core": ("Uniform replay", core.run),
    "prioritized": ("Prioritized replay", prioritized.run),
    "rollouts": ("Rollouts", rollouts.run),
    "host": ("Loops in Python", host.run),
    "texts": ("Texts", texts.run),
    "store": ("Stores of episodes", store.run),
    "checkpoint": ("Checkpoints", checkpoint.run),
    "loading": ("Batches read by workers", loading.run),
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="group", help=f"of {', '.join(GROUPS)}; all if none is named")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}")
    chosen = {name: group for name, group in GROUPS.items() if not arguments.groups or name in arguments.groups}
    load = os.getloadavg()[0]
    results: dict[str, list[Result]] = {}
    for name, (title, jobs) in chosen.items():
        results[title] = [job() for job in track(list(jobs()), description=name)]
    _print(results)
    if len(chosen) == len(GROUPS) and not arguments.no_write:
        page.write(results, load)


def _print(groups: dict[str, list[Result]]) -> None:
    for title, results in groups.items():
        table = Table(*page.COLUMNS, title=title)
        for result in results:
            table.add_row(*page.cells(result))
        Console().print(table)


if __name__ == "__main__":
    main()
