"""Transitions of an expert as a Python loop gives them: what each must hold, and whether one continues another."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.errors import DtypeError, StructureError
from jaxbuffers.host.convert import array

TEXTS = ("observation", "action", "next_observation")
FEATURES = ("image_features", "next_image_features")
NUMBERS = ("reward", "mc_return")

Step = dict[str, Any]
Features = jax.ShapeDtypeStruct | None


def declared_features(image_features: Any) -> Features:
    """Return what describes the features of one image: an array, a struct, or a shape of float32; None for none."""
    if image_features is None:
        return None
    shape = image_features if isinstance(image_features, tuple) else (image_features,)
    if all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in shape):
        return jax.ShapeDtypeStruct(tuple(map(int, shape)), np.float32)
    if not hasattr(image_features, "shape") or not hasattr(image_features, "dtype"):
        raise DtypeError(
            f"image_features must be a shape such as (512,), which means float32, an array, or a "
            f"jax.ShapeDtypeStruct(shape, dtype); leave it out where there are none. Got {image_features!r}."
        )
    return jax.ShapeDtypeStruct(image_features.shape, image_features.dtype)


def checked(transition: Any, i: int, features: Features, independent: bool) -> Step:
    """Return transition number ``i`` with arrays of the declared dtypes, copied; or raise."""
    if not isinstance(transition, Mapping):
        raise StructureError(
            f"transition {i} is a {type(transition).__name__}; a trajectory is a list of dicts, extend() takes a "
            f"list of trajectories."
        )
    step = dict(transition)
    if features is None:
        _drop_features(step, i)
    wanted = {*TEXTS, "reward", "done", *(() if features is None else FEATURES)}
    if missing := [name for name in sorted(wanted) if name not in step]:
        raise StructureError(f"transition {i} has no {', '.join(missing)}.")
    if unknown := set(step) - wanted - {"mc_return"}:
        raise StructureError(f"transition {i} has unknown fields: {', '.join(sorted(map(str, unknown)))}.")
    if independent and "mc_return" not in step:
        raise StructureError(
            f"transition {i} has no mc_return: a return cannot be computed from an independent transition, so give it."
        )
    if features is not None:
        for name in FEATURES:
            step[name] = np.array(array((name,), step[name], features.shape, np.dtype(features.dtype), ()))
    for name in NUMBERS:
        if name in step:
            step[name] = np.array(array((name,), _plain(step[name]), (), np.dtype(np.float32), ()))
    step["done"] = _done(step["done"])
    for name in TEXTS:
        if not isinstance(step[name], str):
            raise StructureError(f"{name} of transition {i} must be a str, got {step[name]!r}.")
    return step


def blank(names: list[str], features: Features) -> Step:
    """Return a transition with these fields and nothing in them, to be restored into."""

    def value(name: str) -> Any:
        if name in FEATURES and features is not None:
            return np.zeros(features.shape, features.dtype)
        return "" if name in TEXTS else np.zeros((), np.float32) if name in NUMBERS else False

    return {name: value(name) for name in names}


def continues(before: Step, after: Step, i: int) -> None:
    """Raise unless transition number ``i`` begins where the one before it ended; features are compared by value."""
    if before["done"]:
        raise StructureError(f"transition {i} comes after one that is done: insert one trajectory at a time.")
    same = "image_features" not in after or _equal(before["next_image_features"], after["image_features"])
    if before["next_observation"] != after["observation"] or not same:
        what = "image_features" if before["next_observation"] == after["observation"] else "observation"
        raise StructureError(
            f"the {what} of transition {i} is not the next_{what} of transition {i - 1}: these are not steps of "
            f"one trajectory. If one was cut off there, call finish() in between; Demonstrations(independent=True) "
            f"takes transitions in any order."
        )
    if ("mc_return" in before) != ("mc_return" in after):
        raise StructureError("give mc_return for every transition of a trajectory, or for none.")


def _drop_features(step: Step, i: int) -> None:
    for name in FEATURES:
        if (given := step.pop(name, None)) is not None:
            shape, dtype = np.shape(given), getattr(given, "dtype", np.dtype(np.float32))
            raise StructureError(
                f"transition {i} has {name}, but these demonstrations were declared without: write "
                f"Demonstrations(..., image_features=jax.ShapeDtypeStruct({shape}, '{dtype}'))."
            )


def _plain(x: Any) -> Any:
    """Return an array without axes as the Python number it holds: 0-d arrays pass where such a number does."""
    if isinstance(x, jax.core.Tracer) or (isinstance(x, jax.Array) and x.is_deleted()):
        return x  # refused by name later
    holds = type(x) is np.ndarray or isinstance(x, np.generic | jax.Array)
    if holds and x.shape == () and (jnp.issubdtype(x.dtype, np.number) or x.dtype == np.bool_):
        return x.item()
    return x


def _done(x: Any) -> bool:
    value = _plain(x)
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise DtypeError(f"leaf 'done' must be True or False, or a number that is 1 or 0; got {x!r}.")
    return bool(value)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    same = a == b
    if jnp.issubdtype(a.dtype, np.inexact):
        same |= np.isnan(a) & np.isnan(b)
    return bool(np.all(same))
