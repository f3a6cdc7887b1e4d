"""Returns of what was received, without a value function unless one is given."""

from typing import Any

import jax

from jaxbuffers.numerics.double_float import zeros
from jaxbuffers.onpolicy.returns.bootstrapped import mixture_of_returns
from jaxbuffers.onpolicy.returns.steps import Number, check_steps


def mc_returns(reward: Any, terminated: Any, truncated: Any, gamma: Number, next_value: Any = None) -> jax.Array:
    """Return the discounted Monte Carlo return from each step to the end of its episode.

    ``G[t] = reward[t] + gamma * G[t + 1]``; the last step of an episode has ``G[t] = reward[t]``
    (Sutton and Barto 2018, section 3.3).

    Without ``next_value`` an episode that was truncated, or is still under way at the last step, counts
    as if nothing followed. With it, such an episode has ``reward[t] + gamma * next_value[t]`` there; at
    other steps ``next_value`` is not read.

    Args:
      reward: float ``[T]``.
      terminated: bool ``[T]``.
      truncated: bool ``[T]``.
      gamma: discount per step: a number in [0, 1], or a float array ``[]`` or ``[T]``.
      next_value: None, or float ``[T]``.

    Returns:
      The returns, ``[T]`` in the dtype of ``reward``.

    Raises:
      ShapeError, DtypeError, ConfigurationError: as `jaxbuffers.returns` says.

    >>> import jax.numpy as jnp
    >>> from jaxbuffers import returns
    >>> reward, terminated = jnp.array([0.0, 0.0, 1.0, 2.0]), jnp.array([False, False, True, False])
    >>> returns.mc_returns(reward, terminated, jnp.zeros(4, bool), gamma=0.5)
    Array([0.25, 0.5 , 1.  , 2.  ], dtype=float32)
    """
    values = {} if next_value is None else {"next_value": next_value}
    dtype, (r, terminated, truncated, *value) = check_steps(
        reward=reward, terminated=terminated, truncated=truncated, **values
    )
    return mixture_of_returns(dtype, r, value[0] if value else zeros(r), terminated, truncated, gamma, 1.0)


def reward_to_go(reward: Any, terminated: Any, truncated: Any, next_value: Any = None) -> jax.Array:
    """Return the sum of the rewards from each step to the end of its episode, the step's own included.

    ``R[t] = reward[t] + R[t + 1]``: `mc_returns` without a discount, on which a decision transformer
    acts (Chen et al. 2021). Arguments, result and errors are those of `mc_returns`.

    >>> import jax.numpy as jnp
    >>> from jaxbuffers import returns
    >>> reward, truncated = jnp.array([1.0, 1.0, 1.0, 2.0]), jnp.array([False, False, True, False])
    >>> returns.reward_to_go(reward, jnp.zeros(4, bool), truncated)
    Array([3., 2., 1., 2.], dtype=float32)
    """
    return mc_returns(reward, terminated, truncated, 1.0, next_value)
