"""Pages in a real browser, and an expert who clicks through them: what `web_agent.py` learns from.

The tasks are those of MiniWoB++ (Shi et al., "World of Bits", 2017; Liu et al. 2018), small pages of 160 x 210 pixels.
An agent is any function from what is asked, the elements of the page and a screenshot to an answer in words, such as
"Thought: ... Action: click(40, 72)".
"""

import io
import logging
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

import jaxbuffers as jb
from jaxbuffers.trajectories import (
    Action,
    Click,
    Observation,
    Response,
    Reward,
    Step,
    Task,
    Trajectory,
    action_of,
    parse_response,
    render_action,
    write_jsonl,
)

TASKS = (
    "click-button",
    "click-checkboxes",
    "click-color",
    "click-dialog-2",
    "click-link",
    "click-option",
    "click-tab",
    "click-widget",
)
WIDTH, HEIGHT = 160, 210
LINES = "trajectories.jsonl"
MAX_STEPS, ASTRAY, WRONG = (
    8,
    0.15,
    0.2,
)  # clicks of an attempt; how many of the expert's hit nothing, or another element
KINDS = {"input_checkbox": "checkbox", "input_radio": "radio", "input_text": "text", "span": "link", "div": "box"}
SYSTEM = {"role": "system", "content": "Do the task on the page. Answer with a thought and a click."}
LINE = re.compile(r'(\w+) "(.*)"( marked)? \((-?\d+), (-?\d+), (\d+), (\d+)\)')


@dataclass(frozen=True)
class Element:
    """What can be clicked: a box in pixels, with the name that a screen reader would say."""

    kind: str
    name: str
    marked: bool
    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        marked = " marked" if self.marked else ""
        return f'{self.kind} "{self.name}"{marked} ({self.left}, {self.top}, {self.width}, {self.height})'

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies on it."""
        return 0 <= x - self.left < self.width and 0 <= y - self.top < self.height


PAGE = Element("page", "", False, 0, 0, WIDTH, HEIGHT)  # what is clicked where there is nothing else
Agent = Callable[[str, list[Element], np.ndarray], str]


def read_tree(text: str) -> list[Element]:
    """Read the elements of an accessibility tree, one a line; the page itself comes first."""
    found = [LINE.fullmatch(line) for line in text.splitlines()]
    return [Element(f[1], f[2], f[3] is not None, *map(int, f.groups()[3:])) for f in found if f]


def elements(dom: Any) -> list[Element]:
    """Return the page, and the elements of MiniWoB's observation that can be clicked."""
    said = {each["parent"]: each["text"] for each in dom if each["tag"] == "t"}  # the words beside a checkbox
    found = [PAGE]
    for each in dom:
        left, top, width, height = (int(each[name].item()) for name in ("left", "top", "width", "height"))
        width, height = min(width, WIDTH - left), min(height, HEIGHT - top)  # what can be seen of it
        kind = KINDS.get(each["tag"], each["tag"])
        name = each["text"] or said.get(each["parent" if kind in ("checkbox", "radio") else "ref"], "")
        clickable = bool(each["flags"][3]) or kind == "button"  # the fourth says that nothing is in it
        clickable &= kind not in ("t", "p", "label") and (bool(name) or kind not in ("link", "box"))
        if (clickable or each["classes"] == "color") and left >= 0 and top >= 50 and min(width, height) > 5:
            marked = str(each["value"]) == "True"
            found.append(Element(kind, " ".join(name.split()), marked, left, top, width, height))
    return found


def expert(rng: np.random.Generator) -> Agent:
    """Return an agent that knows the tasks, but is noisy and makes mistakes."""

    def answer(said: str, page: list[Element], screenshot: np.ndarray) -> str:
        target, thought = wanted(said, page, screenshot)
        others = [each for each in page[1:] if each != target]
        luck = rng.random()
        if luck < ASTRAY:
            points = rng.integers((0, 50), (WIDTH, HEIGHT), (100, 2)).tolist()
            x, y = next((point for point in points if not any(each.holds(*point) for each in page[1:])), (1, 51))
            return f"Thought: {thought}\nAction: {render_action(Click(x, y))}"
        if luck < ASTRAY + WRONG and others:
            target = others[rng.integers(len(others))]
        return f"Thought: {thought}\nAction: {render_action(inside(target, rng))}"

    return answer


def wanted(said: str, page: list[Element], screenshot: np.ndarray) -> tuple[Element, str]:
    """Return the element that the task wants clicked next, and why."""
    named = {each.name: each for each in reversed(page[1:]) if each.name}  # the first of each name
    if said.startswith("Select"):
        names = said.removeprefix("Select ").removesuffix(" and click Submit.").split(", ")
        for each in page[1:]:
            kind, right = each.kind, each.marked == (each.name in names)
            if not right and (kind == "checkbox" or (kind == "radio" and not each.marked)):
                return each, f"{each.name} must be {'unmarked' if each.marked else 'marked'}."
        return named["Submit"], "All is as it should be."
    if "colored box" in said:
        color, scale = np.array(ImageColor.getrgb(said.split()[3])), len(screenshot) / HEIGHT
        middles = [(each.top + each.height / 2, each.left + each.width / 2) for each in page[1:]]
        points = [screenshot[int(y * scale), int(x * scale)] for y, x in middles]
        return page[1 + int(np.argmin([np.abs(point - color).sum() for point in points]))], "That is the color."
    quoted = re.search(r'"(.*)"', said)
    name = quoted[1] if quoted else said.removeprefix("Click on ").rstrip(".")
    if "widget" in said:
        return next(each for each in page[1:] if each.kind == name), f"That is a {name}."
    if name == "x":
        return next(
            each for each in page[1:] if each.kind == "button" and each.name in ("", "Close")
        ), "That closes it."
    return named[name], f"That is {name}."


