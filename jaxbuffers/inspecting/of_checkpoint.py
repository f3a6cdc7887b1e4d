"""What there is to see of a checkpoint beyond its arrays: which states it holds, how full they are, priorities."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxbuffers.inspecting.report import BINS, Histogram, Report, Table

LONG = 200  # characters of what is said
PREFIX = "tree."  # of the leaves of what was saved, among the arrays


def look_at_states(report: Report, said: Mapping[str, Any], arrays: Mapping[str, Callable[[], np.ndarray]]) -> None:
    """Add what a checkpoint says of itself, and what its arrays tell of the states in it.

    Args:
      report: of the file.
      said: the words of the checkpoint.
      arrays: what reads an array, by its name.
    """
    versions = ", ".join(f"{name} {version}" for name, version in said["versions"].items())
    report.facts.append(("saved by", versions))
    report.facts += [
        (name, cut(json.dumps(said[name]))) for name in ("store", "metadata") if said.get(name) is not None
    ]
    rows = [("state", "made by", "")]
    for name, facts in said["made_by"].items():
        _look_at_state(report, name, arrays)
        rows += [(name if i == 0 else "", *fact) for i, fact in enumerate(facts.items())]
    if len(rows) > 1:
        report.tables.append(Table("States", rows))


def _look_at_state(report: Report, name: str, arrays: Mapping[str, Callable[[], np.ndarray]]) -> None:
    """Add how many rows a replay has, and how its windows are weighted."""
    start = f"{PREFIX}{name}." if name else PREFIX
    if (size := arrays.get(f"{start}ring.size")) is not None:
        report.facts.append((f"rows in {name or 'the replay'}", f"{int(size().sum()):,}"))
    for leaf, read in arrays.items():
        if leaf.startswith(f"{start}sampler.") and leaf.endswith(".tree.0"):
            weights = read()
            if weights.dtype == np.float32 and (weights > 0).any():  # else it is the tree of RankBased: counts
                report.histograms.append(_by_logarithm(f"priorities in {leaf.removeprefix(PREFIX)}", weights))


def _by_logarithm(title: str, weights: np.ndarray) -> Histogram:
    """Count what is above 0, in equal steps of its logarithm."""
    known = weights[weights > 0].astype(np.float64)
    low, high = float(known.min()), float(known.max())
    edges = np.geomspace(low, high if high > low else 2 * low, BINS + 1)
    edges[0], edges[-1] = low, max(edges[-1], high)  # which rounding may have moved
    return Histogram(title, edges, np.histogram(known, edges)[0], "(priority + eps)**alpha, on a logarithmic scale")


def cut(text: str) -> str:
    """Return a text that is not too long for a table."""
    return text if len(text) <= LONG else f"{text[:LONG]} ..."
