"""What `web_agent.py` shows: trajectories, with what each filter kept of them, and a picture of the success."""

import base64
import html
import io
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from web_pages import HEIGHT, TASKS, WIDTH

import jaxbuffers as jb
from jaxbuffers.trajectories import Action, Filter

EACH, SHOWN = 6, 6  # trajectories of each agent in the report; clicks in the picture
COLORS = {"untrained": "0.7", "all steps": "#e9c46a", "kept steps": "#2a6f97", "expert": "#e07a1f"}
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
h2 { margin: 2.2rem 0 0.4rem; } p { margin: 0.3rem 0; max-width: 50rem; }
.attempt { border: 1px solid #ccc; border-radius: 8px; padding: 0.7rem 0.9rem; margin: 0.9rem 0; }
.attempt.won { border-left: 6px solid #2a9d4a; } .attempt.lost { border-left: 6px solid #c0392b; }
.head { display: flex; gap: 1.2rem; flex-wrap: wrap; align-items: baseline; } .head b { font-size: 1.05em; }
.steps { display: flex; gap: 0.9rem; flex-wrap: wrap; margin-top: 0.6rem; }
figure { margin: 0; width: 176px; } figure svg { width: 176px; height: 231px; border: 1px solid #ddd; display: block; }
figcaption { font-size: 12.5px; overflow-wrap: anywhere; } code { font-size: 12px; }
.kept { color: #1d7a37; } .left { color: #b03a2e; } .learned svg { outline: 3px solid #2a9d4a; }
"""


def report(path: str, pool: jb.TrajectoryPool, filters: dict[str, Filter], learn: Filter) -> None:
    """Write one page of HTML that needs nothing else: some trajectories of each agent, step by step.

    Args:
      path: of the file.
      pool: with the screenshots.
      filters: what to say of every step, by name.
      learn: which steps are learned from.
    """
    steps = pool.steps()
    masks = {name: each.mask(steps) for name, each in filters.items()}
    learned = learn.mask(steps)
    begins = np.cumsum(steps.lengths) - steps.lengths
    parts = [f"<h1>Trajectories of a web agent</h1><p>{html.escape(repr(pool))}</p>", _counts(masks, learned)]
    for who in dict.fromkeys(steps.columns["who"]):
        those = np.flatnonzero(steps.columns["who"] == who)
        reward = steps.columns["reward"][those]
        parts.append(f"<h2>{html.escape(who)}: {np.sum(reward == 1)} of {len(those)} attempts succeeded</h2>")
        for i in _some(those, steps.columns["domain"], steps.columns["reward"], steps.lengths):
            begin, id = int(begins[i]), int(steps.ids[i])
            marks = [{name: bool(mask[begin + k]) for name, mask in masks.items()} for k in range(steps.lengths[i])]
            parts.append(_attempt(pool, id, marks, learned[begin : begin + steps.lengths[i]]))
    head = f'<meta charset="utf-8"><title>Trajectories of a web agent</title><style>{STYLE}</style>'
    Path(path).write_text(f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n")


def _some(those: np.ndarray, domain: np.ndarray, reward: np.ndarray, lengths: np.ndarray) -> list[int]:
    """Choose attempts at different tasks, failures and successes in turn, longer ones rather."""
    chosen: list[int] = []
    for i, task in enumerate(dict.fromkeys(domain[those])):
        some = those[domain[those] == task]
        chosen.append(int(max(some, key=lambda k: (reward[k] == (i % 2 == 0), min(lengths[k], 5)))))
    return chosen[:EACH]


def _counts(masks: dict[str, np.ndarray], learned: np.ndarray) -> str:
    rows = [
        f"<li><code>{html.escape(name)}</code> keeps {mask.sum()} of {len(mask)} steps" for name, mask in masks.items()
    ]
    return f"<ul>{''.join(rows)}</ul><p>Steps with a green frame, {learned.sum()}, are learned from.</p>"


def _attempt(pool: jb.TrajectoryPool, id: int, marks: list[dict[str, bool]], learned: np.ndarray) -> str:
    trajectory = pool.trajectory(id)
    about, won = trajectory.task, trajectory.reward == 1
    head = f"<b>{html.escape(about.task_name)}</b><span>{about.domain}, page {about.task_id}</span>"
    count = "1 step" if len(trajectory) == 1 else f"{len(trajectory)} steps"
    head += f"<span>reward {trajectory.reward:g}</span><span>{count}</span>"
    figures = []
    for i, (step, said) in enumerate(zip(trajectory.steps, marks, strict=True)):
        lines = [
            f'<div class="{"kept" if kept else "left"}">{"✓" if kept else "✗"} {html.escape(name)}</div>'
            for name, kept in said.items()
        ]
        answer = html.escape(step.response.raw_response).replace("\n", "<br>")
        shot = _shot(pool.image(id, i), step.action.action)
        caption = f"<figcaption>{answer}{''.join(lines)}</figcaption>"
        figures.append(f'<figure class="{"learned" if learned[i] else ""}">{shot}{caption}</figure>')
    result = "won" if won else "lost"
    return (
        f'<div class="attempt {result}"><div class="head">{head}</div><div class="steps">{"".join(figures)}</div></div>'
    )


def _shot(pixels: np.ndarray, click: dict[str, Any]) -> str:
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    x, y = click["x"], click["y"]
    image = f'<image href="data:image/png;base64,{data}" width="{WIDTH}" height="{HEIGHT}" preserveAspectRatio="none"/>'
    red = f'cx="{x}" cy="{y}" fill="none" stroke="#d00" stroke-width="2"'
    ring = f'<circle r="8" {red}/><circle r="1" {red}/>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="click at {x}, {y}">{image}{ring}</svg>'


def clicks(pool: jb.TrajectoryPool) -> list[tuple[np.ndarray, Action]]:
    """Return first screenshots of successful attempts of the last agent, and what it did there."""
    columns = pool.metadata
    last, found = columns["who"][-1], []
    for task in TASKS:
        good = np.flatnonzero((columns["who"] == last) & (columns["domain"] == task) & (columns["reward"] == 1))
        if len(good):
            id = int(columns["id"][good[-1]])
            trajectory = pool.trajectory(id)
            found.append((pool.image(id, 0), trajectory.steps[0].action))
    return found[:SHOWN]


def picture(
    path: str, curves: dict[str, list[float]], chunk: int, results: dict[str, list[float]], what: str, shots: list
) -> None:
    """Draw how the policies learn, how well each does each task, and where the last agent clicks."""
    figure = plt.figure(figsize=(12, 7.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.35, 1])
    left, right = top.subplots(1, 2, width_ratios=[1, 1.9])
    for name, curve in curves.items():
        left.plot(
            np.arange(1, len(curve) + 1) * chunk, curve, color=COLORS[name], linewidth=2, label=f"cloned from {name}"
        )
    left.set(title="right clicks on pages held out", xlabel="steps of behaviour cloning", ylim=(-0.03, 1.05))
    left.legend(loc="lower right", frameon=False)
    groups, width = [*TASKS, "all"], 0.8 / len(results)
    for i, (name, shares) in enumerate(results.items()):
        heights = [*shares, np.mean(shares)]
        at = np.arange(len(groups)) + (i - (len(results) - 1) / 2) * width
        bars = right.bar(at, heights, width * 0.92, color=COLORS[name], label=name)
        right.bar_label(bars, [f"{height * 100:.0f}" for height in heights], fontsize=7, padding=1)
    right.set_xticks(range(len(groups)), [group.replace("click-", "") for group in groups])
    right.set(title=what, ylim=(0, 1.22))
    right.legend(loc="upper center", ncols=len(results), frameon=False)
    for axes in (left, right):
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_yticks(np.linspace(0, 1, 5))
        axes.spines[["top", "right"]].set_visible(False)
    for axes, (pixels, action) in zip(np.atleast_1d(bottom.subplots(1, SHOWN)), shots, strict=False):
        axes.imshow(pixels, extent=(0, WIDTH, HEIGHT, 0))
        axes.plot(
            action.action["x"],
            action.action["y"],
            "o",
            markersize=11,
            markerfacecolor="none",
            color="#d00",
            markeredgewidth=2,
        )
        axes.set_title(action.action_string, fontsize=9)
        axes.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)
    plt.close(figure)
