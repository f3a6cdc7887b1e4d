"""One leaf of a tree: how it is described in a checkpoint, and what may take its place."""

from typing import Any

import jax
import numpy as np

from jaxbuffers.checkpoint.json_values import checked
from jaxbuffers.errors import DtypeError, ShapeError, StructureError

Described = dict[str, Any]
_PLAIN: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}


def called(name: str) -> str:
    """Write the name of a leaf; a tree that is one leaf has none."""
    return f"leaf {name!r}" if name else "the only leaf"


def describe(name: str, leaf: Any, shared: bool = False) -> Described:
    """Return what a checkpoint says of a leaf beside its bytes.

    Args:
      name: of the leaf.
      leaf: an array, a key or a plain value.
      shared: whether the other hosts save their parts of it.

    Raises:
      DtypeError: it is nothing that a checkpoint holds.
      StructureError: it is an array without values: traced, deleted, or in part on hosts that save nothing.
    """
    if type(leaf) in _PLAIN:
        checked(leaf, called(name))
        return {"kind": _PLAIN[type(leaf)], "value": leaf}
    if isinstance(leaf, jax.core.Tracer):
        raise StructureError(f"{called(name)} is traced: save outside of jit.")
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            raise StructureError(f"{called(name)} is an array that has been deleted or donated; save what came of it.")
        if leaf.is_fully_addressable:
            return shape_of(name, leaf)
        if not shared:
            raise StructureError(f"{called(name)} lies in part on hosts that do not take part; gather it first.")
        return shape_of(name, leaf) | {"split": True}
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
            found |= {
                "impl": str(jax.random.key_impl(leaf)),
                "words": list(jax.eval_shape(jax.random.key_data, leaf).shape),
            }
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


def _storable(name: str, leaf: Any) -> None:
    dtype = leaf.dtype
    if isinstance(leaf, np.ma.MaskedArray):
        raise DtypeError(f"{called(name)} is a masked array, whose mask would be lost; save x.data and x.mask.")
    if dtype.kind in "OSUMm" or dtype.type is np.void:
        raise DtypeError(f"{called(name)} has dtype {dtype}, which a checkpoint does not hold; convert it to numbers.")
    if not dtype.isnative:
        raise DtypeError(f"{called(name)} has dtype {dtype} in another order of bytes; convert it to the native one.")
