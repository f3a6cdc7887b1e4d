"""What a replay holds, from the definition of rows, windows and views: lists of rows, and rules.

A window is a pair (stream, time of its first required row). Of a view only its configuration is read. Nothing here is
shared with the library, nor with the other oracle of these tests.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Kept:
    """A row of a stream.

    Attributes:
      row: its leaves by dotted name.
      opens: whether it is the first row of an episode.
      episode: the number of its episode in the stream.
    """

    row: dict
    opens: bool
    episode: int


@dataclass
class Layers:
    """A view and the views around it, taken apart.

    Attributes:
      core: the innermost view.
      stacks: (k, pad) of each frame stack, the outermost first.
      goals: the `Hindsight` view among them, or None.
    """

    core: object
    stacks: list = field(default_factory=list)
    goals: object = None

    @classmethod
    def of(cls, view):
        layers = cls(view)
        while (kind := type(layers.core).__name__) in ("FrameStack", "Hindsight"):
            if kind == "FrameStack":
                layers.stacks.append((layers.core.k, layers.core.pad))
            else:
                layers.goals = layers.core
            layers.core = layers.core.view
        return layers

    @property
    def kind(self):
        return type(self.core).__name__

    @property
    def history(self):
        """How many of the rows kept serve only those after them."""
        return sum(k - 1 for k, _ in self.stacks) + (getattr(self.core, "actions", "taken") == "previous")


class Model:
    """Streams of rows, of each of which the newest ``length`` are kept."""

    def __init__(self, view, length, streams):
        self.view, self.length = Layers.of(view), length
        self.streams = [[] for _ in range(streams)]

    def append(self, stream, row):
        rows = self.streams[stream]
        opens = not rows or bool(row["is_first"]) or bool(rows[-1].row["is_last"])
        rows.append(Kept(row, opens, (rows[-1].episode if rows else -1) + opens))

    def size(self):
        return sum(min(len(rows), self.length) for rows in self.streams)

    def readable(self, stream, time):
        """Whether a row is kept, and not for others only."""
        added = len(self.streams[stream])
        return max(added - self.length + self.view.history, 0) <= time < added

    def together(self, stream, *times):
        """Whether all these rows have come and are of one episode."""
        rows = self.streams[stream]
        return all(0 <= t < len(rows) for t in times) and len({rows[t].episode for t in times}) == 1

    def begin(self, stream, time):
        """When the episode of a row began, however long ago."""
        return next(t for t in range(time, -1, -1) if self.streams[stream][t].opens)

    def end(self, stream, time):
        """The newest row so far of the episode of a row."""
        rows = self.streams[stream]
        return max(t for t in range(time, len(rows)) if rows[t].episode == rows[time].episode)

    def windows(self):
        """Every legal window, stream by stream, oldest first."""
        legal = getattr(self, f"_{self.view.kind.lower()}_is_legal")
        return [
            (stream, time)
            for stream, rows in enumerate(self.streams)
            for time in range(len(rows))
            if self.readable(stream, time) and legal(stream, time)
        ]

    def _items_is_legal(self, stream, time):
        return True

    def _transitions_is_legal(self, stream, time):
        return self.together(stream, time, time + 1)

    def _sequences_is_legal(self, stream, time):
        core, last = self.view.core, time + self.view.core.length - 1
        if core.episodes == "cross":
            return last < len(self.streams[stream]) and time % core.period == 0
        whole = core.episodes == "pad" or self.together(stream, time, last)
        return whole and (time - self.begin(stream, time)) % core.period == 0

    def _episodes_is_legal(self, stream, time):
        rows, end = self.streams[stream], self.end(stream, time)
        return rows[time].opens and bool(rows[end].row["is_last"]) and end - time < self.view.core.max_length

    def shown(self, window):
        """The times of the rows behind each slot of a window; -1 for padding."""
        (stream, start), core = window, self.view.core
        if self.view.kind in ("Items", "Transitions"):
            return [start]
        if self.view.kind == "Episodes":
            times = range(start, start + core.max_length)
            return [t if self.together(stream, start, t) else -1 for t in times]
        times = range(start - core.burn_in, start + core.length)
        crosses = core.episodes == "cross"
        return [t if self.readable(stream, t) and (crosses or self.together(stream, start, t)) else -1 for t in times]

    def goals(self, window):
        """Which rows' achieved goals may replace those of a window: their times, and None for none."""
        hindsight, (stream, start) = self.view.goals, window
        if hindsight is None:
            return [None]
        end, oldest = self.end(stream, start), max(len(self.streams[stream]) - self.length, 0)
        first = max(self.begin(stream, start), oldest)
        times = {"future": range(start + 1, end + 1), "final": [end], "episode": range(first, end + 1)}
        found = [*times[hindsight.goals]]
        return found if found and hindsight.fraction == 1 else [*found * (hindsight.fraction > 0), None]

    def row(self, window, time, goal):
        """A row as the views around the core show it: with stacked frames, another goal, another action."""
        (stream, start), rows = window, self.streams[window[0]]
        row = dict(rows[time].row)
        row["obs"] = self._stacked(stream, time, self.view.stacks)
        if goal is not None and self.together(stream, start, time):
            row["extras.goal"] = rows[goal].row["extras.place"]
            if not rows[time].opens:
                row["reward"] = np.float32(self.view.goals.reward.twin(row["extras.place"], row["extras.goal"]))
        if getattr(self.view.core, "actions", "taken") == "previous":
            row["action"] = np.zeros_like(row["action"]) if rows[time].opens else rows[time - 1].row["action"]
        return row

    def _stacked(self, stream, time, stacks):
        if not stacks:
            return self.streams[stream][time].row["obs"]
        (k, pad), begin = stacks[0], self.begin(stream, time)
        frames = [self._stacked(stream, max(t, begin), stacks[1:]) for t in range(time - k + 1, time + 1)]
        blank = [pad == "zero" and t < begin for t in range(time - k + 1, time + 1)]
        return np.stack([np.zeros_like(frame) if empty else frame for frame, empty in zip(frames, blank, strict=True)])

    def data(self, window, goal):
        """What a window reads, one dict for each slot; None for padding."""
        if self.view.kind == "Transitions":
            return [self._transition(window, goal)]
        return [None if t < 0 else self.row(window, t, goal) for t in self.shown(window)]

    def _transition(self, window, goal):
        (stream, time), core = window, self.view.core
        steps = max(h for h in range(1, core.n_step + 1) if self.together(stream, time, time + h))
        rows = [self.row(window, t, goal) for t in range(time, time + steps + 1)]
        read = {name: value for name, value in rows[0].items() if name.split(".")[0] in ("obs", "action", "extras")}
        read["next_obs"] = rows[-1]["obs"]
        read["reward"] = sum(core.gamma**i * float(row["reward"]) for i, row in enumerate(rows[1:]))
        read["discount"] = 0.0 if rows[-1]["is_terminal"] else core.gamma**steps
        return read
