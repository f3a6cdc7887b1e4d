"""Counted: another sampler, with a count of how often each window was used."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Index
from jaxbuffers.checks import check_part
from jaxbuffers.numerics.materialize import materialize
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.samplers.bookkeeping import living, turned_over
from jaxbuffers.samplers.reporting import BINS, histogram, under
from jaxbuffers.samplers.wrapping import WrappingSampler
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal

MOST = 2**30  # uses of a window after which it is not worth counting, and int32 would overflow some day


@struct.dataclass
class CountedState:
    """How often each window was used.

    Attributes:
      inner: what the counted sampler remembers.
      uses: int32 ``[T * E]``, by address: how often the window that begins there was used, -1 where none does.
    """

    inner: Any
    uses: jax.Array

    def stats(self) -> dict[str, jax.Array]:
        """How many windows were used 0, 1, 2-3, 4-7, ... times, and how often on average."""
        real = self.uses >= 0
        octave = jnp.zeros_like(self.uses)
        for power in range(BINS - 1):
            octave = octave + (self.uses >= 2**power).astype(jnp.int32)
        total = jnp.sum(jnp.where(real, self.uses, 0).astype(jnp.float32))
        mean = total / jnp.maximum(jnp.sum(real, dtype=jnp.int32), 1).astype(jnp.float32)
        return {"uses": histogram(octave, real), "mean_uses": mean} | under("counted", self.inner)


@dataclass(frozen=True)
class Counted(WrappingSampler[CountedState]):
    """Draw as ``sampler`` does, and count the uses of each window, for `stats` to report.

    A use is an entry of a ``batch.index`` given to `Replay.update`; call it once for each batch. Beyond
    2**30 uses of one window no more are counted.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4, num_envs=None, batch_size=6, sampler=jb.Counted(jb.Uniform()))
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(2.0))
    >>> batch = jax.jit(replay.sample)(state, jax.random.key(0))
    >>> state = jax.jit(replay.update)(state, batch.index)
    >>> int(state.sampler.uses[:2].sum()), state.sampler.uses[2:].tolist()
    (6, [-1, -1])
    """

    sampler: Sampler

    def __post_init__(self) -> None:
        check_part("the sampler of Counted()", self.sampler, Sampler)

    @property
    @override
    def inner(self) -> Sampler:
        return self.sampler

    @property
    @override
    def memory(self) -> tuple[str, Any]:
        return ("Counted", self.inner.memory)

    @override
    def init(self, windows: Windows) -> CountedState:
        addresses = windows.length * windows.num_streams
        return CountedState(inner=self.inner.init(windows), uses=jnp.full(addresses, -1, jnp.int32))

    @override
    def add(self, state: CountedState, legal: Legal, added: Added, turnover: Turnover) -> CountedState:
        # Expired windows leave, completed ones begin with no use.
        gone, new = turned_over(legal, added, turnover)
        uses = state.uses.at[gone].set(-1, mode="drop").at[new].set(0, mode="drop")
        return replace(super().add(state, legal, added, turnover), uses=uses)

    @override
    def update(self, state: CountedState, legal: Legal, index: Index, priority: jax.Array | None) -> CountedState:
        leaf = living(legal, index)
        # Fused into the write it would be a read that may come after it, and copy the table.
        before = materialize(state.uses.at[leaf].get(mode="fill", fill_value=-1))
        counts = (before >= 0) & (before < MOST)
        uses = state.uses.at[leaf].add(counts.astype(jnp.int32), mode="drop")
        return replace(super().update(state, legal, index, priority), uses=uses)
