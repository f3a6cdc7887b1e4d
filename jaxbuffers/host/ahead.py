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
            check_sizes([drawn.lead for drawn in self.lists[0]], batches)
            batches.go_on(self.lists.popleft())
        return batches


def check_sizes(leads: list[tuple[int, ...]], batches: Batches) -> None:
    """Refuse an iterator that has other batches than were drawn ahead, with these leading axes.

    Raises:
      ConfigurationError: naming both sizes.
    """
    if leads and leads[0] != batches.lead:
        raise ConfigurationError(
            f"the iterator that was saved had {_shown(leads[0])}, this one has {_shown(batches.lead)}: iterators go on "
            f"in the order in which they were made, so make them in the same order and with the same sizes."
        )


def _shown(lead: tuple[int, ...]) -> str:
    return f"batches of {lead[-1]}" + (f", {lead[0]} in each step" if len(lead) > 1 else "")
