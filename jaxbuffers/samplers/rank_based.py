"""RankBased: windows by the rank of their priority, so that no outlier can rule."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from typing_extensions import override

from jaxbuffers.batch import Draw, Index
from jaxbuffers.checks import number, settle
from jaxbuffers.numerics import count_tree, sum_tree
from jaxbuffers.numerics.random_bits import bits64, fraction_of
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.samplers.bookkeeping import feedback, living, only_where, turned_over
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal

CLASSES, HIGHEST = 96, 24  # half octaves: the first class ends at 2**-23.5, the last begins at 2**23.5
ROOT = 0x3504F3  # the fraction bits of the largest float32 below the square root of 2


@struct.dataclass
class RankState:
    """Which class of priorities each legal window is in.

    Attributes:
      tree: the legal windows by class, 0 the highest priorities.
      best: int32 ``[]``, the highest class so far, which new windows join.
      stale: int32 ``[]``, how many priorities came for windows that were gone.
      refused: int32 ``[]``, how many priorities were NaN, infinite or negative.
    """

    tree: count_tree.CountTree
    best: jax.Array
    stale: jax.Array
    refused: jax.Array

    def stats(self) -> dict[str, jax.Array]:
        """How many windows each class has, and the counters."""
        return {"ranks": count_tree.sizes(self.tree), "stale": self.stale, "refused": self.refused}


@dataclass(frozen=True)
class RankBased(Sampler[RankState]):
    """Draw legal windows independently, with probability proportional to ``rank**-alpha``.

    Rank-based prioritization (Schaul et al. 2016, section 3.3): rank 1 is the highest priority. Windows whose
    priorities lie in the same half octave (96 classes, from 2**-24 to 2**24, the outer ones open)
    are tied: they share the sum of their ranks' shares equally, and ``batch.probability`` is exactly
    that. No sorting, ever: O(log(rows)) a window. New windows are tied with the highest
    priority sent back so far, that of 1 at first. Priorities are sent back as for `Prioritized`.

    Args:
      alpha: 0 is uniform, 1 is proportional to 1 / rank.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4, num_envs=None, batch_size=4, sampler=jb.RankBased(alpha=1.0))
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(4.0))
    >>> index = jb.Index(jnp.zeros(4, jnp.int32), jnp.arange(4, dtype=jnp.int32))
    >>> state = jax.jit(replay.update)(state, index, priority=jnp.array([1.0, 2.0, 1e9, 1.1]))
    >>> batch = jax.jit(replay.sample)(state, jax.random.key(0))  # shares 1, 1/2, and (1/3 + 1/4) / 2 for the two tied
    >>> batch.data, jnp.round(batch.probability * (1 + 1/2 + 1/3 + 1/4), 4)
    (Array([3., 1., 2., 2.], dtype=float32), Array([0.2917, 0.5   , 1.    , 1.    ], dtype=float32))
    """

    alpha: float = 0.7

    def __post_init__(self) -> None:
        settle(self, alpha=number("alpha", self.alpha, 0, 8))

    @property
    @override
    def takes_priority(self) -> bool:
        return True

    @override
    def init(self, windows: Windows) -> RankState:
        leaves, zero = windows.length * windows.num_streams, jnp.zeros((), jnp.int32)
        tree = count_tree.init(leaves, CLASSES)
        return RankState(tree, _class(jnp.ones((), jnp.float32)), zero, jnp.zeros((), jnp.int32))

    @override
    def add(self, state: RankState, legal: Legal, added: Added, turnover: Turnover) -> RankState:
        """Expired windows leave, completed ones join the highest class."""
        gone, new = turned_over(legal, added, turnover)
        tree, _ = count_tree.turn_over(state.tree, gone, new, jnp.broadcast_to(state.best, new.shape))
        return RankState(tree, state.best, state.stale, state.refused)

    @override
    def draw(self, state: RankState, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        sizes = count_tree.sizes(state.tree)
        shares = self._shares(sizes)
        # Small shares come first: after the large ones they would be lost to rounding.
        order = jnp.argsort(shares)
        tree = sum_tree.of(shares[order])
        total = sum_tree.total(tree)
        high, low = bits64(key, 2 * batch_size)
        # 48 bits choose a class, 64 others a window within it.
        group = order[sum_tree.draw(tree, high[:batch_size], low[:batch_size], stratified=False)[0]].astype(jnp.int32)
        size = sizes[group]
        leaf = count_tree.find(state.tree, group, fraction_of(size, high[batch_size:], low[batch_size:]))
        stream, start = legal.window_at(leaf)
        return Draw.of(stream, start, _divide(shares[group], total * size.astype(jnp.float32)), total > 0)

    @override
    def probability(self, state: RankState, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return each window's part of the share of its class."""
        sizes = count_tree.sizes(state.tree)
        shares = self._shares(sizes)
        group = count_tree.group_at(state.tree, legal.address(stream, start))
        known = (group >= 0) & legal.alive(stream, start)
        group = jnp.where(known, group, 0)
        return jnp.where(known, _divide(shares[group], jnp.sum(shares) * sizes[group].astype(jnp.float32)), 0)

    @override
    def update(self, state: RankState, legal: Legal, index: Index, priority: jax.Array | None) -> RankState:
        """Windows join the class of their new priority, unless they are gone or it is not a number that can be one."""
        if priority is None:
            return state
        leaf = living(legal, index)
        legal_now = count_tree.group_at(state.tree, leaf) >= 0
        good = (priority >= 0) & jnp.isfinite(priority)
        stale, refused, _ = feedback(index, legal_now, good, priority)
        group = _class(jnp.where(good, priority, 0))
        # Of several priorities for one window the highest counts.
        tree, counted = count_tree.move(state.tree, only_where(legal_now & good, leaf), group, CLASSES - 1 - group)
        best = jnp.minimum(state.best, jnp.min(jnp.where(counted, group, CLASSES - 1), initial=CLASSES - 1))
        return RankState(tree, best, state.stale + stale, state.refused + refused)

    def _shares(self, sizes: jax.Array) -> jax.Array:
        """Return for each class the sum of ``rank**-alpha`` over its ranks: float32 ``[CLASSES]``."""
        ends = jnp.cumsum(sizes, dtype=jnp.int32)
        return jnp.where(sizes > 0, self._sum_between(ends - sizes, sizes), 0)

    def _sum_between(self, begin: jax.Array, size: jax.Array) -> jax.Array:
        """Sum ``rank**-alpha`` over the ``size`` ranks after ``begin``: some exactly, the rest by Euler-Maclaurin."""
        exact, alpha = 64, self.alpha
        ranks = jnp.arange(1, exact + 1, dtype=jnp.int32)[None]
        inside = (ranks > begin[:, None]) & (ranks <= (begin + size)[:, None])
        powers = jnp.asarray(np.arange(1.0, exact + 1) ** -alpha, jnp.float32)
        head = jnp.sum(jnp.where(inside, powers[None], 0), axis=1)
        # From a to b, both at least 64: the integral of x**-alpha, and the first corrections.
        a = jnp.maximum(begin, exact).astype(jnp.float32)
        more = jnp.maximum(begin + size - jnp.maximum(begin, exact), 0).astype(jnp.float32)
        growth = jnp.log1p(more / a)  # log(b / a), accurate for few ranks too
        power = np.float32(1 - alpha)
        integral = growth if alpha == 1 else jnp.expm1(power * growth) / power
        ratio = jnp.exp(np.float32(-alpha) * growth)  # (b / a)**-alpha
        last = ratio - 1
        bend = np.float32(alpha / 12) * (1 - ratio * jnp.exp(-growth)) / a
        tail = a ** np.float32(-alpha) * (a * integral + last / 2 + bend)
        return head + jnp.where(more > 0, tail, 0)


def _class(priority: jax.Array) -> jax.Array:
    """Number the half octave of each priority, 0 for the highest: int32."""
    # Read off exponent and fraction: a logarithm is off by a bit, and then 2.0**13 belongs to the class below.
    inside = jnp.clip(priority, np.float32(2**-HIGHEST), np.float32(1.5 * 2 ** (HIGHEST - 1)))
    bits = lax.bitcast_convert_type(inside, jnp.int32)
    octave, upper = (bits >> 23) - 127, (bits & 0x7FFFFF) > ROOT
    return (HIGHEST - octave) * 2 - 1 - upper.astype(jnp.int32)


def _divide(a: jax.Array, b: jax.Array) -> jax.Array:
    return a / jnp.where(b > 0, b, 1)
