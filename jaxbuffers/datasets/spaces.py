"""Gymnasium's spaces as fields of a row."""

from typing import Any

import jax
import numpy as np

from jaxbuffers.datasets.imported import needed, wide_dtype
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.row import text


def space_fields(space: Any, *, narrow: bool = False, name: str = "space") -> Any:
    """Return what describes the values of a Gymnasium space in a row.

    Args:
      space: ``Box``, ``Discrete``, ``MultiDiscrete``, ``MultiBinary``, ``Text``, and ``Dict`` and ``Tuple`` of such.
      narrow: whether 64-bit types, such as that of ``Discrete``, become 32-bit ones.
      name: what the space is called in errors.

    Returns:
      ``jax.ShapeDtypeStruct``, and ``jb.text`` for ``Text``, in dicts and tuples as the space has them.

    Raises:
      DtypeError: it has 64-bit types, and ``narrow`` is not said.
      ConfigurationError: it is a space whose values have no fixed shape.

    >>> import gymnasium as gym, jaxbuffers as jb
    >>> jb.datasets.space_fields(gym.spaces.Dict(door=gym.spaces.MultiBinary(3), mission=gym.spaces.Text(9)))
    {'door': ShapeDtypeStruct(shape=(3,), dtype=int8), 'mission': TextField(shape=())}
    """
    spaces = needed("gymnasium", "minari").spaces
    if isinstance(space, spaces.Dict):
        return {key: space_fields(each, narrow=narrow, name=f"{name}.{key}") for key, each in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(space_fields(each, narrow=narrow, name=f"{name}.{i}") for i, each in enumerate(space.spaces))
    if isinstance(space, spaces.Text):
        return text
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        dtype = wide_dtype(np.dtype(space.dtype), name, narrow)
        return jax.ShapeDtypeStruct(space.shape, dtype)
    raise ConfigurationError(
        f"{name} is a {type(space).__name__}, whose values have no fixed shape: a row has Box, Discrete, "
        f"MultiDiscrete, MultiBinary, Text, and Dict and Tuple of these."
    )
