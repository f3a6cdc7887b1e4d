"""What is written of a run: docs/benchmarks.json, .md and pictures, and the figures in README.md.

``python -m benchmarks.page`` writes the page and the pictures anew from docs/benchmarks.json.
"""

import json
import textwrap
from pathlib import Path
from typing import Any

from benchmarks import charts
from benchmarks.case import QUESTIONS

ROOT = Path(__file__).parent.parent
JSON, PAGE, README = ROOT / "docs" / "benchmarks.json", ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
COLUMNS = ("work", "peer", "ours", "peer's", "ratio", "", "goal", "busy")
BEGIN, END = "<!-- written by make bench -->", "<!-- end -->"
SHOWN = ("uniform-16", "prioritized-16", "dqn-1-every-1", "dqn-8-every-10", "insert-1-cpprb", "sample-cpprb")  # README

HEAD = """\
# Benchmarks

Written by `make bench`, which takes about 20 minutes; `make bench ONLY=prioritized` runs some of
it. Times are medians, quartiles in brackets. *Ratio* is the peer's time by ours, round by round:
above 1 this library is faster. Losses are printed like gains.

How it is measured:

- Each row is a record in `benchmarks/cases/`: the question, the work, both sides, the goal. Each
  runs in a process of its own, both sides in it, in turns, and who goes first alternates. Rings are
  full on both sides, but in training runs, which begin with an empty one.
- Before anything is timed, both sides show what their work means, and it is compared: sampled rows
  are rows that were inserted and are still there, in all their numbers, each as likely as the
  others; windows are contiguous, probabilities are priority by total, restored arrays are those
  that were saved. A difference fails the run, and so does a side that shows nothing. Programs that
  are timed read as much on one side as on the other.
- Each side does what its learner does, in the order of its documentation, with the state donated;
  flashbax knows its backend. What a learner reads is used, so that XLA cannot leave it out, and
  what it does not read is not. Where a learner sends priorities back, they come out of the sample:
  probabilities, importance weights, errors of the rows, a step of gradient descent, priorities.
- Before they are timed, compiled programs of both sides are searched for new arrays as large as the
  ring or the tree, or of exactly the size of a part of them (`benchmarks/compiled.py`). One that
  the documented use would not have is our mistake, and the run fails. So does a second trace. Of
  `HostReplay` that are the programs which add a full block of rows and which sample. PPO, the gate,
  texts and files have no ring to search for.
- First compilation is tracing, lowering and XLA's work together, with JAX's caches cleared before
  each; imports are those of a new process.
- Training runs must have the same curves: the returns over all of training of all seeds are
  compared by a permutation test, two-sided, with 9,999 permutations. The run fails below p = 0.001;
  every p is printed.
- Versions are pinned in `constraints.txt`. dejax 0.1.3 does not run on this JAX (it calls
  `jnp.alltrue`), and tianshou 2.0 asks for a pandas older than the one that is pinned.
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


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table for one case, in the order of `COLUMNS`: one for each point of a curve."""
    made = []
    for found in result["found"]:
        ratio, goal = found["ratio"], result["goal"]
        reached = "" if goal is None else f"{goal:.2f} {'reached' if ratio[0] >= goal else 'not reached'}"
        busy = "" if found["others"] is None else f"{found['others']:.0%}"
        work = result["work"] + (f": {found['point']:,}" if found["point"] is not None else "")
        work += f" ({found['note']})" if found["note"] and "curves" not in found else ""
        cells = (times(found["ours"]), times(found["theirs"]), _ratio(ratio), charts.verdict(ratio))
        made.append((work, result["peer"], *cells, reached, busy))
    return made


def record(recorded: dict[str, Any], update: bool = False) -> None:
    """Keep a run as JSON, and write page and pictures; with ``update``, beside the rows of other cases."""
    if update and JSON.exists():
        new = {result["name"] for result in recorded["results"]}
        old = json.loads(JSON.read_text())
        kept = [result for result in old["results"] if result["name"] not in new]
        if old["machine"] != recorded["machine"]:  # or other versions
            kept = [{"machine": old["machine"]} | result for result in kept]
        recorded = recorded | {"results": kept + recorded["results"]}
    JSON.write_text(json.dumps(_rounded(recorded), indent=1) + "\n")
    write(json.loads(JSON.read_text()))


