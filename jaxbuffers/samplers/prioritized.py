"""Prioritized: windows in proportion to a priority that the learner sends back."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Draw, Index
from jaxbuffers.checks import flag, number, settle
from jaxbuffers.errors import ConfigurationError, DtypeError
from jaxbuffers.numerics import sum_tree
from jaxbuffers.numerics.materialize import materialize, materialize_on_cpu
from jaxbuffers.numerics.random_bits import bits64
from jaxbuffers.row import check_leaf
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.samplers.bookkeeping import feedback, living, only_where, turned_over
from jaxbuffers.samplers.reporting import BINS, histogram
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal


@struct.dataclass
class PrioritizedState:
    """The weights of the legal windows.

    Attributes:
      tree: their sum tree; the leaf at a window's address is ``(priority + eps)**alpha``, and 0
        where no legal window begins.
      highest: float32 ``[]``, the priority that new windows get.
      stale: int32 ``[]``, how many priorities came for windows that were gone.
      refused: int32 ``[]``, how many priorities were NaN, infinite, negative or too large.
    """

    tree: sum_tree.Levels
    highest: jax.Array
    stale: jax.Array
    refused: jax.Array

    def stats(self) -> dict[str, jax.Array]:
        """A histogram of the weights, in equal steps of their logarithm, and the counters."""
        weights = self.tree[0]
        real = weights > 0
        logs = jnp.log(jnp.where(real, weights, 1))
        far = np.float32(128)  # farther than the logarithm of any float32
        low = jnp.where(jnp.any(real), jnp.min(jnp.where(real, logs, far)), 0)
        high = jnp.maximum(jnp.max(jnp.where(real, logs, -far)), low)
        step = jnp.maximum((high - low) / BINS, np.float32(1e-6))
        bin_of = jnp.clip(((logs - low) / step).astype(jnp.int32), 0, BINS - 1)
        return {
            "priorities": histogram(bin_of, real),
            "priority_edges": jnp.exp(low + step * jnp.arange(BINS + 1, dtype=jnp.float32)),
            "total_weight": jnp.sum(weights),
            "highest": self.highest,
            "stale": self.stale,
            "refused": self.refused,
        }


@dataclass(frozen=True)
class Prioritized(Sampler[PrioritizedState]):
    """Draw legal windows with replacement, each with probability proportional to ``(priority + eps)**alpha``.

    Proportional prioritization (Schaul et al. 2016). Priorities are sent back by
    ``replay.update(state, batch.index, priority=...)``: float32 ``[B]``, such as absolute TD errors.
    Where a window was drawn twice, the larger of its priorities is kept. Priorities of windows that
    have been overwritten since are dropped and counted in ``state.sampler.stale``; those that are
    NaN, infinite, negative or so large that their sum could overflow leave the window as it was
    and are counted in ``state.sampler.refused``.

    ``batch.probability`` is each window's share of the total weight: `importance_weights` turns it
    into weights for the loss. Draws keep to these shares to within about 2**-24 of the total.
    O(log(rows)) a draw, an update and an added row.

    Args:
      alpha: 0 is uniform, 1 fully proportional.
      eps: added to every priority, above 0, so that every legal window can be drawn.
      initial: the priority of new windows: ``"max"``, the highest one sent back so far, 1 at
        first; or a number.
      decay: what the highest priority is multiplied by at each update, in ``(0, 1]``, so that one outlier
        does not rule for ever.
      stratified: draw the i-th window of a batch from the i-th of B equal shares of the total
        weight, which lowers the variance; the batch is then in the order of the ring. False for independent draws.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4, num_envs=None, batch_size=4, sampler=jb.Prioritized(alpha=1.0, eps=1e-9))
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(4.0))
    >>> batch = replay.sample(state, jax.random.key(0))
    >>> batch.data  # all alike: each of the four equal shares is one row
    Array([0., 1., 2., 3.], dtype=float32)
    >>> state = replay.update(state, batch.index, priority=jnp.array([0.0, 0.0, 0.0, 5.0]))
    >>> replay.sample(state, jax.random.key(0)).data
    Array([3., 3., 3., 3.], dtype=float32)
    """

    alpha: float = 0.6
    eps: float = 1e-6
    initial: float | str = "max"
    decay: float = 1.0
    stratified: bool = True

    def __post_init__(self) -> None:
        for name, most in (("alpha", 8), ("eps", 1e6), ("decay", 1)):
            settle(self, **{name: number(name, getattr(self, name), 0, most, above=name != "alpha")})
        if min(self.eps, self.eps**self.alpha) < 1e-30:
            raise ConfigurationError(
                f"eps = {self.eps} or eps**alpha = {self.eps**self.alpha} is too small for float32; raise eps."
            )
        if not isinstance(self.initial, str):
            settle(self, initial=number('initial, unless it is "max",', self.initial, 0, 1e6))
        elif self.initial != "max":
            raise ConfigurationError(f'initial must be "max" or a number from 0 to 1e6, got {self.initial!r}.')
        flag("stratified", self.stratified)

    @property
    @override
    def takes_priority(self) -> bool:
        return True

    @override
    def init(self, windows: Windows) -> PrioritizedState:
        first = 1 if isinstance(self.initial, str) else self.initial
        leaves = windows.length * windows.num_streams
        if leaves * (first + self.eps) ** self.alpha > 1e38:
            raise ConfigurationError(
                f"{leaves} windows of weight (initial + eps)**alpha = ({first} + {self.eps})**{self.alpha} are too "
                f"much for float32; lower alpha, initial or eps."
            )
        return PrioritizedState(
            tree=sum_tree.init(leaves),
            highest=jnp.asarray(np.float32(first)),
            stale=jnp.zeros((), jnp.int32),
            refused=jnp.zeros((), jnp.int32),
        )

    @override
    def add(self, state: PrioritizedState, legal: Legal, added: Added, turnover: Turnover) -> PrioritizedState:
        """Expired windows lose their weight, completed ones get the initial one."""
        gone, new = turned_over(legal, added, turnover)
        weight = jnp.broadcast_to(self._weight(state.highest), new.shape)
        tree = sum_tree.write(sum_tree.clear(state.tree, gone), new, weight)
        return replace(state, tree=sum_tree.refresh(tree, jnp.concatenate([gone, new])))

    @override
    def draw(self, state: PrioritizedState, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        leaf, weight = sum_tree.draw(state.tree, *bits64(key, batch_size), self.stratified)
        (stream, start), total = legal.window_at(leaf), sum_tree.total(state.tree)
        # Once: else they are worked out from the leaf for every word of every row that is read.
        stream = stream if legal.num_streams == 1 else materialize_on_cpu(stream)
        start = materialize_on_cpu(start)
        return Draw.of(stream, start, weight / jnp.where(total > 0, total, 1), weight > 0)

    @override
    def probability(self, state: PrioritizedState, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return each window's share of the total weight."""
        weight = state.tree[0].at[legal.address(stream, start)].get(mode="promise_in_bounds")
        total = sum_tree.total(state.tree)
        return jnp.where(legal.alive(stream, start), weight / jnp.where(total > 0, total, 1), 0)

    @override
    def update(
        self, state: PrioritizedState, legal: Legal, index: Index, priority: jax.Array | None
    ) -> PrioritizedState:
        """Give windows new weights, unless they are gone or the priority is not a number that can be one."""
        if priority is None:
            return state
        # A weight above zero says that a legal window begins here: nothing else ever gets one.
        leaf = living(legal, index)
        legal_now = materialize(state.tree[0].at[leaf].get(mode="fill", fill_value=0)) > 0
        good = (priority >= 0) & jnp.isfinite(priority)
        weight = self._weight(jnp.where(good, priority, 0))
        good = good & (weight <= np.float32(1e38 / len(state.tree[0])))
        stale, refused, best = feedback(index, legal_now, good, priority)
        leaf = materialize(only_where(legal_now & good, leaf))
        tree = sum_tree.refresh(sum_tree.write(state.tree, leaf, weight), leaf)
        highest = state.highest
        if isinstance(self.initial, str):
            highest = jnp.maximum(highest * np.float32(self.decay), best)
        return PrioritizedState(tree=tree, highest=highest, stale=state.stale + stale, refused=state.refused + refused)

    def _weight(self, priority: jax.Array) -> jax.Array:
        return (priority + np.float32(self.eps)) ** np.float32(self.alpha)


