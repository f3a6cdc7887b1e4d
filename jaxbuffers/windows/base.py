"""Which windows are legal, known the moment their last row arrives.

A window of ``required`` consecutive rows is legal while all of them are present and, if it may
not cross episodes, all belong to one. Two exact answers to the same three questions (what did
these rows change, how many legal windows has each stream, where is the k-th oldest):

* `Contiguous`: any run of rows is legal, so counting is arithmetic and nothing is stored.
* the queues of ``queue.py``: each stream keeps the times at which its legal windows began.
"""

import abc
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from jaxbuffers.errors import ConfigurationError
from jaxbuffers.numerics.search import repeat
from jaxbuffers.storage.ring import Ring, RingState

Rule = tuple[tuple[str, Any], ...]
_WORDS = {"required": "required rows", "within": "within an episode", "history": "rows of history"}
_WORDS |= {"max_length": "rows of the longest episode"}


class Added(NamedTuple):
    """Rows that have just been added to the ring.

    Attributes:
      time: int32 ``[N, E]``.
      mask: bool ``[N, E]``, which of the rows were written; the others do not exist.
      first: bool ``[N, E]``, the rows' ``is_first``, or False where rows have no such field.
      last: bool ``[N, E]``, likewise ``is_last``.
    """

    time: jax.Array
    mask: jax.Array
    first: jax.Array
    last: jax.Array


class Turnover(NamedTuple):
    """What rows that have just been added did to the legal windows, for each row ``[N, E]``.

    Attributes:
      start: int32, when the window that the row completed begins.
      completed: bool, whether the row completed a window that is legal now.
      expired: int32, the beginning of the window that, if there was one, is not legal any more
        because the row has come. Rows that were not written expire nothing.
    """

    start: jax.Array
    completed: jax.Array
    expired: jax.Array


class Windows(abc.ABC):
    """The legal windows of every stream.

    Attributes:
      ring: the rows.
      required: how many consecutive rows a window must have.
      history: how many rows before its first one must not be overwritten while it is legal.
    """

    ring: Ring
    required: int
    history: int

    @property
    def length(self) -> int:
        """T, the rows kept of each stream."""
        return self.ring.length

    @property
    def num_streams(self) -> int:
        """E."""
        return self.ring.num_streams

    @property
    def reach(self) -> int:
        """How many of a stream's newest rows a legal window may begin at."""
        return self.ring.length - self.history

    def with_history(self, history: int) -> "Windows":
        """Return the same windows, legal only while so many rows before them are not overwritten."""
        return replace(self, history=history)  # type: ignore[type-var]

    @property
    def rule(self) -> Rule:
        """What decides which windows are legal, by name: all of the configuration but the ring."""
        mine = [each.name for each in fields(self) if each.name != "ring"]  # type: ignore[arg-type]
        kind = ("kind of windows", type(self).__name__)
        return (kind, *((_WORDS.get(name, name), getattr(self, name)) for name in mine))

    @abc.abstractmethod
    def init(self) -> Any:
        """Return the bookkeeping of an empty ring."""

    @abc.abstractmethod
    def add(self, state: Any, ring: RingState, added: Added) -> tuple[Any, Turnover]:
        """Account for rows that have just been added to ``ring``; return the bookkeeping and what changed."""

    @abc.abstractmethod
    def count(self, state: Any, ring: RingState) -> jax.Array:
        """Return how many legal windows each stream has: int32 ``[E]``."""

    @abc.abstractmethod
    def start(self, state: Any, ring: RingState, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """Return when the window of the given ``rank`` (0 is the oldest) begins: int32 times, any if there is none.

        Ranks of windows that there are none of may be -1, too.
        """

    def older(self, state: Any, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Count the legal windows of each stream that begin before ``start``, the time of a row present: int32."""
        return _older(self, state, ring, stream, start)

    def alive(self, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Say whether windows that were legal once, beginning at ``start``, still are."""
        return self.ring.present(ring, start, stream) & (self.ring.shift(ring.time[stream], -start) <= self.reach)

    def bounds(
        self, state: Any, ring: RingState, stream: jax.Array, time: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Find the bounds of the episodes of rows; only ``Bounded`` windows know them."""
        raise ConfigurationError(
            "these windows do not keep the bounds of episodes; View.windows() must return Bounded."
        )

    def count_in(self, length: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Count the legal windows of episodes that have a stream each, on the host.

        Args:
          length: int64 ``[n]``, the rows of each episode, all present.
          ended: bool ``[n]``, whether the newest row is the last of its episode.

        Returns:
          int64 ``[n]``.
        """
        raise ConfigurationError(
            f"{type(self).__name__} does not say how many windows an episode has: define count_in() and start_in()."
        )

    def start_in(self, rank: np.ndarray) -> np.ndarray:
        """Return the row of its episode at which the window of each ``rank`` (0 is the first) begins: int64."""
        return rank

    def _turnover(self, start: jax.Array, completed: jax.Array, ring: RingState, added: Added) -> Turnover:
        # Of many rows added at once, the last may have overwritten what the first have completed.
        completed = completed & (self.ring.shift(ring.time[None], -start) <= self.reach)
        return Turnover(start, completed, self.ring.shift(added.time, -self.reach))


@partial(jax.jit, static_argnums=0, inline=True)  # called by itself, a loop would compile each time
def _older(windows: Windows, state: Any, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
    count, shift = windows.count(state, ring)[stream], windows.ring.shift
    age, steps = shift(ring.time[stream], -start), windows.ring.length.bit_length()

    def go_on(step: jax.Array, found: jax.Array) -> jax.Array:
        """Go on by a power of two, if the windows up to there all begin before ``start``."""
        further = found + jnp.left_shift(1, steps - 1 - step)
        begun = windows.start(state, ring, stream, jnp.minimum(further, count) - 1)
        before = (further <= count) & (shift(ring.time[stream], -begun) > age)
        return jnp.where(before, further, found)

    return repeat(steps, go_on, jnp.zeros_like(count))


@dataclass(frozen=True)
class Contiguous(Windows):
    """Windows of ``required`` rows that may cross episodes: legal wherever the rows are present."""

    ring: Ring
    required: int
    history: int = 0

    @override
    def init(self) -> None:
        return None

    @override
    def add(self, state: Any, ring: RingState, added: Added) -> tuple[None, Turnover]:
        """A row completes a window unless it is among the first ones present."""
        later = jnp.flip(jnp.cumsum(jnp.flip(added.mask, axis=0), axis=0, dtype=jnp.int32), axis=0) - 1
        completed = added.mask & (ring.size[None] - later >= self.required)
        return None, self._turnover(self.ring.shift(added.time, 1 - self.required), completed, ring, added)

    @override
    def count(self, state: Any, ring: RingState) -> jax.Array:
        """Every start within reach whose ``required`` rows are present is legal."""
        return jnp.maximum(jnp.minimum(ring.size, self.reach) - (self.required - 1), 0)

    @override
    def count_in(self, length: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Every row with enough successors begins one."""
        return np.maximum(length - (self.required - 1), 0)

    @override
    def older(self, state: Any, ring: RingState, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Every row within reach before ``start`` begins a window, up to the last that does."""
        rows = jnp.minimum(ring.size[stream], self.reach) - self.ring.shift(ring.time[stream], -start)
        return jnp.clip(rows, 0, self.count(state, ring)[stream])

    @override
    def start(self, state: Any, ring: RingState, stream: jax.Array, rank: jax.Array) -> jax.Array:
        """The k-th oldest window begins at the k-th oldest row within reach."""
        return self.ring.shift(ring.time[stream] - jnp.minimum(ring.size[stream], self.reach), rank)
