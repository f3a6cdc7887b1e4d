"""What the functions are given: the checks it must pass, and the form in which it goes on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError
from jaxbuffers.numerics import double_float as double
from jaxbuffers.numerics.double_float import Double, choose, constant, zeros
from jaxbuffers.row import dtype_of

Number = float | jax.Array | np.ndarray


def check_steps(**arrays: Any) -> tuple[np.dtype, tuple[Any, ...]]:
    """Refuse arrays that are not ``[T]``: ``reward`` and what else is float of one dtype, flags bool.

    Returns:
      The dtype of ``reward``, and the arrays in their order, the float ones as `Double`.
    """
    reward = arrays["reward"]
    dtype = _dtype("reward", reward)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise DtypeError(f"reward has dtype {dtype}, expected a float one. Convert it: reward.astype('float32').")
    if len(reward.shape) != 1:
        hint = " Use jax.vmap; for [T, E] with in_axes=1 and out_axes=1." if reward.shape else ""
        raise ShapeError(f"reward has shape {reward.shape}, expected [T].{hint}")
    for name, x in arrays.items():
        expected = np.dtype(bool) if name in ("terminated", "truncated") else dtype
        if (got := _dtype(name, x)) != expected:
            like = f", like reward; convert one of them: {name}.astype('{dtype}')" if expected == dtype else ""
            raise DtypeError(f"{name} has dtype {got}, expected {expected}{like}.")
        if x.shape != reward.shape:
            raise ShapeError(f"{name} has shape {x.shape}, expected {reward.shape} like reward; nothing is broadcast.")
    taken = [jnp.asarray(x) for x in arrays.values()]
    return dtype, tuple(x if x.dtype == jnp.bool_ else double.of(x) for x in taken)


def coefficient(name: str, x: Number, like: Double, dtype: np.dtype) -> Double:
    """Return a discount or a mixture: ``[]`` from a Python number in [0, 1] or an array ``[]``, or ``[T]``."""
    if isinstance(x, int | float):
        if isinstance(x, bool) or not 0 <= x <= 1:
            raise ConfigurationError(f"{name} must be in [0, 1], got {x!r}.")
        return constant(float(x), like)
    if (got := _dtype(name, x)) != dtype:
        raise DtypeError(f"{name} has dtype {got}, expected {dtype} like reward, or a Python number.")
    if x.shape not in ((), like.high.shape):
        raise ShapeError(f"{name} has shape {x.shape}, expected () or {like.high.shape}; nothing is broadcast.")
    return double.of(jnp.asarray(x))


def is_zero(*numbers: Number) -> bool:
    """Return whether one of the numbers is a Python 0: what it weighs may then be anything, NaN included."""
    return any(isinstance(x, int | float) and x == 0 for x in numbers)


def ends(terminated: jax.Array, truncated: jax.Array) -> jax.Array:
    """Return where the step after does not count: at the end of an episode, and at the last step of all."""
    return lax.pad((terminated | truncated)[:-1], jnp.bool_(True), [(0, 1, 0)])


def counted(value: Double, unread: jax.Array, gamma: Number) -> Double:
    """Return the value of the next observation, 0 where it is not read: there it may be anything, NaN included."""
    return zeros(value) if is_zero(gamma) else choose(unread, zeros(value), value)


def _dtype(name: str, x: Any) -> np.dtype:
    """Return a dtype, refusing what is no array, or would be cut to 32 bits."""
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise DtypeError(f"{name} is a {type(x).__name__}, expected an array.")
    if 0 in x.shape:
        raise ShapeError(f"{name} has shape {x.shape}, expected [T] with T of at least 1.")
    return dtype_of(name, x)