def importance_weights(probability: jax.Array, size: Any, beta: Any, normalize: bool = True) -> jax.Array:
    """Weigh the windows of a batch against the bias of drawing them with unequal probability.

    Each weight is ``(size * probability)**-beta``, divided by the largest of the batch, so that
    weights only scale losses down (Schaul et al. 2016, section 3.4).

    Args:
      probability: float ``[B]``, ``batch.probability``.
      size: how many windows could have been drawn, ``replay.count(state)``. It cancels out in the
        division, and matters without it.
      beta: 0 for no correction, 1 for the full one; a float, or a scalar array to anneal it.
      normalize: whether to divide by the largest weight.

    Returns:
      Weights of the shape and dtype of ``probability``; 0 where it is 0.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> jb.importance_weights(jnp.array([0.1, 0.2, 0.4]), size=10, beta=1.0)
    Array([1.  , 0.5 , 0.25], dtype=float32)
    """
    dtype = getattr(probability, "dtype", np.dtype(float))
    check_leaf(("probability",), probability, (), dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise DtypeError(f"probability must be float, got {dtype}.")
    probability = jnp.asarray(probability)
    drawn = probability > 0
    probability = jnp.where(drawn, probability, 1)
    unit = 1 / jnp.asarray(size).astype(dtype)
    if normalize and probability.size:
        unit = jnp.min(probability)
    return jnp.where(drawn, (unit / probability) ** jnp.asarray(beta).astype(dtype), 0)
