"""Counted: another sampler, with a count of how often each window was used."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxbuffers.batch import Draw, Index
from jaxbuffers.checks import check_part
from jaxbuffers.numerics.materialize import once
from jaxbuffers.row import RowSpec
from jaxbuffers.samplers.base import Legal, Sampler
from jaxbuffers.samplers.bookkeeping import living, turned_over
from jaxbuffers.windows.base import Added, Turnover, Windows

MOST = 2**30  # uses of a window after which it is not worth counting, and int32 would overflow some day


@struct.dataclass
class CountedState:
    """How often each window was used.

    Attributes:
      sampler: what the counted sampler remembers.
      uses: int32 ``[T * E]``, by address: how often the window that begins there was used, -1 where none does.
    """

    sampler: Any
    uses: jax.Array


@dataclass(frozen=True)
class Counted(Sampler):
    """Draw as ``sampler`` does, and count the uses of each window, for `stats` to report.

    A use is an entry of a ``batch.index`` given to `Replay.update`; call it once for each batch. Beyond
    2**30 uses of one window no more are counted.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4, num_envs=None, batch_size=6, sampler=jb.Counted(jb.Uniform()))
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(2.0))
    >>> state = replay.update(state, replay.sample(state, jax.random.key(0)).index)
    >>> int(state.sampler.uses[:2].sum()), state.sampler.uses[2:].tolist()
    (6, [-1, -1])
    """

    sampler: Sampler

    def __post_init__(self) -> None:
        check_part("the sampler of Counted()", self.sampler, Sampler)

    @property
    def fields(self) -> tuple[str, ...]:
        """What the sampler needs."""
        return self.sampler.fields

    @property
    def takes_priority(self) -> bool:
        """Whether the sampler takes one."""
        return self.sampler.takes_priority

    @property
    def memory(self) -> tuple[str, Any]:
        """The counts, and what the sampler remembers."""
        return ("Counted", self.sampler.memory)

    def check(self, spec: RowSpec) -> None:
        """Let the sampler check the row."""
        self.sampler.check(spec)

    def init(self, windows: Windows) -> CountedState:
        """No window, no use."""
        addresses = windows.ring.length * windows.ring.num_streams
        return CountedState(self.sampler.init(windows), jnp.full(addresses, -1, jnp.int32))

    def add(self, state: CountedState, legal: Legal, added: Added, turnover: Turnover) -> CountedState:
        """Expired windows leave, completed ones begin with no use."""
        gone, new = turned_over(legal, added, turnover)
        uses = state.uses.at[gone].set(-1, mode="drop").at[new].set(0, mode="drop")
        return CountedState(self.sampler.add(state.sampler, legal, added, turnover), uses)

    def can_draw(self, state: CountedState, legal: Legal, batch_size: int) -> jax.Array:
        """Ask the sampler."""
        return self.sampler.can_draw(state.sampler, legal, batch_size)

    def draw(self, state: CountedState, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        """Point at ``batch_size`` windows. The key is consumed."""
        return self.sampler.draw(state.sampler, legal, key, batch_size)

    def probability(self, state: CountedState, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return what the sampler says."""
        return self.sampler.probability(state.sampler, legal, stream, start)

    def update(self, state: CountedState, legal: Legal, index: Index, priority: jax.Array | None) -> CountedState:
        """Count, and tell the sampler."""
        leaf = living(legal, index)
        # Once: fused into the write it would be a read that may come after it, and copy the table.
        before = once(state.uses.at[leaf].get(mode="fill", fill_value=-1))
        counts = (before >= 0) & (before < MOST)
        uses = state.uses.at[leaf].add(counts.astype(jnp.int32), mode="drop")
        return CountedState(self.sampler.update(state.sampler, legal, index, priority), uses)

    def rewritten(self, state: CountedState, legal: Legal, index: Index) -> CountedState:
        """Tell the sampler."""
        return CountedState(self.sampler.rewritten(state.sampler, legal, index), state.uses)
