"""One leaf of a tree: how it is described in a checkpoint, what may take its place, and the leaf made again."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh

from jaxbuffers.checkpoint.json_values import checked
from jaxbuffers.errors import DtypeError, ShapeError, StructureError

Described = dict[str, Any]
_PLAIN: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}
_WEAK = {"f": 1.0, "i": 1, "c": 1j}


def called(name: str) -> str:
    """Write the name of a leaf; a tree that is one leaf has none."""
    return f"leaf {name!r}" if name else "the only leaf"


def describe(name: str, leaf: Any) -> Described:
    """Return what a checkpoint says of a leaf beside its bytes.

    Raises:
      DtypeError: it is nothing that a checkpoint holds.
      StructureError: it is an array without values: traced, deleted, or in part on other hosts.
    """
    if type(leaf) in _PLAIN:
        checked(leaf, called(name))
        return {"kind": _PLAIN[type(leaf)], "value": leaf}
    if isinstance(leaf, jax.core.Tracer):
        raise StructureError(f"{called(name)} is traced: save outside of jit.")
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            raise StructureError(f"{called(name)} is an array that has been deleted or donated; save what came of it.")
        if not leaf.is_fully_addressable:
            raise StructureError(f"{called(name)} lies in part on other hosts; gather it before it is saved.")
        return shape_of(name, leaf)
    if isinstance(leaf, np.ndarray | np.generic):
        _storable(name, leaf)
        return shape_of(name, leaf)
    raise DtypeError(
        f"{called(name)} is of type {type(leaf).__name__}; a checkpoint holds arrays, PRNG keys, bool, int, float "
        f"and str. What is JSON can go into metadata=, all else is for the program to make again."
    )


def shape_of(name: str, leaf: Any) -> Described:
    """Return what a checkpoint says of a leaf, or of a ``jax.ShapeDtypeStruct`` that stands for one."""
    if type(leaf) in _PLAIN:
        return {"kind": _PLAIN[type(leaf)]}
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise DtypeError(
            f"{called(name)} of like is of type {type(leaf).__name__}; give what was saved, or jax.ShapeDtypeStruct."
        )
    found: Described = {"kind": "array", "dtype": str(leaf.dtype), "shape": list(leaf.shape)}
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        found["kind"] = "key"
        if isinstance(leaf, jax.Array):
            found |= {"impl": str(jax.random.key_impl(leaf)), "words": list(jax.random.key_data(leaf).shape)}
    elif getattr(leaf, "weak_type", False):
        found["weak"] = True
    return found


def difference(name: str, saved: Described, leaf: Any) -> tuple[type[Exception], str] | None:
    """Return how what was saved differs from what is to take it, if it does."""
    here = shape_of(name, leaf)
    if written(saved) == written(here):
        on_device = here["kind"] == "array" and not isinstance(leaf, np.ndarray | np.generic)
        if on_device and (narrow := jax.dtypes.canonicalize_dtype(np.dtype(saved["dtype"]))) != saved["dtype"]:
            advice = "set jax_enable_x64, or give an array of NumPy as like"
            return DtypeError, f"{called(name)}: saved {written(saved)}, JAX would cut it to {narrow} here; {advice}"
        return None
    kind = ShapeError if saved.get("dtype", saved["kind"]) == here.get("dtype", here["kind"]) else DtypeError
    advice = ""
    if saved["kind"] in ("bool", "int", "float") and isinstance(leaf, jax.ShapeDtypeStruct) and leaf.shape == ():
        advice = f"; jax.eval_shape makes an array of every number: give a Python {saved['kind']} in its place"
    return kind, f"{called(name)}: saved {written(saved)}, here {written(here)}{advice}"


def written(described: Described) -> str:
    """Write what a leaf is: ``float32[3, 4]``.

    >>> written({"kind": "array", "dtype": "float32", "shape": [3, 4]})
    'float32[3, 4]'
    """
    return f"{described['dtype']}{described['shape']}" if "dtype" in described else f"a Python {described['kind']}"


def has_bytes(described: Described) -> bool:
    """Whether a leaf is kept as an array, and not in the header."""
    return "dtype" in described


def layout(described: Described) -> tuple[np.dtype, tuple[int, ...]]:
    """Return dtype and shape of the array that is kept."""
    if described["kind"] == "key":
        return np.dtype(np.uint32), tuple(described["words"])
    return np.dtype(described["dtype"]), tuple(described["shape"])


def to_host(leaf: Any, copy: bool) -> np.ndarray:
    """Return the values as an array of NumPy, of its own memory if ``copy``; it is to be read only."""
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.array(leaf, copy=True, order="C") if copy else np.asarray(leaf, order="C")


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


def _place(name: str, like: Any) -> Any:
    """Return the sharding of a leaf that has one on devices; None for one that goes where it is used.

    Raises:
      StructureError: it lies on a mesh without devices, as ``jax.eval_shape`` returns it, and no such mesh is set.
    """
    sharding: Any = getattr(like, "sharding", None)
    if isinstance(like, jax.Array) and not like.committed:
        return None
    if not isinstance(getattr(sharding, "mesh", None), AbstractMesh):
        return sharding
    if jax.sharding.get_abstract_mesh() != sharding.mesh:
        raise StructureError(
            f"{called(name)} of like is sharded over a mesh without devices: restore under jax.set_mesh(mesh), or give "
            f"arrays, or jax.ShapeDtypeStruct with a sharding on devices."
        )
    return sharding.spec  # over the mesh that is set


def _weak(array: np.ndarray) -> jax.Array:
    """Return a weakly typed array, which promotes as a Python number does; few other ways lead there."""
    one = jnp.asarray(_WEAK.get(array.dtype.kind, 1.0))
    if one.dtype != array.dtype:
        return jnp.array(array)
    return jnp.broadcast_to(one, array.shape).at[...].set(array)


def _storable(name: str, leaf: Any) -> None:
    dtype = leaf.dtype
    if isinstance(leaf, np.ma.MaskedArray):
        raise DtypeError(f"{called(name)} is a masked array, whose mask would be lost; save x.data and x.mask.")
    if dtype.kind in "OSUMm" or dtype.type is np.void:
        raise DtypeError(f"{called(name)} has dtype {dtype}, which a checkpoint does not hold; convert it to numbers.")
    if not dtype.isnative:
        raise DtypeError(f"{called(name)} has dtype {dtype} in another order of bytes; convert it to the native one.")
