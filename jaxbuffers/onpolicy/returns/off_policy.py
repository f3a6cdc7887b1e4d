"""Returns corrected for actions that another policy chose."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxbuffers.checks import number
from jaxbuffers.numerics import double_float as double
from jaxbuffers.numerics.double_float import add, choose, multiply, subtract
from jaxbuffers.onpolicy.returns.backward import backward
from jaxbuffers.onpolicy.returns.steps import Number, check_steps, coefficient, counted, ends, is_zero


def vtrace(
    reward: Any,
    value: Any,
    next_value: Any,
    terminated: Any,
    truncated: Any,
    ratio: Any,
    gamma: Number,
    lam: Number = 1.0,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """Return V-trace's policy-gradient advantages and value targets (Espeholt et al. 2018, section 4).

    With ``rho = min(rho_bar, ratio)``, ``c = lam * min(c_bar, ratio)`` and ``delta`` as in `gae`,
    ``target[t] - value[t] = rho[t] * delta[t] + gamma * c[t] * (target[t+1] - value[t+1])`` and
    ``advantage[t] = rho[t] * (reward[t] + gamma * target[t+1] - value[t])``. At the end of an episode and
    at the last step nothing is added in the first, and ``next_value[t]`` stands for ``target[t+1]`` in the
    second; 0 where the episode terminated.

    Args:
      reward: float ``[T]``.
      value: float ``[T]``, the value of the observation that each step acted on.
      next_value: float ``[T]``, of the one it arrived at.
      terminated: bool ``[T]``.
      truncated: bool ``[T]``.
      ratio: float ``[T]``, how much likelier the action is under the learner's policy than under the one
        that chose it: ``exp(log_prob - behavior_log_prob)``.
      gamma: discount per step: a number in [0, 1], or a float array ``[]`` or ``[T]``.
      lam: the weight of later steps, likewise (the paper's Remark 2).
      rho_bar: a number above 0, infinity included: decides which policy's value is estimated.
      c_bar: a number above 0: decides how fast. The paper takes ``c_bar <= rho_bar``.

    Returns:
      ``(advantage, target)``, both ``[T]`` in the dtype of ``reward``.

    Raises:
      ShapeError, DtypeError, ConfigurationError: as `jaxbuffers.returns` says.

    >>> import jax.numpy as jnp
    >>> from jaxbuffers import returns
    >>> value, no, ratio = jnp.array([1.0, 2.0]), jnp.zeros(2, bool), jnp.array([4.0, 0.5])
    >>> advantage, target = returns.vtrace(jnp.ones(2), value, jnp.array([2.0, 4.0]), no, no, ratio, gamma=0.5)
    >>> advantage, target
    (Array([1.25, 0.5 ], dtype=float32), Array([2.25, 2.5 ], dtype=float32))
    """
    rho_bar, c_bar = number("rho_bar", rho_bar, 0, above=True), number("c_bar", c_bar, 0, above=True)
    dtype, (r, before, after, terminated, truncated, _) = check_steps(
        reward=reward, value=value, next_value=next_value, terminated=terminated, truncated=truncated, ratio=ratio
    )
    discount, mixture = (coefficient(name, x, r, dtype) for name, x in (("gamma", gamma), ("lam", lam)))
    rho, c = (double.of(jnp.minimum(jnp.asarray(ratio), bar)) for bar in (rho_bar, c_bar))
    cut = ends(terminated, truncated)
    arrived = counted(after, terminated, gamma)
    delta = subtract(add(r, multiply(discount, arrived)), before)
    weight = multiply(discount, multiply(mixture, c))
    target = add(backward(multiply(rho, delta), weight, cut | is_zero(gamma, lam)), before)
    later = jax.tree.map(lambda leaf: lax.pad(leaf[1:], jnp.zeros((), leaf.dtype), [(0, 1, 0)]), target)
    follows = choose(cut | is_zero(gamma), arrived, later)
    advantage = multiply(rho, subtract(add(r, multiply(discount, follows)), before))
    return advantage.high.astype(dtype), target.high.astype(dtype)
