"""Gymnasium's spaces as fields of a row."""

from typing import Any

import jax
import numpy as np

from jaxbuffers.datasets.imported import needed, wide_dtype
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError
from jaxbuffers.row import RowSpec, TextField, paths_of, show, text


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


def check_space(spec: RowSpec, name: str, space: Any) -> None:
    """Refuse a space whose values are not those of a field of rows.

    Raises:
      StructureError, ShapeError, DtypeError: they differ; the leaf is named.
    """
    wanted = {(name, *path): leaf for path, leaf in paths_of(space_fields(space, narrow=True, name=name)).items()}
    rows = dict(zip(spec.paths, zip(spec.shapes, spec.dtypes, strict=True), strict=True))
    rows = {path: leaf for path, leaf in rows.items() if path[:1] == (name,)}
    texts = {path for path in rows if path in spec.texts}
    if set(rows) != set(wanted) or texts != {path for path, leaf in wanted.items() if isinstance(leaf, TextField)}:
        raise StructureError(
            f"the rows' {name!r} is not nested as its space says, {space}: it has {', '.join(map(show, rows))}."
        )
    for path, (shape, dtype) in rows.items():
        if shape != wanted[path].shape:
            raise ShapeError(f"{show(path)} has shape {shape} in the rows, {wanted[path].shape} in its space, {space}.")
        if path not in texts and not np.can_cast(dtype, wanted[path].dtype, "same_kind"):
            raise DtypeError(f"{show(path)} is {dtype} in the rows, {wanted[path].dtype} in its space, {space}.")