def _rounded(x: Any) -> Any:
    """Return the same with five digits of each number."""
    if isinstance(x, float):
        return float(f"{x:.5g}")
    if isinstance(x, dict):
        return {key: _rounded(value) for key, value in x.items()}
    return [_rounded(each) for each in x] if isinstance(x, list) else x


def write(recorded: dict[str, Any]) -> None:
    """Write page, pictures and the figures in README.md from what was recorded."""
    PAGE.write_text(text(recorded))
    charts.draw(recorded["results"], PAGE.parent)
    readme = README.read_text()
    if BEGIN in readme:
        before, after = readme.split(BEGIN)[0], readme.split(END)[1]
        README.write_text(before + figures(recorded["results"]) + after)


def text(recorded: dict[str, Any]) -> str:
    """Return the page."""
    lines = [HEAD, "On what:", ""]
    lines += [textwrap.fill(f"- {each}", 100, subsequent_indent="  ") for each in _machine(recorded)] + [""]
    for question, title in QUESTIONS.items():
        results = [result for result in recorded["results"] if result["question"] == question]
        if results:
            lines += [f"## {title}", "", *(f"![{title}]({name})\n" for name in charts.names(question))]
            lines += [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---:|---|---|---:|"]
            lines += [f"| {' | '.join(row)} |" for result in results for row in rows(result)] + [""]
            lines += [*learned(results), ""] if question == "training" else []
    return "\n".join([*lines, CORRECTION])


def learned(results: list[dict[str, Any]]) -> list[str]:
    """Return, as a list, how the curves of training runs compare."""
    said = [f"- {r['work']}, against {r['peer']}: {found['note']}." for r in results for found in r["found"]]
    return [textwrap.fill(each, 100, subsequent_indent="  ") for each in said]


def _machine(recorded: dict[str, Any]) -> list[str]:
    found = [each for result in recorded["results"] for each in result["found"]]
    busiest = max((each["others"] for each in found if each["others"] is not None), default=None)
    loads = f"Load average {min(each['load'] for each in found):.2f} to {max(each['load'] for each in found):.2f}, of "
    loads += "which the benchmark itself is one to two."
    others = "" if busiest is None else f" Other processes took up to {busiest:.0%} of the cores, see *busy*."
    elsewhere: dict[str, list[str]] = {}
    for result in recorded["results"]:
        machine = result.get("machine", recorded["machine"])
        if machine != recorded["machine"]:  # else it was recorded here, before a run elsewhere
            elsewhere.setdefault(machine, []).append(result["name"])
    old = [f"Recorded before, {machine.removesuffix('.')}: {', '.join(names)}." for machine, names in elsewhere.items()]
    return [recorded["machine"], *old, loads + others]


def figures(results: list[dict[str, Any]]) -> str:
    """Return the figures for README.md, between their marks."""
    shown = [row for name in SHOWN for result in results if result["name"] == name for row in rows(result)]
    lines = [f"| {row[0].split(' (')[0]} | {row[1]} | {row[2]} | {row[3]} | {row[4].split(' (')[0]} |" for row in shown]
    head = ["| work | peer | ours | peer's | ratio |", "|---|---|---:|---:|---:|"]
    more = "Gains and losses beside all peers, and how they were measured: [docs/benchmarks.md](docs/benchmarks.md)."
    return "\n".join([BEGIN, "", *head, *lines, "", textwrap.fill(more, 100), "", END])


def times(spread: list[float]) -> str:
    """Show microseconds in the unit that suits their median."""
    unit, size = ("s", 1e6) if spread[0] >= 1e6 else ("ms", 1e3) if spread[0] >= 1e4 else ("µs", 1.0)
    median, low, high = (charts.figure(x / size) for x in spread)
    return f"{median} {unit} ({low} to {high})"


def _ratio(spread: list[float]) -> str:
    median, low, high = (charts.figure(x) for x in spread)
    return f"{median} ({low} to {high})"


if __name__ == "__main__":
    write(json.loads(JSON.read_text()))
