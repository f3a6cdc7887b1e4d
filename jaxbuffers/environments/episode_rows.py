"""episode_rows: from one finished episode of T steps to its T + 1 rows."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxbuffers.errors import ShapeError, StructureError
from jaxbuffers.row import Row, RowSpec, dtype_of
from jaxbuffers.storage.bits import exactly


def episode_rows(obs: Any, action: Any, reward: Any, terminated: Any, truncated: Any, extras: Any = ()) -> Row:
    """Make the T + 1 rows of a finished episode of T steps: demonstrations, offline data.

    Args:
      obs: leaves ``[T + 1, ...]``, the final observation included.
      action: leaves ``[T, ...]``; the last row gets zeros.
      reward: ``[T]``, ``reward[t]`` received for ``action[t]``; the first row gets 0.
      terminated: bool ``[]``, or ``[T]`` of which only the last may be True.
      truncated: bool, likewise. At least one of the two must be True in the end.
      extras: leaves ``[T + 1, ...]``.

    Returns:
      `Row` with leaves ``[T + 1, ...]``, ready for ``add`` with ``num_envs=None``.

    Raises:
      ShapeError: the lengths do not fit together.
      StructureError: the flags do not describe one finished episode.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> rows = jb.episode_rows(jnp.arange(3.0), jnp.array([5, 6]), jnp.array([0.5, 1.0]), True, False)
    >>> rows.reward, rows.is_terminal
    (Array([0. , 0.5, 1. ], dtype=float32), Array([False, False,  True], dtype=bool))
    """
    if getattr(reward, "shape", None) == (0,):
        raise ShapeError("reward must have shape [T] with T of at least 1; got (0,).")
    reward = _array("reward", reward)
    if reward.ndim != 1 or not len(reward):
        raise ShapeError(f"reward must have shape [T] with T of at least 1; got {reward.shape}.")
    steps = len(reward)
    for name, tree, length in (("obs", obs, steps + 1), ("action", action, steps), ("extras", extras, steps + 1)):
        if jax.tree.leaves(tree):
            for shape in RowSpec.of(tree).shapes:
                if shape[:1] != (length,):
                    raise ShapeError(f"{name} must have leaves [{length}, ...] for {steps} rewards; got {shape}.")
    ends = [_end(name, flag, steps) for name, flag in (("terminated", terminated), ("truncated", truncated))]
    if not any(isinstance(end, jax.core.Tracer) for end in ends) and not any(ends):
        raise StructureError("episode_rows() takes a finished episode: terminated or truncated must be True.")

    def pad(tree: Any, before: int, after: int) -> Any:
        return exactly(lambda x: jnp.pad(x, [(before, after)] + [(0, 0)] * (x.ndim - 1)), tree)

    time = jnp.arange(steps + 1)
    return Row(
        obs=jax.tree.map(jnp.asarray, obs),
        action=pad(action, 0, 1),
        reward=pad(reward, 1, 0),
        is_first=time == 0,
        is_last=time == steps,
        is_terminal=(time == steps) & ends[0],
        extras=jax.tree.map(jnp.asarray, extras),
    )


def _end(name: str, flag: Any, steps: int) -> Any:
    flag = _array(name, flag)
    if flag.dtype != jnp.bool_ or flag.shape not in ((), (steps,)):
        raise ShapeError(f"{name} must be bool [] or [{steps}]; got {flag.dtype}{list(flag.shape)}.")
    if flag.ndim and not isinstance(flag, jax.core.Tracer) and bool(flag[:-1].any()):
        raise StructureError(f"{name} is True before the last step: give one episode at a time.")
    return flag[-1] if flag.ndim else flag


def _array(name: str, x: Any) -> jax.Array:
    """Convert, refusing dtypes that JAX would cut."""
    if not isinstance(x, bool | int | float):
        dtype_of(name, x)  # raises
    return jnp.asarray(x)
