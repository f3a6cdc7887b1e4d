"""A leaf made again, on the devices where it is to be."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from jaxbuffers.checkpoint.boxes import Box, box_of, slices
from jaxbuffers.checkpoint.leaves import Described, called, layout
from jaxbuffers.errors import ShapeError, StructureError

_WEAK = {"f": 1.0, "i": 1, "c": 1j}


def made(name: str, described: Described, array: np.ndarray | None, like: Any) -> Any:
    """Return the leaf again: an array of NumPy where ``like`` is one, and on the devices where ``like`` is.

    Args:
      name: of the leaf.
      described: what the checkpoint says.
      array: the bytes, of their own memory; None for what is in the header.
      like: what it takes the place of.
    """
    if array is None:
        return described["value"]
    if isinstance(like, np.ndarray):
        return array
    if isinstance(like, np.generic):
        return array[()]
    sharding = _place(name, like)
    value: Any = array
    if described["kind"] == "key":
        value = jax.random.wrap_key_data(jnp.array(array), impl=described["impl"])
    elif described.get("weak"):
        value = _weak(array)
    if sharding is None:
        return jnp.array(array) if value is array else value
    try:
        return jax.device_put(value, sharding)
    except ValueError as error:
        raise ShapeError(f"{called(name)} cannot be laid out as that of like is: {error}") from error


def scattered(name: str, described: Described, parts: Callable[[list[Box]], dict[Box, np.ndarray]], like: Any) -> Any:
    """Return a leaf again that lies on the devices of several processes, each of which makes its parts of it.

    Args:
      name: of the leaf.
      described: what the checkpoint says.
      parts: returns the parts of the array in some boxes; for keys, their key data.
      like: what it takes the place of.
    """
    sharding, shape = _place(name, like), tuple(described["shape"])
    try:
        places = sharding.addressable_devices_indices_map(shape)
    except ValueError as error:
        raise ShapeError(f"{called(name)} cannot be laid out as that of like is: {error}") from error
    found = parts(sorted({box_of(index, shape) for index in places.values()}))

    def here(index: Any) -> np.ndarray:
        return found[box_of(index, shape)]

    value = jax.make_array_from_callback(layout(described)[1], sharding, here)
    if described["kind"] == "key":  # which has its words along an axis more, that no sharding speaks of
        return jax.jit(partial(jax.random.wrap_key_data, impl=described["impl"]), out_shardings=sharding)(value)
    return jax.jit(_weak, out_shardings=sharding)(value) if described.get("weak") else value


def parts_of(array: np.ndarray) -> Callable[[list[Box]], dict[Box, np.ndarray]]:
    """Return what gives the parts of an array that is there as a whole."""
    return lambda boxes: {box: array[slices(box)] for box in boxes}


def sharding_of(leaf: Any) -> Any:
    """Return how a leaf lies, an array or a ``jax.ShapeDtypeStruct``; None where there are no devices to say so."""
    if isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return None
    sharding: Any = leaf.sharding
    if not isinstance(getattr(sharding, "mesh", None), AbstractMesh):
        return sharding
    if jax.sharding.get_abstract_mesh() != sharding.mesh:
        return None
    nothing = jax.jit(lambda: jnp.zeros(()), out_shardings=PartitionSpec())()  # it lies on the mesh that is set
    return NamedSharding(nothing.sharding.mesh, sharding.spec)


def _place(name: str, like: Any) -> Any:
    """Return the sharding of a leaf that has one on devices; None for one that goes where it is used.

    Raises:
      StructureError: it lies on a mesh without devices, as ``jax.eval_shape`` returns it, and no such mesh is set.
    """
    if isinstance(like, jax.Array) and not like.committed:
        return None
    sharding = sharding_of(like)
    if sharding is None and getattr(like, "sharding", None) is not None:
        raise StructureError(
            f"{called(name)} of like is sharded over a mesh without devices: restore under jax.set_mesh(mesh), or give "
            f"arrays, or jax.ShapeDtypeStruct with a sharding on devices."
        )
    return sharding


def _weak(array: Any) -> jax.Array:
    """Return a weakly typed array, which promotes as a Python number does; few other ways lead there."""
    one = jnp.asarray(_WEAK.get(array.dtype.kind, 1.0))
    if one.dtype != array.dtype:
        return jnp.array(array)
    return jnp.broadcast_to(one, array.shape).at[...].set(array)
