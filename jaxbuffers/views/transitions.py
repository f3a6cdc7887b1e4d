"""Transitions: n-step returns folded when they are read."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Index
from jaxbuffers.checks import number, positive, settle
from jaxbuffers.row import RowSpec, field
from jaxbuffers.views.base import Reader, View, episode_of
from jaxbuffers.windows.legal import Legal


@struct.dataclass
class Transition:
    """``h`` steps of one episode, ``1 <= h <= n_step``.

    Attributes:
      obs: ``obs_t``, leaves ``[B, ...]``.
      action: ``action_t``, leaves ``[B, ...]``.
      reward: ``[B]``, the sum of ``gamma**i * reward_{t+1+i}`` over ``i < h``.
      discount: ``[B]``, ``gamma**h``, or 0 if ``obs_{t+h}`` is terminal: what multiplies the
        bootstrap value.
      next_obs: ``obs_{t+h}``, leaves ``[B, ...]``.
      extras: ``extras_t``.
    """

    obs: Any
    action: Any
    reward: jax.Array
    discount: jax.Array
    next_obs: Any
    extras: Any


@dataclass(frozen=True)
class Transitions(View[Transition]):
    """Read `Transition` s of up to ``n_step`` steps (Sutton 1988; Sutton and Barto 2018, section 7.1).

    Every row with a successor in its episode is a legal start, the last steps of an episode too.
    The fold stops at the end of the episode or at the newest row, and bootstraps from the
    observation there; truncation keeps its bootstrap, termination does not.

    Args:
      n_step: steps to fold at most.
      gamma: discount per step, in ``[0, 1]``.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> rows = jb.episode_rows(obs=jnp.arange(4.0), action=jnp.zeros(3, jnp.int32), reward=jnp.ones(3),
    ...                        terminated=True, truncated=False)
    >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=64, view=jb.Transitions(n_step=2, gamma=0.5))
    >>> state = replay.add(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
    >>> batch = replay.sample(state, jax.random.key(0))
    >>> sorted({(float(o), float(r), float(d)) for o, r, d in
    ...         zip(batch.data.obs, batch.data.reward, batch.data.discount)})
    [(0.0, 1.5, 0.25), (1.0, 1.5, 0.0), (2.0, 1.0, 0.0)]
    """

    n_step: int = 1
    gamma: float = 0.99

    def __post_init__(self) -> None:
        settle(self, n_step=positive("n_step", self.n_step), gamma=number("gamma", self.gamma, 0, 1))

    @property
    @override
    def required(self) -> int:
        """A row and its successor."""
        return 2

    @property
    @override
    def within(self) -> bool:
        """A transition never spans two episodes."""
        return True

    @property
    @override
    def span(self) -> int:
        """The row and ``n_step`` successors."""
        return self.n_step + 1

    @property
    @override
    def before(self) -> int:
        """Nothing."""
        return 0

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        """The episode flags and what a transition is made of."""
        return ("obs", "action", "reward", "is_first", "is_terminal")

    @override
    def check(self, spec: RowSpec) -> None:
        """Raise unless the reward is one float; the discount takes its dtype."""
        super().check(spec)
        spec.require_scalar("reward", np.floating, "Transitions()")

    @override
    def anchor(self, legal: Legal, index: Index) -> Index | None:
        """The row that the transition leaves."""
        return index if index.time.ndim == 1 else None

    @override
    def read(self, reader: Reader) -> tuple[Transition, Index]:
        """Fold the rewards, then read the two ends."""
        if self.n_step == 1:
            index = reader.index([0, 1])
            steps = jnp.ones((len(index.time), 1), jnp.int32)
            ends = reader.rows(index)
            reward = field(ends, "reward")[:, 1]
        else:
            steps, reward = self._fold(reader)
            index = reader.index(jnp.concatenate([jnp.zeros_like(steps), steps], axis=1))
            ends = reader.rows(index)
        dtype = reward.dtype
        kept = jnp.where(field(ends, "is_terminal")[:, 1] | (index.time[:, 1] < 0), 0, 1).astype(dtype)
        discount = kept * jnp.asarray(self._powers(), dtype)[steps[:, 0]]
        start, after = (jax.tree.map(lambda x, k=k: x[:, k], ends) for k in (0, 1))
        data = Transition(
            field(start, "obs"),
            field(start, "action"),
            reward,
            discount,
            field(after, "obs"),
            field(start, "extras", ()),
        )
        return data, Index(index.stream[:, 0], index.time[:, 0])

    def _fold(self, reader: Reader) -> tuple[jax.Array, jax.Array]:
        """Return how many steps each window has, int32 ``[B, 1]``, and their discounted reward ``[B]``."""
        index = reader.index(range(self.n_step + 1))
        rows = reader.rows(index)
        first = field(rows, "is_first")
        episode = episode_of(first, field(rows, "is_last", jnp.zeros_like(first)))
        same = ((index.time >= 0) & (episode == 0))[:, 1:]
        reward = field(rows, "reward")[:, 1:]
        weights = jnp.asarray(self._powers()[:-1], reward.dtype)
        # where, not a product: rewards beyond the end, or of no weight, may be anything, NaN included.
        reward = jnp.where(same & (weights > 0)[None], reward, jnp.zeros((), reward.dtype))
        return jnp.sum(same, axis=1, keepdims=True, dtype=jnp.int32), jnp.sum(reward * weights[None], axis=1)

    def _powers(self) -> np.ndarray:
        return np.float64(self.gamma) ** np.arange(self.n_step + 1)
