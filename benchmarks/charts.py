"""The pictures of a run: ratios for each question, times along each curve, and what the learners learned."""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from PIL import Image

from benchmarks.case import QUESTIONS

GAIN, LOSS, EVEN = "#2a6f97", "#bc4749", "#6c757d"
COLORS = {"faster": GAIN, "slower": LOSS, "even": EVEN}


def verdict(ratio: list[float]) -> str:
    """Say who is faster, unless the quartiles lie on both sides of 1."""
    return "faster" if ratio[1] > 1 else "slower" if ratio[2] < 1 else "even"


def figure(number: float) -> str:
    """Show three digits, or all of a large number."""
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}".rstrip(".")


def names(question: str) -> list[str]:
    """Return the names of the pictures that show a question."""
    more = {"growth": ["benchmarks-curves.png"], "training": ["benchmarks-returns.png"]}
    return [f"benchmarks-{question}.png", *more.get(question, [])]


def draw(results: list[dict[str, Any]], folder: Path) -> None:
    """Draw all pictures into a folder."""
    for question, title in QUESTIONS.items():
        chosen = [r for r in results if r["question"] == question]
        if chosen:
            _save(ratios(title, [r for r in chosen if not r["axis"]] or chosen), folder / f"benchmarks-{question}.png")
    if curves := [r for r in results if r["axis"]]:
        _save(growth(curves), folder / "benchmarks-curves.png")
    if learned := [r for r in results if r["found"][0].get("curves")]:
        _save(returns(learned), folder / "benchmarks-returns.png")


def _save(drawn: Any, path: Path) -> None:
    """Save with 64 colors, which takes a third of the bytes."""
    drawn.savefig(path, dpi=100)
    plt.close(drawn)
    with Image.open(path) as image:
        fewer = image.convert("RGB").quantize(64)
    fewer.save(path, optimize=True)


def ratios(title: str, results: list[dict[str, Any]]) -> Any:
    """Draw a dot for each case, on a logarithmic axis with 1 in the middle: a loss is as far from it as a gain."""
    drawn, axes = plt.subplots(figsize=(11, 1.1 + 0.42 * len(results)), layout="constrained")
    spreads = [r["found"][0]["ratio"] for r in results]
    marks = [x for spread in spreads for x in spread] + [r["goal"] for r in results if r["goal"]]
    far = max(1.6, *(max(x, 1 / x) for x in marks)) * 1.15
    axes.axvspan(1 / far, 1, color=LOSS, alpha=0.06, linewidth=0)
    axes.axvspan(1, far, color=GAIN, alpha=0.06, linewidth=0)
    for y, (result, (median, low, high)) in enumerate(zip(results[::-1], spreads[::-1], strict=True)):
        color = COLORS[verdict([median, low, high])]
        axes.plot([low, high], [y, y], color=color, linewidth=2)
        axes.plot(median, y, "o", color=color)
        beside = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8, "color": color}
        axes.annotate(figure(median), (1.01, y), **beside)
        if result["goal"] is not None:
            axes.plot(result["goal"], y, "|", color="black", markersize=12)
    axes.set_xscale("log")
    axes.set_xlim(1 / far, far)
    marks = (1, 1.5, 2, 3, 5) if far < 8 else (1, 2, 5, 10, 20, 50) if far < 100 else tuple(10**i for i in range(9))
    ticks = sorted({each for mark in marks if mark < far for each in (mark, 1 / mark)})
    axes.set_xticks(ticks, [f"{x:g}" if x >= 1 else f"1/{1 / x:.3g}" for x in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelsize=8)
    axes.axvline(1, color="gray", linestyle=":")
    labels = [textwrap.fill(f"{r['work']}, against {r['peer']}", 82) for r in results[::-1]]
    axes.set_yticks(range(len(results)), labels, fontsize=7)
    axes.set_ylim(-0.6, len(results) - 0.4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("left: slower than the peer; right: faster (line: quartiles; mark: goal)", fontsize=9)
    return drawn


def growth(results: list[dict[str, Any]]) -> Any:
    """Draw the times of both sides along each curve, quartiles shaded, both axes logarithmic."""
    columns = min(3, len(results))
    lines = -(-len(results) // columns)
    drawn, panels = plt.subplots(lines, columns, figsize=(11, 2.7 * lines), layout="constrained", squeeze=False)
    for axes, result in zip(panels.flat, results, strict=False):
        points = [found["point"] for found in result["found"]]
        for side, name, color, style in (("ours", "jaxbuffers", GAIN, "o-"), ("theirs", result["peer"], LOSS, "s--")):
            median, low, high = zip(*(found[side] for found in result["found"]), strict=True)
            axes.plot(points, median, style, color=color, label=name, markersize=4)
            axes.fill_between(points, low, high, color=color, alpha=0.15, linewidth=0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(textwrap.fill(result["work"], 42), fontsize=8, loc="left")
        axes.set_ylabel("µs", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.2)
        axes.legend(fontsize=7, frameon=False)
    for axes in list(panels.flat)[len(results) :]:
        axes.set_visible(False)
    return drawn


def returns(results: list[dict[str, Any]]) -> Any:
    """Draw what was learned: the mean of all seeds, and the middle half of them."""
    columns = min(3, len(results))
    lines = -(-len(results) // columns)
    drawn, panels = plt.subplots(lines, columns, figsize=(11, 2.7 * lines), layout="constrained", squeeze=False)
    for axes, result in zip(panels.flat, results, strict=False):
        for (name, curves), color in zip(result["found"][0]["curves"].items(), (GAIN, LOSS), strict=True):
            found = np.array(curves, float)
            part = (np.arange(found.shape[1]) + 0.5) / found.shape[1]
            ended = np.isfinite(found).any(0)  # parts of training in which an episode ended
            part, found = part[ended], found[:, ended]
            axes.plot(part, np.nanmean(found, 0), color=color, label=f"{name}, {len(found)} seeds")
            axes.fill_between(part, *np.nanquantile(found, (0.25, 0.75), axis=0), color=color, alpha=0.15, linewidth=0)
        axes.set_title(textwrap.fill(result["work"], 42), fontsize=8, loc="left")
        axes.set_xlabel("part of training", fontsize=8)
        axes.set_ylabel("return", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7, frameon=False)
    for axes in list(panels.flat)[len(results) :]:
        axes.set_visible(False)
    return drawn
