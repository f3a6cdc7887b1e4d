"""What every sampler is: a way to point at legal windows."""

import abc
from typing import Any, Generic

import jax
import jax.numpy as jnp
from typing_extensions import TypeVar

from jaxbuffers.batch import Draw, Index
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.row import RowSpec
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal

State = TypeVar("State", default=Any)  # what a sampler remembers


class Sampler(abc.ABC, Generic[State]):
    """A frozen configuration with pure methods; what it remembers is its own pytree.

    Subclasses are frozen dataclasses: equal configurations must be equal values.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the row that this sampler needs."""
        return ()

    @property
    def takes_priority(self) -> bool:
        """Whether ``Replay.update(priority=)`` is of use to it."""
        return False

    @property
    def says_probability(self) -> bool:
        """Whether `probability` says how likely a window is; a `Mix` needs that."""
        return type(self).probability is not Sampler.probability

    @property
    def memory(self) -> Any:
        """What must be equal for another sampler to understand what this one remembers, a hashable value.

        By default the sampler itself; None if it remembers nothing, because it has no `init` of its own. A sampler
        of others returns its name and their memories, such as ``("Counted", self.sampler.memory)``.
        """
        return None if type(self).init is Sampler.init else self

    def check(self, spec: RowSpec) -> None:
        """Raise an error that names what the row lacks for this sampler."""
        spec.require(self.fields, f"{type(self).__name__}()")

    @abc.abstractmethod
    def draw(self, state: State, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        """Point at ``batch_size`` windows. The key is consumed."""

    def can_draw(self, state: State, legal: Legal, batch_size: int) -> jax.Array:
        """Say whether `draw` of so many windows will be valid, whatever the key: bool ``[]``.

        By default, whether any window is legal. A sampler that does not draw from every legal window, or never draws
        one twice, must say so here.
        """
        return jnp.any(legal.count() > 0)

    def init(self, windows: Windows) -> State:
        """Return what the sampler remembers about an empty ring, any pytree; nothing by default.

        Where it has a method ``stats()`` that returns named arrays, `jaxbuffers.stats` reports them.
        """
        return ()  # type: ignore[return-value]

    def add(self, state: State, legal: Legal, added: Added, turnover: Turnover) -> State:
        """Account for rows just added, ``[N, E]``, and for the windows they completed and ended; nothing by default.

        N rows at once must be as good as one after the other: `HostReplay` collects them.
        """
        return state

    def update(self, state: State, legal: Legal, index: Index, priority: jax.Array | None) -> State:
        """Take note that the windows beginning at ``index`` ``[B]`` were used; nothing by default.

        Args:
          state: what the sampler remembers.
          legal: the legal windows now; some of those at ``index`` may be gone.
          index: each window's first required row; time -1 where there is none.
          priority: float32 ``[B]``; None unless `takes_priority`.
        """
        return state

    def rewritten(self, state: State, legal: Legal, index: Index) -> State:
        """Take note that rows at ``index``, of any shape, have been replaced in the ring; nothing by default."""
        return state

    def probability(self, state: State, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return the probability with which one draw points at each of these legal windows: float32."""
        raise ConfigurationError(f"{type(self).__name__} does not say how likely a window is: it cannot be mixed.")
