"""What every sampler is: a way to point at legal windows."""

import abc
from dataclasses import dataclass
from typing import Any

import jax

from jaxbuffers.batch import Draw, Index
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.ring import RingState
from jaxbuffers.windows import Added, QueueState, Windows


@dataclass(frozen=True)
class Legal:
    """The legal windows of a replay at one moment: all that a sampler needs to see."""

    windows: Windows
    queue: QueueState | None
    ring: RingState

    def count(self) -> jax.Array:
        """How many legal windows each stream has: int32 ``[E]``."""
        return self.windows.count(self.queue, self.ring)

    def start(self, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """When the window of this ``rank`` in its stream (0 is the oldest) begins."""
        return self.windows.start(self.queue, self.ring, stream, rank)


class Sampler(abc.ABC):
    """A frozen configuration with pure methods; what it remembers is its own pytree.

    Subclasses are frozen dataclasses: equal configurations must be equal values.
    """

    @abc.abstractmethod
    def draw(self, state: Any, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        """Point at ``batch_size`` windows. The key is consumed."""

    def init(self, length: int, num_streams: int) -> Any:
        """Return what the sampler remembers about an empty ring; nothing by default."""
        return ()

    def add(self, state: Any, legal: Legal, added: Added, completed: jax.Array) -> Any:
        """Account for rows just added, of which some ``completed`` ``[N, E]`` a window; nothing by default."""
        return state

    def update(self, state: Any, legal: Legal, index: Index, priority: Any) -> Any:
        """Take the feedback of `Replay.update`; by default there is no use for it."""
        raise ConfigurationError(f"{type(self).__name__} takes no priority; leave it out.")
