"""Run every benchmark, print what was measured, and write it to docs/benchmarks.md with a picture.

Run it with ``make bench``, on a machine that does nothing else.
"""

import argparse
import os
import platform
from pathlib import Path

import flashbax
import jax
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from rich.console import Console
from rich.progress import track
from rich.table import Table

import jaxbuffers as jb
from benchmarks import core, host, prioritized, rollouts, texts
from benchmarks.timing import Result

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    jobs = [*core.run(), *prioritized.run(), *rollouts.run(), *host.run(), *texts.run()]
    results = [job() for job in track(jobs, description="benchmarks")]
    _print(results)
    if not arguments.no_write:
        _write(results)
        _plot(results)


def _verdict(result: Result) -> str:
    if result.goal is None:
        return ""
    return f"{result.goal:.2f} " + ("reached" if result.ratio >= result.goal else "not reached")


def _us(microseconds: float) -> str:
    return f"{microseconds:,.{1 if microseconds >= 10 else 2}f}"


def _print(results: list[Result]) -> None:
    table = Table("work", "ours µs", "peer", "peer µs", "ratio", "goal")
    for r in results:
        table.add_row(r.name, _us(r.ours), r.peer, _us(r.theirs), f"{r.ratio:.2f}", _verdict(r))
    Console().print(table)


def _write(results: list[Result]) -> None:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Both sides run in one process, in turns; times are medians, the ratio is the",
        "median over rounds of *peer / ours*: above 1 this library is faster. Losses are printed like gains.",
        "",
        f"- {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, jax {jax.__version__},",
        f"  backend {jax.default_backend()}; jaxbuffers {jb.__version__}, flashbax {_version(flashbax)}.",
        "",
        "| work | ours µs | peer | peer µs | ratio | goal |",
        "|---|---:|---|---:|---:|---|",
    ]
    lines += [
        f"| {r.name} | {_us(r.ours)} | {r.peer} | {_us(r.theirs)} | {r.ratio:.2f} | {_verdict(r)} |" for r in results
    ]
    lines += ["", "![ratios](benchmarks.png)", ""]
    (DOCS / "benchmarks.md").write_text("\n".join(lines))


def _plot(results: list[Result]) -> None:
    figure, axes = plt.subplots(figsize=(10, 0.45 * len(results) + 1.2), layout="constrained")
    for y, r in enumerate(reversed(results)):
        axes.barh(y, r.ratio, color="#2a6f97" if r.ratio >= 1 else "#bc4749", height=0.6)
        axes.text(r.ratio, y, f" {r.ratio:.2f}", va="center")
        if r.goal is not None:
            axes.plot([r.goal, r.goal], [y - 0.4, y + 0.4], color="black", linewidth=2)
    axes.margins(y=0.01)
    axes.axvline(1, color="gray", linestyle=":")
    axes.set_yticks(range(len(results)), [f"{r.name}\nagainst {r.peer}" for r in reversed(results)], fontsize=8)
    axes.set_xlabel("peer's time / ours (black mark: goal)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "benchmarks.png", dpi=110)


def _version(module: object) -> str:
    from importlib.metadata import version

    return version(getattr(module, "__name__", ""))


if __name__ == "__main__":
    main()
