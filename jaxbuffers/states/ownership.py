"""The arrays of a state are its own: those of NumPy are copied in, and no verb returns one that it was given.

An eager verb that passed an array through would let one state delete another: donating the result
frees what the first one still needs.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.row import check_leaf, paths_of
from jaxbuffers.states import explicit

Tree = TypeVar("Tree")
P = ParamSpec("P")
R = TypeVar("R")


def verb(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method of a configuration whose first argument is a state.

    It gets what the configuration's ``_ours`` returns, the state checked and `owned`; what it returns is `unshared`.
    What JAX says of arrays on Explicit meshes is said with the remedy that the configuration has, ``_on_meshes``.
    """
    name = list(inspect.signature(method).parameters)[1]

    @functools.wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        self, *rest = args
        given: dict[str, Any] = {**kwargs}
        if rest:
            rest[0] = self._ours(rest[0])  # type: ignore[attr-defined]
        elif name in given:
            given[name] = self._ours(given[name])  # type: ignore[attr-defined]
        try:
            return unshared(method(self, *rest, **given), args[1:], kwargs)  # type: ignore[arg-type]
        except Exception as error:
            remedy = getattr(self, "_on_meshes", explicit.ANY)
            if other := explicit.explained(error, method.__name__.removeprefix("_"), remedy, (rest, given)):
                raise other from error
            raise

    return wrapped


def owned(state: Tree) -> Tree:
    """Return the state with NumPy arrays, as a checkpoint has them, copied: their owner may write to them.

    Raises:
      DtypeError: naming a leaf that JAX cannot hold as it is.
    """
    if all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state)):
        return state
    for path, leaf in paths_of(state).items():
        if not isinstance(leaf, jax.Array):
            check_leaf(path, leaf, (), getattr(leaf, "dtype", np.dtype(float)))
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.array(leaf), state)


def unshared(new: Tree, *old: Any) -> Tree:
    """Return ``new`` with a copy of each array that is in ``old``, or twice in ``new``.

    In a compiled program this costs nothing: there the copy is the value itself.
    """
    seen = {id(leaf) for leaf in jax.tree.leaves(old)}

    def own(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            leaf = jnp.copy(leaf) if id(leaf) in seen else leaf
            seen.add(id(leaf))
        return leaf

    return jax.tree.map(own, new)
