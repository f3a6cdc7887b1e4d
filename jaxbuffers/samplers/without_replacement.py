"""WithoutReplacement: every legal window once, in random order, before any comes again."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Draw, Index
from jaxbuffers.numerics import count_tree
from jaxbuffers.numerics.partial_shuffle import shuffled_passes
from jaxbuffers.numerics.random_bits import bits64
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.samplers.bookkeeping import living, only_where, turned_over
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal


@struct.dataclass
class EpochState:
    """Which windows have not come in this epoch.

    Attributes:
      tree: the legal windows in two groups: those still to come, and those that wait for the next epoch.
      side: int32 ``[]``, which group is still to come, 0 or 1.
    """

    tree: count_tree.CountTree
    side: jax.Array

    def stats(self) -> dict[str, jax.Array]:
        """How many windows are still to come in this epoch, and how many wait for the next."""
        to_come, waiting = (jnp.sum(self.tree.group == side, dtype=jnp.int32) for side in (self.side, 1 - self.side))
        return {"to_come": to_come, "waiting": waiting}


@dataclass(frozen=True)
class WithoutReplacement(Sampler[EpochState]):
    """Draw every legal window once an epoch, in random order; windows completed meanwhile join at the next one.

    `Replay.sample` does not change the state, so a window has come only once
    ``state = replay.update(state, batch.index)`` has said so; call it after each sample. A batch that reaches the
    end of an epoch goes on with the next; where it is larger than the number of legal windows
    it goes round as often as it must, and counts each window once. Windows overwritten before
    their turn are left out. O(log(rows)) a window, O(B**2) a batch.

    ``batch.probability`` is 1 / (how many windows were still to come), of the window's epoch.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4, num_envs=None, batch_size=2, sampler=jb.WithoutReplacement())
    >>> state, seen = replay.add(replay.init(jnp.float32(0)), jnp.arange(4.0)), []
    >>> for step in range(4):  # two epochs
    ...     batch = replay.sample(state, jax.random.key(step))
    ...     state = replay.update(state, batch.index)
    ...     seen += batch.data.tolist()
    >>> sorted(seen[:4]), sorted(seen[4:])
    ([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0])
    """

    @override
    def init(self, windows: Windows) -> EpochState:
        """No window at all: the first epoch begins with the first draw."""
        leaves = windows.length * windows.num_streams
        return EpochState(count_tree.init(leaves, 2), jnp.zeros((), jnp.int32))

    @override
    def add(self, state: EpochState, legal: Legal, added: Added, turnover: Turnover) -> EpochState:
        """Expired windows leave, completed ones wait for the next epoch."""
        gone, new = turned_over(legal, added, turnover)
        tree, _ = count_tree.turn_over(state.tree, gone, new, jnp.broadcast_to(1 - state.side, new.shape))
        return EpochState(tree, state.side)

    @override
    def draw(self, state: EpochState, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        sizes = count_tree.sizes(state.tree)
        left, everything = sizes[state.side], jnp.sum(sizes, dtype=jnp.int32)
        passes, rank = shuffled_passes(left, jnp.maximum(everything, 1), *bits64(key, batch_size))
        waiting = rank >= left  # the ranks of the next epoch go through both groups
        group = jnp.where(waiting, 1 - state.side, state.side)
        leaf = count_tree.find(state.tree, group, jnp.where(waiting, rank - left, rank))
        stream, start = legal.window_at(leaf)
        among = jnp.where(passes == 0, left, everything)
        return Draw.of(stream, start, 1 / jnp.maximum(among, 1).astype(jnp.float32), everything > 0)

    @override
    def probability(self, state: EpochState, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return the probability that the next window of this epoch, or of a new one, is the given one."""
        sizes = count_tree.sizes(state.tree)
        left, everything = sizes[state.side], jnp.sum(sizes, dtype=jnp.int32)
        group = count_tree.group_at(state.tree, legal.address(stream, start))
        to_come = (group == state.side) | ((left == 0) & (group >= 0))
        among = jnp.where(left > 0, left, everything)
        share = 1 / jnp.maximum(among, 1).astype(jnp.float32)
        return jnp.where(to_come & legal.alive(stream, start), share, 0)

    @override
    def update(self, state: EpochState, legal: Legal, index: Index, priority: Any) -> EpochState:
        """Windows used wait for the next epoch; once none is left, it begins, and the rest of a batch counts in it."""
        leaf, side = living(legal, index), state.side
        to_come = count_tree.group_at(state.tree, leaf) == side
        tree, counted = count_tree.move(state.tree, only_where(to_come, leaf), jnp.broadcast_to(1 - side, leaf.shape))
        over = count_tree.sizes(tree)[side] == 0
        side = jnp.where(over, 1 - side, side)
        again = over & ~counted & (count_tree.group_at(tree, leaf) == side)
        tree, _ = count_tree.move(tree, only_where(again, leaf), jnp.broadcast_to(1 - side, leaf.shape))
        return EpochState(tree, side)
