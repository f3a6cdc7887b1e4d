"""Returns that end in the estimate of a value function."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxbuffers.checks import positive
from jaxbuffers.numerics.double_float import Double, add, choose, constant, multiply, subtract
from jaxbuffers.onpolicy.returns.backward import backward, beyond
from jaxbuffers.onpolicy.returns.steps import Number, check_steps, coefficient, counted, ends, is_zero


def n_step_returns(
    reward: Any, next_value: Any, terminated: Any, truncated: Any, gamma: Number, n_step: int
) -> jax.Array:
    """Return the n-step return of each step (Sutton 1988; Sutton and Barto 2018, section 7.1).

    ``G[t] = reward[t] + ... + gamma**(h-1) * reward[t+h-1] + gamma**h * next_value[t+h-1]``, where ``h`` is
    ``n_step``, or less where the episode or the steps end before. No value follows a termination.

    Args:
      reward: float ``[T]``.
      next_value: float ``[T]``, the value of the observation that each step arrived at.
      terminated: bool ``[T]``.
      truncated: bool ``[T]``.
      gamma: discount per step: a number in [0, 1], or a float array ``[]`` or ``[T]`` (then the weights
        are products of the steps' own discounts).
      n_step: steps to look ahead, an int; the work grows with it, up to T.

    Returns:
      The returns, ``[T]`` in the dtype of ``reward``.

    Raises:
      ShapeError, DtypeError, ConfigurationError: as `jaxbuffers.returns` says.

    >>> import jax.numpy as jnp
    >>> from jaxbuffers import returns
    >>> no = jnp.zeros(4, bool)
    >>> returns.n_step_returns(jnp.ones(4), jnp.full(4, 8.0), no.at[1].set(True), no, gamma=0.5, n_step=2)
    Array([1.5, 1. , 3.5, 5. ], dtype=float32)
    """
    n_step = positive("n_step", n_step)
    dtype, (r, value, terminated, truncated) = check_steps(
        reward=reward, next_value=next_value, terminated=terminated, truncated=truncated
    )
    discount, cut = coefficient("gamma", gamma, r, dtype), ends(terminated, truncated)
    discount = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, cut.shape), discount)
    # The returns of the step after, over 1 to n_step steps; nothing is read behind the last.
    after = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, min(n_step, len(cut))), beyond(r))
    steps = (r, discount, counted(value, terminated, gamma), cut)
    return lax.scan(_one_more_step, after, steps, reverse=True)[1].astype(dtype)


def _one_more_step(after: Double, now: Any) -> tuple[Double, jax.Array]:
    r, discount, arrived, cut = now
    after = jax.tree.map(lambda value, x: jnp.where(cut, value, jnp.append(value, x[:-1])), arrived, after)
    returns = add(r, multiply(discount, after))
    return returns, returns.high[-1]


def lambda_returns(
    reward: Any, next_value: Any, terminated: Any, truncated: Any, gamma: Number, lam: Number
) -> jax.Array:
    """Return the lambda-return of each step (Sutton and Barto 2018, section 12.1), as Dreamer uses it.

    ``G[t] = reward[t] + gamma * ((1 - lam) * next_value[t] + lam * G[t+1])``; where the episode is
    truncated, and at the last step, ``reward[t] + gamma * next_value[t]``; where it terminated,
    ``reward[t]``. ``lam=0`` is the one-step return, ``lam=1`` is `mc_returns` with ``next_value``.

    Dreamer (Hafner et al. 2020) imagines rows: with predictions ``reward``, ``value`` and ``goes_on``, each
    ``[T + 1]`` and of the row at a time, give ``reward[1:]``, ``value[1:]``, no flags, and
    ``gamma * goes_on[1:]`` for ``gamma``: one return for each row but the last.

    Args:
      reward: float ``[T]``.
      next_value: float ``[T]``, the value of the observation that each step arrived at.
      terminated: bool ``[T]``.
      truncated: bool ``[T]``.
      gamma: discount per step: a number in [0, 1], or a float array ``[]`` or ``[T]``.
      lam: the weight of longer returns, likewise; of an array, ``lam[t]`` weighs ``G[t + 1]``.

    Returns:
      The returns, ``[T]`` in the dtype of ``reward``.

    Raises:
      ShapeError, DtypeError, ConfigurationError: as `jaxbuffers.returns` says.

    >>> import jax.numpy as jnp
    >>> from jaxbuffers import returns
    >>> no = jnp.zeros(3, bool)
    >>> returns.lambda_returns(jnp.ones(3), jnp.full(3, 4.0), no, no, gamma=0.5, lam=0.5)
    Array([2.6875, 2.75  , 3.    ], dtype=float32)
    """
    dtype, (r, value, terminated, truncated) = check_steps(
        reward=reward, next_value=next_value, terminated=terminated, truncated=truncated
    )
    return mixture_of_returns(dtype, r, value, terminated, truncated, gamma, lam)


def gae(
    reward: Any, value: Any, next_value: Any, terminated: Any, truncated: Any, gamma: Number, lam: Number
) -> tuple[jax.Array, jax.Array]:
    """Return generalized advantage estimates and their value targets (Schulman et al. 2016).

    ``delta[t] = reward[t] + gamma * next_value[t] - value[t]``, without the middle term where the episode
    terminated; ``advantage[t] = delta[t] + gamma * lam * advantage[t + 1]``, without the second term where
    it terminated or was truncated, and at the last step; ``target = advantage + value``.

    Args:
      reward: float ``[T]``.
      value: float ``[T]``, the value of the observation that each step acted on.
      next_value: float ``[T]``, of the one it arrived at.
      terminated: bool ``[T]``.
      truncated: bool ``[T]``.
      gamma: discount per step: a number in [0, 1], or a float array ``[]`` or ``[T]``.
      lam: the weight of later steps, likewise.

    Returns:
      ``(advantage, target)``, both ``[T]`` in the dtype of ``reward``. Advantages are not normalized.

    Raises:
      ShapeError, DtypeError, ConfigurationError: as `jaxbuffers.returns` says.

    >>> import jax.numpy as jnp
    >>> from jaxbuffers import returns
    >>> value, next_value, no = jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 8.0, 4.0]), jnp.zeros(3, bool)
    >>> advantage, target = returns.gae(jnp.ones(3), value, next_value, no, no.at[1].set(True), gamma=0.5, lam=0.5)
    >>> advantage, target
    (Array([1.75, 3.  , 0.  ], dtype=float32), Array([2.75, 5.  , 3.  ], dtype=float32))
    """
    dtype, (r, before, after, terminated, truncated) = check_steps(
        reward=reward, value=value, next_value=next_value, terminated=terminated, truncated=truncated
    )
    discount, mixture = (coefficient(name, x, r, dtype) for name, x in (("gamma", gamma), ("lam", lam)))
    arrived = counted(after, terminated, gamma)
    delta = subtract(add(r, multiply(discount, arrived)), before)
    cut = ends(terminated, truncated) | is_zero(gamma, lam)
    advantage = backward(delta, multiply(discount, mixture), cut)
    return advantage.high.astype(dtype), add(advantage, before).high.astype(dtype)


def mixture_of_returns(
    dtype: Any, r: Double, value: Double, terminated: jax.Array, truncated: jax.Array, gamma: Number, lam: Number
) -> jax.Array:
    """Return lambda-returns of what `check_steps` returned."""
    discount, mixture = (coefficient(name, x, r, dtype) for name, x in (("gamma", gamma), ("lam", lam)))
    cut = ends(terminated, truncated)
    unread = terminated | ~cut if isinstance(lam, int | float) and lam == 1 else terminated
    arrived = counted(value, unread, gamma)
    share = multiply(subtract(constant(1.0, r), mixture), arrived)
    x = add(r, multiply(discount, choose(cut, arrived, share)))
    return backward(x, multiply(discount, mixture), cut | is_zero(gamma, lam)).high.astype(dtype)
