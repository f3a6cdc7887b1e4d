"""A pool of trajectories of a web agent on disk, against a list of dicts that checks and keeps nothing."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Contest, Side
from benchmarks.same import require
from benchmarks.trajectories import STEPS, Plain, trajectories
from jaxbuffers.trajectories import TrajectoryPool, min_length, same_screenshot, successful

DRAWN, POWER = 1_800, 2.0


def contest(verb: str, steps: int) -> Contest:
    """Ingest trajectories, filter their steps, or draw samples by recency."""
    folder = tempfile.TemporaryDirectory(prefix="jaxbuffers-pools-")
    made, names = list(trajectories(steps // STEPS)), iter(range(1000))
    count, number = min(DRAWN, steps // 4), steps if verb == "ingest" else 1

    def filled() -> TrajectoryPool:
        pool = TrajectoryPool(Path(folder.name) / str(next(names)))
        pool.extend(made)
        return pool

    def ours() -> Side:
        pool = filled()
        keep = successful() & ~same_screenshot()
        shown = int(np.sum(np.asarray((keep & min_length(2)).mask(pool.steps()))))
        rounds = iter(range(2, 10**9))
        run = {
            "ingest": lambda: filled().close(),
            "filter": lambda: (successful() & ~same_screenshot() & min_length(1 + next(rounds) % 3)).mask(pool.steps()),
            "draw": lambda: list(pool.get_training_samples(count, POWER, filter=keep)),
        }[verb]
        return Side(run, (shown, len(list(pool.get_training_samples(count, POWER, filter=keep)))), pool.close)

    def theirs() -> Side:
        given = [
            (
                [json.dumps(step.response.raw_prompt) for step in each.steps],
                [step.response.raw_response for step in each.steps],
                each.reward,
                [bool(step.same_as_next_screenshot) for step in each.steps],
            )
            for each in made
        ]
        plain = Plain()
        plain.extend(given)
        indices = plain.filtered(2)
        run: dict[str, Any] = {
            "ingest": lambda: Plain().extend(given),
            "filter": lambda: plain.filtered(2),
            "draw": lambda: plain.draw(indices, count, POWER),
        }
        return Side(run[verb], (len(indices), len(plain.draw(indices, count, POWER))), folder.cleanup)

    def same(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
        require(ours == theirs, "jaxbuffers", f"other steps, {ours} instead of {theirs}")

    return Contest(ours, theirs, same, number)
