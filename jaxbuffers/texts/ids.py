"""Ids for texts: handed out in blocks to the tables of this process, none ever twice.

Ids begin at 1: memory that was never written holds 0, and must not name a text.
"""

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np

from jaxbuffers.errors import TextTableFullError

BLOCK = 4096
LIMIT = int(np.iinfo(np.int32).max)

_lock = threading.Lock()
_next = 0


def block() -> range:
    """Return ids that no table of this process has or had.

    Raises:
      TextTableFullError: there are no ids left in int32.
    """
    global _next
    with _lock:
        if _next + BLOCK > LIMIT:
            raise TextTableFullError(f"all {LIMIT} text ids are used up; ids are never reused. Start a new process.")
        _next += BLOCK
        return range(max(_next - BLOCK, 1), _next)


def claim(end: int) -> None:
    """Hand out no id below ``end`` any more: a file brings ids of its own."""
    global _next
    with _lock:
        _next = max(_next, -(-end // BLOCK) * BLOCK)


class Supply:
    """The ids that one table may give."""

    def __init__(self) -> None:
        self.end = 0  # past the last id of all blocks so far
        self._blocks: deque[range] = deque()

    @classmethod
    def continued(cls, saved: Sequence[tuple[int, list[range]]]) -> list["Supply"]:
        """Return those of tables that were saved together: each gives the ids next that it would have given.

        Where a table of this process had any as high, it gives others, from all ends on.

        Args:
          saved: for each table a number above all ids it has given, and the ids that come next.
        """
        global _next
        supplies = [cls() for _ in saved]
        with _lock:
            for supply, (end, blocks) in zip(supplies, saved, strict=True):
                if blocks and _next <= min(ids.start for ids in blocks) // BLOCK * BLOCK:
                    supply.end, supply._blocks = end, deque(blocks)
            _next = max([_next, *(-(-end // BLOCK) * BLOCK for end, _ in saved)])
        return supplies

    @property
    def blocks(self) -> list[list[int]]:
        """The ids that come next, each block from the first to the one past the last."""
        return [[ids.start, ids.stop] for ids in self._blocks]

    def reserve(self, count: int) -> None:
        """Make sure that `take` can be called so often."""
        while sum(map(len, self._blocks)) < count:
            new = block()
            self.end = new.stop  # first: whatever Ctrl-C does, an id is not given that is not below the end
            self._blocks.append(new)

    def take(self) -> int:
        """Return an id."""
        first = self._blocks[0]
        if len(first) == 1:
            self._blocks.popleft()
        else:
            self._blocks[0] = first[1:]
        return first[0]
