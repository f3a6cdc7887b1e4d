"""Where the rows of new episodes go."""

from dataclasses import dataclass, field

from jaxbuffers.episodes.segments import Segment


@dataclass
class Placement:
    """Finds a place for episodes, one after the other, and remembers what that changes.

    Attributes:
      size: rows of a usual segment; an episode that has more gets one of its own.
      current: the segment that is filled; None for a new one.
      next_segment: the number of the next new one.
      segments: those that have grown, as they will be.
      created: the numbers of those that are new.
    """

    size: int
    current: int | None
    next_segment: int
    segments: dict[int, Segment]
    created: list[int] = field(default_factory=list)

    def place(self, length: int) -> tuple[int, int]:
        """Return the segment of an episode, and its first row there."""
        if length > self.size:
            return self._new(length, length), 0
        if self.current is None or self.segments[self.current].used + length > self.segments[self.current].rows:
            self.current = self._new(self.size, 0)
        number = self.current
        rows, used = self.segments[number]
        self.segments[number] = Segment(rows, used + length)
        return number, used

    def _new(self, rows: int, used: int) -> int:
        number = self.next_segment
        self.next_segment += 1
        self.created.append(number)
        self.segments[number] = Segment(rows, used)
        return number
