"""A verb that is called eagerly runs as one compiled program, where each of its operations would be one of its own."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.errors import debugging
from jaxbuffers.states.ownership import verb

P = ParamSpec("P")
R = TypeVar("R")
Typed = tuple[tuple[str, type, Any], ...]


def one_program(*static: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a method as a `verb` of which an eager call is one compiled program.

    Inside of ``jit``, ``vmap`` and ``scan`` nothing changes. What a compiled program could not take as it is goes
    through the method operation by operation: Python numbers among the leaves, arrays that JAX would narrow, functions
    that need values, all under `debug_checks` and ``jax.disable_jit``. So does what has failed, so that errors
    are those of the method, with values in their messages and none of JAX's frames.

    Args:
      *static: the parameters that are integers or None, and part of the program.
    """

    def decorate(body: Callable[P, R]) -> Callable[P, R]:
        method = verb(body)
        names = list(inspect.signature(body).parameters)[1:]

        @functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
        def program(configuration: Any, fixed: Typed, arrays: dict[str, Any]) -> Any:
            return method(configuration, **{name: value for name, _, value in fixed}, **arrays)

        @functools.wraps(body)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            given = {**dict(zip(names, args[1:], strict=False)), **kwargs}
            fixed = {name: given.pop(name) for name in static if name in given}
            whole = len(given) + len(fixed) == len(args) - 1 + len(kwargs)  # else it is called with too many, or twice
            known = _hashable(args[0]) and all(isinstance(value, int | np.integer | None) for value in fixed.values())
            if whole and known and not debugging() and all(map(_taken_as_it_is, jax.tree.leaves(given))):
                # The type too: True is 1 in the key of a cache, but it is no size.
                typed = tuple((name, type(value), value) for name, value in fixed.items())
                with contextlib.suppress(Exception):  # of errors the method speaks itself, with values at hand
                    return program(args[0], typed, jax.tree.map(_own, given))
            return method(*args, **kwargs)

        return called

    return decorate


def _hashable(configuration: Any) -> bool:
    """Say whether a program can be looked up by its configuration: a part of a user's own may be compared only."""
    try:
        hash(configuration)
    except TypeError:
        return False
    return True


def _taken_as_it_is(leaf: Any) -> bool:
    """Say whether a compiled program gets this leaf unchanged, and is not being traced already."""
    if isinstance(leaf, jax.Array):
        return not isinstance(leaf, jax.core.Tracer)
    if type(leaf) is not np.ndarray and not isinstance(leaf, np.generic):
        return False
    try:
        return leaf.dtype.isnative and jax.dtypes.canonicalize_dtype(leaf.dtype) == leaf.dtype
    except TypeError:  # of texts, objects and times
        return False


def _own(leaf: Any) -> Any:
    """Copy an array of NumPy: its owner may write to it while the program runs."""
    return jnp.array(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf
