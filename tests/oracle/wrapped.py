"""The reference for views that wrap views: the same rules, on rows that are as the wrapping view shows them."""

from typing import Any

import numpy as np

from oracle.replay import OracleReplay, Row, Window


def core_of(view: Any) -> Any:
    """The view that reads, without those around it."""
    while type(view).__name__ in ("FrameStack", "Hindsight"):
        view = view.view
    return view


def stacks_of(view: Any) -> list[tuple[int, str]]:
    """Length and padding of the frame stacks around a view, the innermost first: it is applied first."""
    stacks = []
    while type(view).__name__ in ("FrameStack", "Hindsight"):
        if type(view).__name__ == "FrameStack":
            stacks.append((view.k, view.pad))
        view = view.view
    return stacks[::-1]


def slots_of(view: Any) -> int:
    """How many rows of a window there is room for."""
    core = core_of(view)
    if type(core).__name__ == "Sequences":
        return core.burn_in + core.length
    return core.max_length if type(core).__name__ == "Episodes" else 1


def like_of(view: Any, row: Row) -> Row:
    """One slot of what a view reads: names, shapes and dtypes."""
    like = dict(row)
    for k, _ in stacks_of(view):
        like |= {path: np.stack([value] * k) for path, value in like.items() if of_obs(path)}
    if type(core_of(view)).__name__ == "Transitions":
        like = {path: value for path, value in like.items() if not path.startswith("is_")}
        like |= {f"next_{path}": value for path, value in like.items() if of_obs(path)}
        like |= {"discount": np.zeros_like(row["reward"])}
    return like


def of_obs(path: str) -> bool:
    """Whether a leaf is part of the observation."""
    return path.split(".")[0] == "obs"


class WrappedOracle(OracleReplay):
    """Rows as an environment that stacks its own frames would give them.

    Each row is stacked when it is added, from the whole history of its episode; of ``length`` rows kept, the
    oldest, which some stack still needs, are not read. Goals are as stored: see `with_goal`.
    """

    def __init__(self, view: Any, length: int, num_streams: int = 1) -> None:
        self.core, self.stacks = core_of(view), stacks_of(view)
        super().__init__(length - sum(k - 1 for k, _ in self.stacks), num_streams)
        self.frames: list[list[list[Row]]] = [[[] for _ in self.stacks] for _ in range(num_streams)]

    def append(self, stream: int, row: Row) -> None:
        """Add one row to one stream, stacked on those before."""
        super().append(stream, row)
        time = len(self.history[stream]) - 1
        begin = self.episode_start(stream, time)
        obs = {path: value for path, value in row.items() if of_obs(path)}
        for (k, pad), frames in zip(self.stacks, self.frames[stream], strict=True):
            frames.append(obs)
            blank = {path: np.zeros_like(value) for path, value in obs.items()}
            before = blank if pad == "zero" else frames[begin]
            stack = [frames[t] if t >= begin else before for t in range(time - k + 1, time + 1)]
            obs = {path: np.stack([frame[path] for frame in stack]) for path in obs}
        self.history[stream][time].update(obs)

    def windows(self, view: Any) -> list[Window]:
        """Every legal window, with the goals stored."""
        assert core_of(view) == self.core
        return super().windows(self.core)


def episode_of(length: int, rows: list[Row], time: int) -> range:
    """The times of the rows present, of the ``length`` newest, of the episode that the row at ``time`` is of."""
    oracle = OracleReplay(length)
    oracle.history = [rows]
    begin = oracle.episode_start(0, time)
    return range(max(begin, len(rows) - length), next(t for t in range(time, len(rows)) if ends(oracle, t)) + 1)


def ends(oracle: OracleReplay, time: int) -> bool:
    """Whether an episode, as far as it is known, ends with this row of the first stream."""
    return time + 1 == len(oracle.history[0]) or oracle.opens(0, time + 1)


def with_goal(view: Any, length: int, rows: list[Row], start: int, source: int) -> Window:
    """The window of a `Hindsight` view that begins at ``start``, if its goal is what the row at ``source`` achieved.

    The view's reward is called with plain arrays; ``rows`` are all those of one stream.
    """
    hindsight = view if type(view).__name__ == "Hindsight" else view.view
    goal = rows[source][hindsight.achieved]
    whole = OracleReplay(len(rows))
    whole.history = [rows]
    oracle = WrappedOracle(view, length)
    for time, row in enumerate(rows):
        if whole.episode_start(0, time) == whole.episode_start(0, start):
            row = row | {hindsight.desired: goal}
            if not whole.opens(0, time):
                row |= {"reward": np.asarray(hindsight.reward(row[hindsight.achieved], goal))}
        oracle.append(0, row)
    return next(window for window in oracle.windows(view) if window.start == start)
