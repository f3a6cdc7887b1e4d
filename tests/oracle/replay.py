"""The reference: each stream is a Python list of every row ever added, and rules say which count.

There is no ring, no queue and no counter here, and nothing is imported from the library; of a view
only its configuration is read. A row is a flat dict from leaf path (``"obs"``, ``"extras.note"``) to
value. It is slow and meant to be obviously right.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Row = dict[str, Any]


@dataclass
class Window:
    """What one legal window must read as.

    Attributes:
      stream: its environment.
      start: the time of its first required row.
      times: the time of the row behind each slot, -1 where there must be none.
      slots: what each slot must hold; None where everything must be zero.
    """

    stream: int
    start: int
    times: list[int]
    slots: list[Row | None]


class OracleReplay:
    """Rows of ``num_streams`` streams, of which the newest ``length`` of each are present."""

    def __init__(self, length: int, num_streams: int = 1) -> None:
        self.length = length
        self.history: list[list[Row]] = [[] for _ in range(num_streams)]
        self.dropped = 0

    def append(self, stream: int, row: Row) -> None:
        """Add one row to one stream."""
        self.history[stream].append(dict(row))

    def add(self, rows: list[list[Row]], mask: list[list[bool]]) -> None:
        """Add rows ``[N][E]``, oldest first, where ``mask`` is True."""
        for row_of_each, writes in zip(rows, mask, strict=True):
            for stream, (row, write) in enumerate(zip(row_of_each, writes, strict=True)):
                if write:
                    self.append(stream, row)

    def present(self, stream: int, time: int) -> bool:
        """Whether a row is there: it was added, and fewer than ``length`` came after it."""
        added = len(self.history[stream])
        return max(added - self.length, 0) <= time < added

    def size(self) -> int:
        """How many rows are present in all."""
        return sum(self.present(e, t) for e, rows in enumerate(self.history) for t in range(len(rows)))

    def get(self, stream: int, time: int) -> Row | None:
        """The row at an address, or None."""
        known = 0 <= stream < len(self.history) and self.present(stream, time)
        return self.history[stream][time] if known else None

    def update(self, addresses: list[tuple[int, int]], values: list[Row]) -> None:
        """Write values back one after the other; count those whose row is gone, ignore times below 0."""
        for (stream, time), value in zip(addresses, values, strict=True):
            if time < 0:
                continue
            row = self.get(stream, time)
            if row is None:
                self.dropped += 1
            else:
                row.update(value)

    def opens(self, stream: int, time: int) -> bool:
        """Whether an episode boundary lies just before this row."""
        rows = self.history[stream]
        return time == 0 or bool(rows[time].get("is_first")) or bool(rows[time - 1].get("is_last"))

    def one_episode(self, stream: int, begin: int, end: int) -> bool:
        """Whether the rows from ``begin`` to ``end``, both included, are of one episode."""
        return not any(self.opens(stream, time) for time in range(begin + 1, end + 1))

    def episode_start(self, stream: int, time: int) -> int:
        """The time of the first row of an episode, even if that row is gone."""
        while not self.opens(stream, time):
            time -= 1
        return time

    def windows(self, view: Any) -> list[Window]:
        """Every legal window of a view, stream by stream, oldest first."""
        legal, read = {
            "Items": (self._item_is_legal, self._read_item),
            "Transitions": (self._transition_is_legal, self._read_transition),
            "Sequences": (self._sequence_is_legal, self._read_sequence),
            "Episodes": (self._episode_is_legal, self._read_episode),
        }[type(view).__name__]
        return [
            read(view, stream, time)
            for stream, rows in enumerate(self.history)
            for time in range(len(rows))
            if self.present(stream, time) and legal(view, stream, time)
        ]

    def _item_is_legal(self, view: Any, stream: int, time: int) -> bool:
        return True

    def _read_item(self, view: Any, stream: int, time: int) -> Window:
        return Window(stream, time, [time], [self.history[stream][time]])

    def _transition_is_legal(self, view: Any, stream: int, time: int) -> bool:
        return self.present(stream, time + 1) and not self.opens(stream, time + 1)

    def _read_transition(self, view: Any, stream: int, time: int) -> Window:
        rows = self.history[stream]
        steps = 1
        while steps < view.n_step and self._transition_is_legal(view, stream, time + steps):
            steps += 1
        here, there = rows[time], rows[time + steps]
        slot = {path: value for path, value in here.items() if path.split(".")[0] in ("obs", "action", "extras")}
        slot |= {f"next_{path}": value for path, value in there.items() if path.split(".")[0] == "obs"}
        slot["reward"] = sum(view.gamma**i * float(rows[time + 1 + i]["reward"]) for i in range(steps))
        slot["discount"] = 0.0 if there["is_terminal"] else view.gamma**steps
        return Window(stream, time, [time], [slot])

    def _sequence_is_legal(self, view: Any, stream: int, time: int) -> bool:
        end = time if view.episodes == "pad" else time + view.length - 1
        origin = 0 if view.episodes == "cross" else self.episode_start(stream, time)
        return (
            self._sequence_shows(view, stream, time)
            and self.present(stream, end)
            and (view.episodes == "cross" or self.one_episode(stream, time, end))
            and (time - origin) % view.period == 0
        )

    def _read_sequence(self, view: Any, stream: int, start: int) -> Window:
        times: list[int] = []
        slots: list[Row | None] = []
        for time in range(start - view.burn_in, start + view.length):
            slot = self._sequence_slot(view, stream, start, time)
            times.append(-1 if slot is None else time)
            slots.append(slot)
        return Window(stream, start, times, slots)

    def _sequence_shows(self, view: Any, stream: int, time: int) -> bool:
        """Whether a row is present, and not kept for its action only, as the oldest of a full stream is."""
        spare = int(view.actions == "previous")
        return self.present(stream, time) and len(self.history[stream]) - time <= self.length - spare

    def _sequence_slot(self, view: Any, stream: int, start: int, time: int) -> Row | None:
        if not self._sequence_shows(view, stream, time):
            return None
        if view.episodes != "cross" and not self.one_episode(stream, min(time, start), max(time, start)):
            return None
        row = dict(self.history[stream][time])
        if view.actions == "previous":
            for path in row:
                if path.split(".")[0] == "action":
                    opens = self.opens(stream, time)
                    row[path] = np.zeros_like(row[path]) if opens else self.history[stream][time - 1][path]
        return row

    def _episode_end(self, view: Any, stream: int, start: int) -> int | None:
        """The time of the last row of the episode that begins here, if it has ended and is not too long."""
        for time in range(start, min(start + view.max_length, len(self.history[stream]))):
            if time > start and self.opens(stream, time):
                return None  # abandoned
            if self.history[stream][time]["is_last"]:
                return time
        return None

    def _episode_is_legal(self, view: Any, stream: int, time: int) -> bool:
        return self.opens(stream, time) and self._episode_end(view, stream, time) is not None

    def _read_episode(self, view: Any, stream: int, start: int) -> Window:
        end = self._episode_end(view, stream, start)
        assert end is not None
        times = [*range(start, end + 1)]
        rest = view.max_length - len(times)
        slots: list[Row | None] = [self.history[stream][time] for time in times]
        return Window(stream, start, times + [-1] * rest, slots + [None] * rest)
