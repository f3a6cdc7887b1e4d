"""A pool of trajectories against a plain list of dictionaries with the semantics of the seed, in one process.

``python -m benchmarks.trajectories 1000000`` prints a table in about four minutes; seconds are those of the processor,
which other programs on the machine lengthen less, and of the clock beside them. Trajectories are made as they are
needed, and making them is not counted. The list has less to do: it checks nothing, keeps nothing on disk, and holds of
each step only what a sample shows.
"""

import json
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
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

STEPS, ROUNDS, TREE = 10, 2, 480  # steps of a trajectory, earlier rounds in a prompt, characters of a page
TOGETHER = 256  # trajectories that are made and given at a time


def trajectories(count: int) -> Iterator[Trajectory]:
    """Make trajectories whose prompts share their system message and their earlier rounds."""
    for number in range(count):
        task = Task(f"task {number % 1000}", "Shopping", task_id=number % 1000, difficulty=number % 5)
        rounds, made = [{"role": "system", "content": "You browse the web. " * 50}], []
        for i in range(STEPS):
            page = f"[{i}] page {number} " * (TREE // 16)
            prompt = [rounds[0], *rounds[1:][-2 * ROUNDS :], {"role": "user", "content": page}]
            x, y = 40 * ((7 * number + i) % 32), 40 * ((number + 5 * i) % 16)  # one of 512 elements
            answer = f"Thought: {number} goes on, for the {i}th time.\nAction: click({x}, {y})"
            made.append(
                Step(
                    Observation(task, f"{number}/{i}.png", page, {"url": f"https://example.org/{number}/{i}"}),
                    Action({"key": "click", "x": x, "y": y}, f"click({x}, {y})"),
                    Response(answer, {"action": f"click({x}, {y})"}, prompt),
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


class Watch:
    """Adds up the seconds of the processor and of the clock that something takes."""

    def __init__(self) -> None:
        self.processor = self.clock = 0.0

    def __call__(self, work: Callable[[], Any]) -> Any:
        """Do something, and count it."""
        clock, processor = time.perf_counter(), time.process_time()
        found = work()
        self.clock += time.perf_counter() - clock
        self.processor += time.process_time() - processor
        return found

    def say(self, name: str, steps: int | None = None) -> None:
        """Print what was counted, and how many steps a second that is."""
        rate = "" if steps is None else f"   {steps / self.processor:10,.0f} and {steps / self.clock:10,.0f} steps/s"
        print(f"{name:45} {self.processor:9.3f} s   clock {self.clock:9.3f} s{rate}", flush=True)


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Do something, and print how long it took."""
    watch = Watch()
    found = watch(work)
    watch.say(name)
    return found


def parts(count: int) -> Iterator[list[Trajectory]]:
    """Make trajectories, some at a time."""
    made = trajectories(count)
    while some := list(islice(made, TOGETHER)):
        yield some


def ours(folder: Path, count: int) -> None:
    """Print what a pool takes."""
    with TrajectoryPool(folder) as pool:
        ingest = Watch()
        for some in parts(count):
            ingest(lambda some=some: pool.extend(some))
        ingest.say("a pool on disk: ingest", count * STEPS)
        usual, longer = successful() & ~same_screenshot(), successful() & ~same_screenshot() & min_length(2)
        timed("  first draw of 1800, power 2", lambda: pool.get_training_samples(1800, 2.0, filter=usual))
        timed("  a draw of 1800, power 2", lambda: list(pool.get_training_samples(1800, 2.0, filter=usual)))
        timed("  another filter", lambda: longer.mask(pool.steps()))
        timed("  a judgement", lambda: pool.judge(0, reward=0, again=True))
        timed("  a draw after the judgement", lambda: list(pool.get_training_samples(1800, 2.0, filter=usual)))
    size = sum(512 * file.stat().st_blocks for file in folder.rglob("*") if file.is_file())
    print(f"  {size / (count * STEPS):.0f} bytes a step on disk")
    timed("  opening", lambda: TrajectoryPool(folder).close())


def theirs(path: Path, count: int) -> None:
    """Print what a list takes."""
    plain, ingest = Plain(), Watch()
    before = resident()
    for some in parts(count):
        given = [
            (
                [json.dumps(step.response.raw_prompt) for step in each.steps],
                [step.response.raw_response for step in each.steps],
                each.reward,
                [bool(step.same_as_next_screenshot) for step in each.steps],
            )
            for each in some
        ]
        ingest(lambda given=given: plain.extend(given))
    ingest.say("a list of dicts: ingest", count * STEPS)
    print(f"  {(resident() - before) / (count * STEPS):.0f} bytes a step in memory")
    indices = timed("  a filter", lambda: plain.filtered(2))
    timed("  a draw of 1800, power 2", lambda: plain.draw(indices, min(1800, len(indices)), 2.0))
    timed("  saving, pickled", lambda: path.write_bytes(pickle.dumps((plain.samples, plain.lengths))))
    print(f"  {path.stat().st_size / (count * STEPS):.0f} bytes a step, pickled")
    timed("  opening", lambda: pickle.loads(path.read_bytes()))


def resident() -> int:
    """Return the bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(steps: int) -> None:
    """Print both."""
    folder = Path(tempfile.mkdtemp(prefix="jaxbuffers-trajectories-"))
    try:
        ours(folder / "pool", steps // STEPS)
        theirs(folder / "list", steps // STEPS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
