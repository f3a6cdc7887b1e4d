"""Draws without replacement with weights (rank + 1)^power, newer ones more likely, as large as the power may be.

The k largest of ``power * log(rank + 1) + Gumbel noise`` are such a draw, one after the other with probabilities in
proportion to the weights that are left (Yellott 1977; Kool, van Hoof and Welling 2019). Nothing is ever exponentiated,
so no weight is too large or too small.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxbuffers.checks import number, positive
from jaxbuffers.episodes.random_words import words
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError

LIMIT = 1000.0  # of the power, on both sides


def recent(
    seed: tuple[int, ...], rank: np.ndarray, count: int, power: float, one_is_uniform: bool = True
) -> np.ndarray:
    """Draw ``count`` of some things, each at most once: their places, int64 ``[count]``, in the order of the draw.

    Args:
      seed: any integers that are not negative.
      rank: int64 ``[N]``, 0 for the oldest.
      count: how many, at most N.
      power: from -1000 to 1000.
      one_is_uniform: whether a power of 1.0 means equal weights.
    """
    power = 0.0 if one_is_uniform and power == 1.0 else power
    if not count:
        return np.zeros(0, np.int64)
    # 52 bits, so that both ends are left out: no noise is infinite.
    uniform = ((words(seed, len(rank)) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    score = power * _log_share(np, rank.astype(np.float64), power) - np.log(-np.log(uniform))
    chosen = np.argpartition(-score, count - 1)[:count]
    return chosen[np.argsort(-score[chosen], kind="stable")]


def draw_recent(
    key: jax.Array,
    eligible: jax.Array,
    num_samples: int,
    recency_bias_power: float = 1.0,
    *,
    rank: jax.Array | None = None,
    one_is_uniform: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Draw steps without replacement, newer ones more likely: with static shapes, so that it can be compiled.

    Args:
      key: a PRNG key; it is consumed.
      eligible: bool ``[N]``, which steps may be drawn, oldest first.
      num_samples: k, how many to draw, at most N.
      recency_bias_power: the power of the weights ``(rank + 1)**power``, from -1000 to 1000; a Python number.
      rank: int32 ``[N]``, whose order decides the weights, such as the number of the iteration of each step; equal
        ones have one rank. None for the order of the steps. Ranks are counted among eligible steps.
      one_is_uniform: whether a power of 1.0 means equal weights, as `TrajectoryPool.get_training_samples` has it.

    Returns:
      The places of the steps, int32 ``[k]``, in the order of the draw; and bool ``[k]``, which of them are there: False
      past the number of eligible steps.

    Raises:
      ShapeError, DtypeError, ConfigurationError: naming the argument.

    >>> import jax, jax.numpy as jnp
    >>> from jaxbuffers.trajectories import draw_recent
    >>> place, there = draw_recent(jax.random.key(0), jnp.array([True, False, True]), 3, 100.0)
    >>> place.tolist()[:2], there.tolist()
    ([2, 0], [True, True, False])
    """
    count = positive("num_samples", num_samples)
    power = power_of(recency_bias_power)
    for name, array, kind in (("eligible", eligible, jnp.bool_), ("rank", rank, jnp.integer)):
        if array is None:
            continue
        if not jnp.issubdtype(array.dtype, kind):
            raise DtypeError(f"{name} has dtype {array.dtype}, expected {'bool' if name == 'eligible' else 'int32'}.")
        if array.ndim != 1 or array.shape != eligible.shape:
            raise ShapeError(f"{name} has shape {array.shape}, expected [N], {eligible.shape}.")
    if count > len(eligible):
        raise ConfigurationError(f"num_samples={count} is more than the {len(eligible)} steps.")
    return _draw(key, eligible, rank, count, 0.0 if one_is_uniform and power == 1.0 else power)


@partial(jax.jit, static_argnums=(3, 4))
def _draw(
    key: jax.Array, eligible: jax.Array, rank: jax.Array | None, count: int, power: float
) -> tuple[jax.Array, jax.Array]:
    if rank is None:
        dense = jnp.cumsum(eligible, dtype=jnp.int32) - 1
    else:
        order = jnp.lexsort((rank, ~eligible))
        later = (rank[order][1:] != rank[order][:-1]) & eligible[order][1:]
        number = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(later, dtype=jnp.int32)])
        dense = jnp.zeros_like(number).at[order].set(number)
    dense = jnp.where(eligible, dense, 0)
    weight = jnp.float32(power) * _log_share(jnp, dense.astype(jnp.float32), power)
    score = jnp.where(eligible, weight + _noise(key, eligible.shape), -jnp.inf)
    best, place = lax.top_k(score, count)
    return place.astype(jnp.int32), best > -jnp.inf


def _noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    # With mode="low" the best of a million are often equal, and then the older one is taken.
    return jax.random.gumbel(key, shape, jnp.float32, mode="high")


def dense_ranks(numbers: np.ndarray) -> np.ndarray:
    """Return for each number how many smaller ones there are, each counted once: int64."""
    return np.unique(numbers, return_inverse=True)[1].reshape(-1).astype(np.int64)


def power_of(value: Any) -> float:
    """Check a power."""
    return number("recency_bias_power", value, -LIMIT, LIMIT)


def _log_share(xp: Any, rank: Any, power: float) -> Any:
    # Relative to those that are likeliest, whose weight is 1: close to 0 where it matters, so that rounding does not.
    if power < 0:
        return xp.log1p(rank)
    most = xp.max(rank)
    return xp.log1p((rank - most) / (most + 1))