def inside(target: Element, rng: np.random.Generator) -> Click:
    """Return a click near the middle of an element."""
    x, y = (int(rng.integers(begin + size // 4, begin + size - size // 4)) for begin, size in _sides(target))
    return Click(x, y)


def _sides(target: Element) -> tuple[tuple[int, int], tuple[int, int]]:
    return (target.left, target.width), (target.top, target.height)


def missing() -> str | None:
    """Say what is not installed of what a browser needs, and how to install it; None if all is there."""
    try:
        import miniwob  # noqa: F401
        import selenium  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed: pip install '.[web]'"
    if not all(programs()):
        return "there is no browser: apt-get install chromium chromium-driver, or name them in " + " and ".join(NAMED)
    return None


NAMED = ("MINIWOB_CHROME_BINARY", "MINIWOB_CHROMEDRIVER")


def programs() -> list[str | None]:
    """Return the paths of the browser and of its driver; None for one that is not installed."""
    usual = (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))
    found = [next(filter(None, map(shutil.which, names)), None) for names in usual]
    return [os.environ.get(name) or path for name, path in zip(NAMED, found, strict=True)]


class Browser:
    """Plays one task after the other."""

    def __init__(self) -> None:
        import gymnasium
        import miniwob

        gymnasium.register_envs(miniwob)
        os.environ |= {name: str(path) for name, path in zip(NAMED, programs(), strict=True)}  # nothing is downloaded
        logging.getLogger().setLevel(logging.ERROR)
        self.make = gymnasium.make

    def attempts(self, agent: Agent, task: str, seeds: range, folder: Path, **known: Any) -> Iterator[Trajectory]:
        """Attempt a task once for each seed; screenshots are written into a folder."""
        env = self.make(f"miniwob/{task}-v1", disable_env_checker=True)
        try:
            for seed in seeds:
                yield self._attempt(env, agent, task, seed, folder, known)
        finally:
            env.close()

    def _attempt(self, env: Any, agent: Agent, task: str, seed: int, folder: Path, known: dict) -> Trajectory:
        seen, _ = env.reset(seed=seed)
        said = seen["utterance"]
        about = Task(said, domain=task, website=f"miniwob/{task}", task_id=seed, max_steps=MAX_STEPS)
        steps: list[Step] = []
        over, reward, details = False, 0.0, {}
        while not over and len(steps) < MAX_STEPS:
            page = elements(seen["dom_elements"])
            tree = "\n".join(map(str, page))
            path = folder / f"{task}-{seed}-{len(steps)}.png"
            Image.fromarray(seen["screenshot"]).save(path)
            answer = agent(said, page, seen["screenshot"])
            tokens = parse_response(answer)
            click = action_of(tokens, (WIDTH, HEIGHT))
            prompt = [SYSTEM, {"role": "user", "content": f"Task: {said}\n{tree}"}]
            steps.append(
                Step(
                    Observation(about, str(path), tree, {"step": len(steps)}),
                    Action({"name": "click", "x": click.x, "y": click.y}, render_action(click)),
                    Response(answer, tokens, prompt),
                )
            )
            coordinates = np.array([click.x, click.y], np.float32)
            act = env.unwrapped.create_action("CLICK_COORDS", coords=coordinates)
            seen, reward, over, _, details = env.step(act)
        won = float(over and details["raw_reward"] > 0)
        last = steps[-1]
        outcome = Reward(won, {"reward": float(reward), "over": bool(over)}, submit=bool(over))
        steps[-1] = Step(last.observation, last.action, last.response, outcome)
        return Trajectory(steps, **known)


def play(pool: jb.TrajectoryPool, agent: Agent, name: str, number: int, seeds: range, show: Callable) -> None:
    """Let an agent play all tasks in the browser, and put its attempts into the pool."""
    browser, won, played = Browser(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            for attempt in browser.attempts(agent, task, seeds, Path(folder), iteration=number, columns={"who": name}):
                pool.add(attempt)
                won, played = won + int(attempt.reward), played + 1
                show(advance=1, note=f"{name}: {won} of {played} tasks done")


def record(pool: jb.TrajectoryPool, path: str) -> None:
    """Write all trajectories into one file, with screenshots of half the size and few colors."""
    made, files = [], {}
    for id in pool.metadata["id"].tolist():
        trajectory, steps = pool.trajectory(id), []
        for i, step in enumerate(trajectory.steps):
            small = Image.fromarray(pool.image(id, i)).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BOX)
            small.quantize(16).save(buffer := io.BytesIO(), "PNG", optimize=True)
            name = files.setdefault(buffer.getvalue(), f"{len(files)}.png")
            steps.append(replace(step, observation=replace(step.observation, image_path=name)))
        made.append(replace(trajectory, steps=steps))
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path, "w:xz") as file:
        write_jsonl(Path(folder) / LINES, made)
        for data, name in files.items():
            (Path(folder) / name).write_bytes(data)
        for name in (LINES, *files.values()):
            file.add(Path(folder) / name, name)


def replayed(path: Path) -> jb.TrajectoryPool:
    """Return a pool of what `record` wrote."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(path, folder, filter="data")
        pool = jb.TrajectoryPool(images="bytes", image_folder=folder)
        pool.from_jsonl(Path(folder) / LINES)
    return pool
