"""Time-major arrays of parallel environments to one row after the other, and back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.errors import ShapeError
from jaxbuffers.row import check_leaf, paths_of, show


def swap_and_flatten01(tree: Any) -> Any:
    """Turn leaves ``[T, E, ...]`` into ``[E * T, ...]``, environment by environment: row ``e * T + t``.

    Raises:
      ShapeError, DtypeError: naming a leaf of fewer than two axes, or one that JAX cannot hold as it is.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> jb.swap_and_flatten01(jnp.array([[0, 10], [1, 11], [2, 12]]))  # 3 steps of 2 environments
    Array([ 0,  1,  2, 10, 11, 12], dtype=int32)
    """
    _require_axes(tree, 2, "[T, E, ...]")
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:]), tree)


def unflatten_and_swap01(tree: Any, num_envs: int) -> Any:
    """Undo `swap_and_flatten01`: leaves ``[E * T, ...]`` to ``[T, E, ...]``.

    Raises:
      ShapeError, DtypeError: naming a leaf whose first axis is not a multiple of ``num_envs``, or one that JAX
        cannot hold as it is.
      ConfigurationError: ``num_envs`` is not an int of at least 1.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> jb.unflatten_and_swap01(jnp.array([0, 1, 2, 10, 11, 12]), num_envs=2).tolist()
    [[0, 10], [1, 11], [2, 12]]
    """
    num_envs = positive("num_envs", num_envs)
    _require_axes(tree, 1, "[E * T, ...]")
    for path, leaf in paths_of(tree).items():
        if leaf.shape[0] % num_envs:
            raise ShapeError(f"{show(path)} has {leaf.shape[0]} rows, which is no multiple of num_envs={num_envs}.")
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(num_envs, len(x) // num_envs, *x.shape[1:]), 0, 1), tree)


def _require_axes(tree: Any, axes: int, wanted: str) -> None:
    for path, leaf in paths_of(tree).items():
        if not isinstance(leaf, jax.Array):
            check_leaf(path, leaf, (), getattr(leaf, "dtype", np.dtype(float)))
        if leaf.ndim < axes:
            raise ShapeError(f"{show(path)} has shape {leaf.shape}, expected {wanted}.")
