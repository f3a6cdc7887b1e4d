"""Batches that a save had drawn ahead, kept for the iterators that are made after it was loaded."""

from collections import deque
from collections.abc import Iterable

from jaxbuffers.errors import ConfigurationError
from jaxbuffers.host.batches import Batches, Drawn


class Ahead:
    """One list of batches for each iterator that there was, oldest first; all in sections of the buffer."""

    def __init__(self, lists: Iterable[list[Drawn]] = ()) -> None:
        self.lists = deque(lists)

    def hand_to(self, batches: Batches) -> Batches:
        """Let an iterator that is new go on where the oldest one was that nothing goes on from yet; return it."""
        if self.lists:
            check_size([drawn.size for drawn in self.lists[0]], batches)
            batches.go_on(self.lists.popleft())
        return batches


def check_size(sizes: list[int], batches: Batches) -> None:
    """Refuse an iterator that has other batches than were drawn ahead.

    Raises:
      ConfigurationError: naming both sizes.
    """
    if sizes and sizes[0] != batches.size:
        raise ConfigurationError(
            f"the iterator that was saved had batches of {sizes[0]}, this one has {batches.size}: iterators go on in "
            f"the order in which they were made, so make them in the same order and with the same sizes."
        )
