"""The page of the benchmarks and its picture."""

import os
import platform
import textwrap
from importlib.metadata import version
from pathlib import Path

import jax
import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.timing import Result, Spread

DOCS = Path(__file__).parent.parent / "docs"
COLUMNS = ("work", "peer", "ours, µs", "peer, µs", "ratio", "", "goal", "busy")

HEAD = """\
# Benchmarks

Written by `make bench`. Times are medians in microseconds, quartiles in brackets. *Ratio* is the
peer's time by ours, round by round: above 1 this library is faster. Losses are printed like gains.

How it is measured:

- Both sides run in one process, in turns, and who goes first alternates. Rings are full, on both
  sides, before anything is timed.
- Each side does what its learner does, in the order of its documentation, with the state donated;
  flashbax knows its backend. What a learner reads is used, so that XLA cannot leave it out, and
  what it does not read is not.
- Where a learner sends priorities back, they come out of the sample: probabilities, importance
  weights, errors of the rows, a step of gradient descent, priorities.
- The compiled program of each side is searched for arrays as large as the ring or the tree before
  it is timed (`benchmarks/compiled.py`). One that the documented use would not have is our mistake,
  and the run fails. So does a second trace.
"""

CORRECTION = """\
## What this page once got wrong

It used to say that prioritized add + sample + update is 2.8 times as fast as flashbax with 16
environments, and 4.9 times with 1024. That was wrong. The benchmark made its priorities from the
observations alone and read the probabilities at the end of the step, after the update that they did
not feed. Nothing ordered that read before the write to the tree, so XLA for CPU kept the old tree:
it copied flashbax's 2,097,151 nodes twice in every step, and the copies were measured as if they
were flashbax's replay. Once the priorities contain the importance weights the copies are gone;
compare by these rows.

Not every learner has weights in its priorities: flashbax's own example of a prioritized DQN takes
the plain errors, and compiled for CPU it does have the copies. One row shows what they cost, and
says so in its name. Ours has none either way.

Smaller faults: Stable-Baselines3's ring was marked as full without having been written, so its
samples read memory that the system had not handed out yet, which is too fast; in the scans all
leaves of flashbax's pairs were added up, also those that no learner reads, which is too slow;
jitted samples called from Python drew the same rows every time; and cpprb was compared with an
update whose priorities were known before the sample.
"""


def cells(result: Result) -> tuple[str, ...]:
    """Return a row of the table, in the order of `COLUMNS`."""
    reached = "" if result.goal is None else "reached" if result.ratio.median >= result.goal else "not reached"
    goal = "" if result.goal is None else f"{result.goal:.2f} {reached}"
    busy = "" if result.others is None else f"{result.others:.0%}"
    times = _spread(result.ours), _spread(result.theirs)
    return result.name, result.peer, *times, _spread(result.ratio), _verdict(result.ratio), goal, busy


def write(groups: dict[str, list[Result]], load: float) -> None:
    """Write docs/benchmarks.md and its picture; ``load`` is the load average before the first row."""
    lines = [HEAD, *_machine([r for results in groups.values() for r in results], load), ""]
    for title, results in groups.items():
        lines += [f"## {title}", "", f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---:|---|---|---:|"]
        lines += [f"| {' | '.join(cells(result))} |" for result in results] + [""]
    lines += ["![ratios](benchmarks.png)", "", CORRECTION]
    (DOCS / "benchmarks.md").write_text("\n".join(lines))
    _plot(groups)


def _machine(results: list[Result], load: float) -> list[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("jaxbuffers", "flashbax", "cpprb", "stable-baselines3"))
    busiest = max((result.others for result in results if result.others is not None), default=None)
    others = (
        "" if busiest is None else f" Other processes took up to {busiest:.0%} of the cores, row by row under *busy*."
    )
    lines = [
        f"- {os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}, jax {jax.__version__}, "
        f"backend {jax.default_backend()}; {versions}.",
        f"- Load average {load:.2f} before the run, {min(r.load for r in results):.2f} to "
        f"{max(r.load for r in results):.2f} in it, of which the benchmark itself is one to two.{others}",
    ]
    return ["On what:", "", *(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines)]


def _processor() -> str:
    """Return the processor's name, where the system says it."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _verdict(ratio: Spread) -> str:
    """Say who is faster, unless the quartiles lie on both sides of 1."""
    return "faster" if ratio.low > 1 else "slower" if ratio.high < 1 else "even"


def _spread(spread: Spread) -> str:
    return f"{_figure(spread.median)} ({_figure(spread.low)} to {_figure(spread.high)})"


def _figure(number: float) -> str:
    """Show three digits, or all of a large number."""
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}"


def _plot(groups: dict[str, list[Result]]) -> None:
    """Draw the ratios, each group on a logarithmic axis of its own: they differ by orders of magnitude."""
    rows = sum(len(results) for results in groups.values())
    figure, panels = plt.subplots(
        len(groups), 1, figsize=(11, 0.45 * rows + 0.9 * len(groups)), layout="constrained",
        height_ratios=[len(results) + 1.4 for results in groups.values()],
    )  # fmt: skip
    for axes, (title, results) in zip(panels, groups.items(), strict=True):
        goals = [r.goal for r in results if r.goal is not None]
        left = min(0.8, *goals, *(r.ratio.low for r in results)) / 1.2
        right = max(1.25, *goals, *(r.ratio.high for r in results)) * 1.2
        axes.axvspan(left, 1, color="#bc4749", alpha=0.06, linewidth=0)
        axes.axvspan(1, right, color="#2a6f97", alpha=0.06, linewidth=0)
        for y, r in enumerate(reversed(results)):
            color = {"faster": "#2a6f97", "slower": "#bc4749", "even": "#6c757d"}[_verdict(r.ratio)]
            axes.plot([r.ratio.low, r.ratio.high], [y, y], color=color, linewidth=2)
            axes.plot(r.ratio.median, y, "o", color=color)
            beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8, "color": color}
            axes.annotate(_figure(r.ratio.median), (1.01, y), **beside)
            if r.goal is not None:
                axes.plot(r.goal, y, "|", color="black", markersize=12)
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        steps = (1, 1.5, 2, 3, 5, 7) if right / left < 10 else (1, 2, 5) if right / left < 100 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=30))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", labelsize=8)
        axes.axvline(1, color="gray", linestyle=":")
        names = [textwrap.fill(f"{r.name}, against {r.peer}", 80) for r in reversed(results)]
        axes.set_yticks(range(len(results)), names, fontsize=7)
        axes.set_ylim(-0.6, len(results) - 0.4)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(
        "peer's time by ours: right of 1 this library is faster (line: quartiles; mark: goal); scales differ",
        fontsize=9,
    )
    figure.savefig(DOCS / "benchmarks.png", dpi=110)
