"""Which trajectories to learn from: filters that say so with one flag a trajectory, or one a step."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxbuffers.checks import number
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError
from jaxbuffers.onpolicy.returns import reward_to_go


def successful(score: Any, threshold: float, mask: Any = None) -> jax.Array:
    """Select what reached a threshold: ``score >= threshold``.

    Args:
      score: float ``[N]``, such as the return or the last reward of each trajectory. NaN is never selected.
      threshold: the least score to select, a Python number; rounded to the dtype of ``score``.
      mask: bool ``[N]``, which entries count; None for all.

    Returns:
      bool ``[N]``.

    Raises:
      ShapeError, DtypeError, ConfigurationError: naming the argument.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> jb.filters.successful(jnp.array([0.0, 1.0, 0.5]), threshold=0.5)
    Array([False,  True,  True], dtype=bool)
    """
    score, mask = _checked(score, mask)
    threshold = number("threshold", threshold, -math.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        least = np.float64(threshold).astype(score.dtype)
    if not np.isfinite(least) and float(least) != threshold:
        raise ConfigurationError(f"threshold={threshold!r} is beyond {score.dtype}, the dtype of score.")
    return mask & (score >= least)


def top_quantile(score: Any, fraction: float, mask: Any = None) -> jax.Array:
    """Select the best ``fraction`` of the trajectories, as filtered behaviour cloning does (Chen et al. 2021, "%BC").

    Of n entries that count, the ``ceil(fraction * n)`` with the highest score are selected, and with them
    every entry that ties with the lowest of these, so that the order of the entries does not matter.

    Args:
      score: float ``[N]``, such as the return of each trajectory. NaN does not count.
      fraction: how many to select, a Python number in (0, 1].
      mask: bool ``[N]``, which entries count; None for all.

    Returns:
      bool ``[N]``; all False if no entry counts.

    Raises:
      ShapeError, DtypeError, ConfigurationError: naming the argument.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> jb.filters.top_quantile(jnp.array([3.0, 1.0, 2.0, 2.0, 0.0]), fraction=0.4)
    Array([ True, False,  True,  True, False], dtype=bool)
    """
    fraction = number("fraction", fraction, 0, 1, above=True)
    score, mask = _checked(score, mask)
    if not len(score):
        return mask
    score = score.astype(jnp.float32) if score.dtype.itemsize < 4 else score  # some 8-bit floats have no infinity
    mask = mask & ~jnp.isnan(score)
    ordered = jnp.sort(jnp.where(mask, score, -jnp.inf))[::-1]
    # The number to keep, for every count there may be: exact, where fraction * n in float32 would not be.
    numbers = np.ceil(np.arange(len(score) + 1) * np.float64(fraction) * (1 - 1e-12)).astype(np.int32)
    keep = jnp.asarray(numbers)[jnp.sum(mask, dtype=jnp.int32)]
    return mask & (score >= ordered[jnp.maximum(keep - 1, 0)])


def trajectory_returns(reward: Any, terminated: Any, truncated: Any, begins: Any) -> tuple[jax.Array, jax.Array]:
    """Return, at every step, the undiscounted return of the whole episode that the step belongs to.

    Compare it with a threshold, or a quantile of itself, to select steps by the success of their episode.

    Args:
      reward: float ``[T]``.
      terminated: bool ``[T]``.
      truncated: bool ``[T]``.
      begins: bool ``[]``, whether step 0 is the first of an episode; if not, that episode's beginning is not here.

    Returns:
      The returns, ``[T]`` in the dtype of ``reward``, and a bool ``[T]``: whether the episode is here from its
      first step to its last. Where it is not, the return is that of the part that is here.

    Raises:
      ShapeError, DtypeError: naming the argument.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> reward, ends = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([False, True, False, False])
    >>> jb.filters.trajectory_returns(reward, ends, jnp.zeros(4, bool), begins=jnp.array(True))
    (Array([3., 3., 7., 7.], dtype=float32), Array([ True,  True, False, False], dtype=bool))
    """
    total = reward_to_go(reward, terminated, truncated)
    if getattr(begins, "shape", None) != () or np.dtype(begins.dtype) != np.bool_:
        raise ShapeError(f"begins must be a bool array of shape (), got {begins!r}.")
    ends = jnp.asarray(terminated) | jnp.asarray(truncated)
    first = jnp.concatenate([jnp.ones(1, jnp.bool_), ends[:-1]])
    last = lax.cummax(ends[::-1].astype(jnp.int32))[::-1] > 0  # the episode ends at this step or later
    step = lax.iota(jnp.int32, len(first))
    start = lax.cummax(jnp.where(first, step, 0))
    return total[start], last & ((start > 0) | jnp.asarray(begins))


def _checked(score: Any, mask: Any) -> tuple[jax.Array, jax.Array]:
    for name, x, kinds in (("score", score, jnp.floating), ("mask", mask, jnp.bool_)):
        if x is None and name == "mask":
            continue
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            raise DtypeError(f"{name} is a {type(x).__name__}, expected an array: write numpy.array(...).")
        if not jnp.issubdtype(x.dtype, kinds):
            raise DtypeError(f"{name} has dtype {x.dtype}, expected {'bool' if name == 'mask' else 'a float one'}.")
        narrow = np.dtype(jax.dtypes.canonicalize_dtype(x.dtype)).newbyteorder("=")
        if narrow != x.dtype:
            raise DtypeError(f"{name} has dtype {x.dtype}, which JAX cannot hold; write {name}.astype('{narrow}').")
        if len(x.shape) != 1 or x.shape != score.shape:
            raise ShapeError(
                f"{name} has shape {x.shape}, expected [N]{'; use .ravel()' if name == 'score' else ' like score'}."
            )
    score = jnp.asarray(score)
    return score, jnp.ones(score.shape, jnp.bool_) if mask is None else jnp.asarray(mask)
