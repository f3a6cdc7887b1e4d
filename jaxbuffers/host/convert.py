"""From what a Python loop has, NumPy arrays, numbers and ``str``, to the arrays that were declared; nothing is cast."""

import math
from typing import Any

import jax
import numpy as np

from jaxbuffers.errors import DtypeError, ShapeError
from jaxbuffers.host.checks import usable
from jaxbuffers.row import Path, TextField, check_leaf, refuse_masked, show
from jaxbuffers.texts.nested import PLAIN


def declared(fields: Any) -> Any:
    """Return the row that a declaration describes: dtypes become scalars, the rest stays.

    >>> import numpy as np, jaxbuffers as jb
    >>> declared({"reward": np.float32, "mission": jb.text})
    {'mission': TextField(shape=()), 'reward': ShapeDtypeStruct(shape=(), dtype=float32)}
    """

    def leaf(path: Any, x: Any) -> Any:
        name = jax.tree_util.keystr(path) or "of the row"
        if x is None or x is str:
            raise DtypeError(f"field {name} is declared as {x!r}; give jb.text for texts, or else a dtype.")
        if isinstance(x, TextField) or (hasattr(x, "shape") and not isinstance(x, type | np.dtype)):
            return x if isinstance(x, TextField) else jax.ShapeDtypeStruct(np.shape(x), x.dtype)
        try:
            dtype = np.dtype(x)
            if (narrow := jax.dtypes.canonicalize_dtype(dtype)) != dtype:
                raise DtypeError(
                    f"field {name} is declared {dtype}, but 64-bit types are off; declare it numpy.{narrow}."
                )
            return jax.ShapeDtypeStruct((), dtype)
        except DtypeError:
            raise
        except TypeError:
            raise DtypeError(
                f"field {name} is declared as {x!r}; give jb.text, a dtype such as numpy.float32 for one number, "
                f"or jax.ShapeDtypeStruct(shape, dtype)."
            ) from None

    return jax.tree_util.tree_map_with_path(leaf, fields, is_leaf=lambda x: isinstance(x, TextField) or x is None)


def number(path: Path, value: bool | int | float, dtype: np.dtype) -> np.ndarray:
    """Return a Python number as a scalar of a declared dtype, if it is one of its values.

    A float is rounded to the nearest value of a narrower float dtype; everything else must fit exactly.
    """

    def refuse(why: str) -> DtypeError:
        return DtypeError(f"{show(path)} is declared {dtype}, got the {type(value).__name__} {value!r}: {why}")

    if isinstance(value, bool):
        if dtype != np.bool_:
            raise refuse("a bool is no number. Write int(...) or float(...), or declare it bool.")
    elif isinstance(value, int):
        if jax.numpy.issubdtype(dtype, np.integer):
            info = jax.numpy.iinfo(dtype)
            if not int(info.min) <= value <= int(info.max):
                raise refuse("it is out of range.")
        elif not jax.numpy.issubdtype(dtype, np.floating):
            raise refuse("write bool(...), or declare it an integer.")
        elif abs(value) > 2**1023 or not math.isfinite(near := _rounded(value, dtype)) or int(near) != value:
            raise refuse("it has no exact value there. Write float(...) to have it rounded.")
        else:
            value = near  # NumPy makes no bfloat16 of an int that needs more than 64 bits
    else:
        if not jax.numpy.issubdtype(dtype, np.floating):
            kind = "bool" if dtype == np.bool_ else "int"
            raise refuse(f"write {kind}(...) if that is meant, or declare it a float.")
        near = _rounded(value, dtype)
        if (math.isfinite(value), math.isnan(value)) != (math.isfinite(near), math.isnan(near)):
            raise refuse("it is too large.")
        value = near
    return np.array(value, dtype)


def array(path: Path, value: Any, shape: tuple[int, ...], dtype: np.dtype, lead: tuple[int, ...]) -> Any:
    """Return the value of one field, ``[*lead, *shape]`` of exactly the declared dtype.

    A NumPy array is copied: the caller may write to it again before the device has read it.
    """
    if type(value) is not np.ndarray:  # the usual case goes first, as each of these questions takes time
        if isinstance(value, np.int64) and value.dtype != dtype:
            value = int(value)  # what NumPy makes of an int, as numpy.float64 is of a float, which is one
        if isinstance(value, bool | int | float):
            if lead + shape:
                raise ShapeError(f"{show(path)} is one number, expected an array of shape {lead + shape}.")
            return number(path, value, dtype)
        if not isinstance(value, np.ndarray | np.generic | jax.Array):
            want = f"numpy.array(..., '{dtype}')" if lead + shape else "a number"
            raise DtypeError(f"{show(path)} is a {type(value).__name__}; give {want}.")
    value = usable(path, value)
    check_leaf(path, value, shape, dtype)
    if tuple(value.shape) != lead + shape:
        raise ShapeError(f"{show(path)} has shape {tuple(value.shape)}, expected {lead + shape}.")
    return value


def texts(path: Path, value: Any, shape: tuple[int, ...], lead: tuple[int, ...]) -> Any:
    """Return the texts of a field as nested lists ``[*lead, *shape]``, short ones filled up; or ids as they are."""
    if hasattr(value, "dtype") and value.dtype == np.int32:
        return array(path, value, shape, np.dtype(np.int32), lead)
    want = lead + shape

    def fill(x: Any, depth: int) -> Any:
        if isinstance(x, np.ndarray):
            refuse_masked(show(path), x)
            x = x.tolist()
        if depth == len(want):
            if x is not None and not isinstance(x, str):
                raise DtypeError(f"{show(path)} is text, got {x!r} of type {type(x).__name__}; give a str or None.")
            return None if x is None else str(x)
        if not isinstance(x, list | tuple):
            raise ShapeError(f"{show(path)} is text of shape {want}: expected a list of {want[depth]}, got {x!r}.")
        short = depth >= len(lead) and len(x) < want[depth]
        if len(x) != want[depth] and not short:
            raise ShapeError(
                f"{show(path)} is text of shape {want}, got a list of {len(x)} for an axis of {want[depth]}."
            )
        plain = depth + 1 == len(want) and PLAIN.issuperset(map(type, x))
        items = list(x) if plain else [fill(y, depth + 1) for y in x]
        return items + [fill(_empty(want[depth + 1 :]), depth + 1)] * (want[depth] - len(x))

    return fill(value, 0)


def _empty(shape: tuple[int, ...]) -> Any:
    return [_empty(shape[1:])] * shape[0] if shape else None


def _rounded(value: int | float, dtype: np.dtype) -> float:
    with np.errstate(all="ignore"):
        return float(np.array(float(value), dtype).astype(np.float64))
