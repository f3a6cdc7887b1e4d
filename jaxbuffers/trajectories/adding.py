"""Trajectories into a store: checked one by one, several in one transaction."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.episodes import EpisodeStore
from jaxbuffers.episodes import columns as users
from jaxbuffers.errors import ConfigurationError, DtypeError, TrajectoryError
from jaxbuffers.trajectories import rows, screenshots
from jaxbuffers.trajectories.screenshots import Screenshot
from jaxbuffers.trajectories.trajectory import Trajectory

TOGETHER = 64  # trajectories in one transaction
IMAGES = 2**27  # bytes of images that wait for one


class Rules(NamedTuple):
    """Which trajectories a pool takes, and how it looks at their screenshots.

    Attributes:
      messages: how many a prompt may have.
      min_steps: how many steps a trajectory must have.
      capacity: how many it may have; None for no limit.
      invalid_pages: whether those of invalid pages are taken.
      compare: "bytes" or "pixels".
      image_folder: where relative paths of screenshots begin.
      keep_images: whether the files themselves are stored, so that their bytes are needed.
    """

    messages: int
    min_steps: int
    capacity: int | None
    invalid_pages: bool
    compare: str
    image_folder: str
    keep_images: bool


class Line(NamedTuple):
    """A line of a file, so that what is wrong with it is said with its place."""

    place: str
    text: bytes


class Checked(NamedTuple):
    """A trajectory that will be stored.

    Attributes:
      trajectory: it.
      columns: what the catalog will say of it.
      types: the columns of the catalog, with those that are new.
      seen: the screenshot of each step; None where there is none.
    """

    trajectory: Trajectory
    columns: dict[str, Any]
    types: dict[str, str]
    seen: list[Screenshot | None]


def check(given: Any, rules: Rules, types: dict[str, str], unknown: str) -> Checked:
    """Check a trajectory, or what one can be made of.

    Raises:
      TrajectoryError: it is not taken; naming the step and the field.
    """
    if isinstance(given, Line):
        try:
            return check(Trajectory.from_json(given.text, unknown), rules, types, unknown)
        except TrajectoryError as error:
            raise error.within(given.place) from error
    made = given if isinstance(given, Trajectory) else Trajectory.from_dict(given, unknown)
    if not rules.invalid_pages and rows.invalid_page(made):
        raise TrajectoryError("invalid_page", "Trajectory", "is that of a page that could not be opened.")
    if len(made) < rules.min_steps:
        raise TrajectoryError("short", "Trajectory.steps", f"are {len(made)}, fewer than min_steps={rules.min_steps}.")
    if rules.capacity is not None and len(made) > rules.capacity:
        raise TrajectoryError("long", "Trajectory.steps", f"are {len(made)}, more than capacity={rules.capacity}.")
    for i, step in enumerate(made.steps):
        place = f"Trajectory.steps[{i}]"
        if step.action.action is None and not step.action.action_string:
            raise TrajectoryError("missing", f"{place}.action", "has neither an action nor an action_string.")
        prompt = step.response.raw_prompt
        if prompt is None:
            raise TrajectoryError("prompt", f"{place}.response.raw_prompt", "is missing.")
        if len(prompt) > rules.messages:
            raise TrajectoryError(
                "prompt",
                f"{place}.response.raw_prompt",
                f"has {len(prompt)} messages; the pool was made with prompt_messages={rules.messages}.",
            )
    if made.steps[-1].same_as_next_screenshot:
        place = f"Trajectory.steps[{len(made) - 1}].same_as_next_screenshot"
        raise TrajectoryError("value", place, "is True for the last step, which has no next one.")
    try:
        columns, types = users.settled(rows.columns_of(made), types)
    except (DtypeError, ConfigurationError) as error:
        raise TrajectoryError("type", "Trajectory", f"does not fit the columns of the pool: {error}") from error
    return Checked(made, columns, types, _seen(made, rules))


def batches(
    given: Iterable[Any],
    rules: Rules,
    types: dict[str, str],
    unknown: str,
    refuse: Callable[[Any, TrajectoryError], None],
) -> Iterator[list[Checked | None]]:
    """Check trajectories one by one; yield those to store in one transaction, with None for each that is not taken.

    Args:
      given: the trajectories, or what they can be made of.
      rules: which are taken.
      types: the columns of the catalog.
      unknown: what to do with unknown keys.
      refuse: called with what is not taken, and why. It may raise that, after those before it have been yielded.
    """
    waiting: list[Checked | None] = []
    count = size = 0  # of their steps and images: a transaction is never more than the pool, or memory, can hold
    source = iter(given)
    while True:
        try:
            each = next(source)
        except StopIteration:
            break
        except Exception:
            yield waiting
            raise
        try:
            checked = check(each, rules, types, unknown)
        except TrajectoryError as error:
            try:
                refuse(each, error)
            except TrajectoryError:
                yield waiting
                raise
            waiting.append(None)
            continue
        images = sum({seen.digest: len(seen.data) for seen in checked.seen if seen is not None}.values())
        count, size = count + len(checked.trajectory), size + images
        if len(waiting) >= TOGETHER or count > (rules.capacity or math.inf) or (waiting and size > IMAGES):
            yield waiting
            waiting, count, size = [], len(checked.trajectory), images
        waiting.append(checked)
        types = checked.types
    yield waiting


def append(
    store: EpisodeStore, messages: int, some: Sequence[Checked], most: int | None, used_until: int | None
) -> list[int]:
    """Store trajectories in one transaction, in which the oldest leave where there are too many; return their ids.

    Each says for which step trajectories were taken last, so that it is known when those have left.
    """
    said = {} if used_until is None else {"used_until": used_until}
    episodes, columns = [_rows(each, messages) for each in some], [each.columns | said for each in some]
    return store.add_episodes(episodes, columns, max_episodes=most).tolist()


def _seen(trajectory: Trajectory, rules: Rules) -> list[Screenshot | None]:
    known: dict[str | None, Screenshot | None] = {}
    for step in trajectory.steps:
        path = step.observation.image_path
        if path not in known:
            found = screenshots.read(path, rules.compare, rules.image_folder)
            known[path] = found if found is None or rules.keep_images else found._replace(data=b"")
    return [known[step.observation.image_path] for step in trajectory.steps]


def _rows(each: Checked, messages: int) -> dict[str, Any]:
    steps, count = each.trajectory.steps, len(each.trajectory)
    digests = [None if seen is None else seen.digest for seen in each.seen]
    tasks = {id(task): task for task in (step.observation.task for step in steps)}  # most steps share one
    written = {key: rows.task_of(task) for key, task in tasks.items()}
    texts = [
        rows.texts_of(step, written[id(step.observation.task)], digest, {} if i else each.trajectory.extra)
        for i, (step, digest) in enumerate(zip(steps, digests, strict=True))
    ]
    prompts = [rows.messages_of(step) for step in steps]
    same = np.zeros(count, np.bool_)
    for i, step in enumerate(steps):
        if step.same_as_next_screenshot is not None:
            same[i] = step.same_as_next_screenshot
        elif i + 1 < count:
            same[i] = digests[i] is not None and digests[i] == digests[i + 1]
    last = np.arange(count) == count - 1
    return {
        **{name: [line[k] for line in texts] for k, name in enumerate(rows.TEXTS)},
        "raw_prompt": [[*prompt, *[None] * (messages - len(prompt))] for prompt in prompts],
        "same_as_next": same,
        "is_first": np.arange(count) == 0,
        "is_last": last,
        "is_terminal": last,
    }
