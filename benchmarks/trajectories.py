"""A pool of trajectories against a plain list of dictionaries with the semantics of the seed, in one process.

``python -m benchmarks.trajectories 1000000`` prints a table; seconds are those of the processor, which other programs
on the machine do not lengthen, and of the clock beside them.
"""

import json
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxbuffers.trajectories import (
    Action,
    Observation,
    Response,
    Reward,
    Step,
    Task,
    Trajectory,
    TrajectoryPool,
    min_length,
    same_screenshot,
    successful,
)

STEPS, ROUNDS, TREE = 10, 4, 2000  # steps of a trajectory, earlier rounds in a prompt, characters of a page


def trajectories(count: int) -> Iterator[Trajectory]:
    """Make trajectories whose prompts share their system message and their earlier rounds."""
    for number in range(count):
        task = Task(f"task {number % 1000}", "Shopping", task_id=number % 1000, difficulty=number % 5)
        rounds, made = [{"role": "system", "content": "You browse the web. " * 50}], []
        for i in range(STEPS):
            page = f"[{i}] page {number} " * (TREE // 16)
            prompt = [rounds[0], *rounds[1:][-2 * ROUNDS :], {"role": "user", "content": page}]
            answer = f"Thought: go on.\nAction: click({number}, {i})"
            made.append(
                Step(
                    Observation(task, f"{number}/{i}.png", page, {"url": f"https://example.org/{number}/{i}"}),
                    Action({"key": "click", "x": number, "y": i}, f"click({number}, {i})"),
                    Response(answer, {"action": f"click({number}, {i})"}, prompt),
                    Reward(float(number % 2), submit=i == STEPS - 1),
                    i % 5 == 0,
                )
            )
            rounds += [{"role": "user", "content": f"page {i}"}, {"role": "assistant", "content": answer}]
        made[-1] = Step(*(getattr(made[-1], name) for name in ("observation", "action", "response", "reward")))
        yield Trajectory(made, iteration=number // 1000)


class Plain:
    """What the seed does: every sample a dict, its prompt parsed from JSON; indices of those to learn from."""

    def __init__(self) -> None:
        self.samples: list[dict[str, Any]] = []
        self.lengths: list[int] = []

    def extend(self, given: list[tuple[list[str], list[str], float, list[bool]]]) -> None:
        """Take trajectories: prompts as JSON, answers, the reward, and what shows the same."""
        for prompts, answers, reward, same in given:
            for prompt, answer, still in zip(prompts, answers, same, strict=True):
                sample = {"message": json.loads(prompt), "action": answer, "trajectory_reward": reward}
                self.samples.append({**sample, "same_as_next_screenshot": still})
                self.lengths.append(len(prompts))

    def filtered(self, least: int) -> list[int]:
        """Return the indices of successful steps after which something changed."""
        return [
            i
            for i, (sample, length) in enumerate(zip(self.samples, self.lengths, strict=True))
            if sample["trajectory_reward"] == 1 and not sample["same_as_next_screenshot"] and length >= least
        ]

    def draw(self, indices: list[int], count: int, power: float) -> list[dict[str, Any]]:
        """Draw by recency."""
        weights = (np.arange(len(indices)) + 1.0) ** power
        chosen = np.random.choice(len(indices), count, replace=False, p=weights / weights.sum())
        return [self.samples[indices[i]] for i in chosen]


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Do something, and print how long it took."""
    clock, processor = time.perf_counter(), time.process_time()
    found = work()
    print(
        f"{name:50} {time.process_time() - processor:10.3f} s   clock {time.perf_counter() - clock:10.3f} s", flush=True
    )
    return found


def main(steps: int) -> None:
    """Print the table."""
    count, folder = steps // STEPS, Path(tempfile.mkdtemp(prefix="jaxbuffers-trajectories-"))
    try:
        made = list(trajectories(count))
        with TrajectoryPool(folder / "pool") as pool:
            timed(f"ours, ingest of {count * STEPS} steps", lambda: pool.extend(made))
            usual, longer = successful() & ~same_screenshot(), successful() & ~same_screenshot() & min_length(2)
            timed("ours, first draw of 1800, power 2", lambda: pool.get_training_samples(1800, 2.0, filter=usual))
            timed("ours, a draw of 1800, power 2", lambda: list(pool.get_training_samples(1800, 2.0, filter=usual)))
            timed("ours, another filter", lambda: pool._mask(pool.steps(), longer, False))
            timed("ours, a judgement", lambda: pool.judge(0, reward=0, again=True))
        size = sum(512 * file.stat().st_blocks for file in (folder / "pool").rglob("*") if file.is_file())
        print(f"ours, {size / (count * STEPS):.0f} bytes a step on disk")
        timed("ours, opening", lambda: TrajectoryPool(folder / "pool").close())
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
        timed("a list, ingest", lambda: plain.extend(given))
        indices = timed("a list, a filter", lambda: plain.filtered(2))
        timed("a list, a draw of 1800, power 2", lambda: plain.draw(indices, min(1800, len(indices)), 2.0))
        (folder / "list").write_bytes(pickle.dumps(given))
        print(f"a list, {(folder / 'list').stat().st_size / (count * STEPS):.0f} bytes a step, pickled")
        timed("a list, opening", lambda: Plain().extend(pickle.loads((folder / "list").read_bytes())))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
