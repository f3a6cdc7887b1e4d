"""What JAX says of arrays on Explicit meshes, in our words.

On the meshes that ``jax.make_mesh`` makes, JAX refuses every operation for which it would have to decide how the result
is sharded, or to communicate. That is met deep inside of a verb, and the message speaks of a gather or a scatter.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax.sharding import AxisType

from jaxbuffers.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")

REPLAY = "To keep environments on several devices, use jb.Sharded(replay, mesh, axis)"
ANY = "Run it on each device by jax.shard_map"
_ITS_WORDS = re.compile("shard|mesh|types for broadcasting", re.IGNORECASE)


def explained(error: Exception, what: str, remedy: str, given: Any) -> ConfigurationError | None:
    """Return what to raise instead of an error about the shardings of what was given; None if it is another one.

    Args:
      error: what was raised.
      what: was done, such as ``"add"``.
      remedy: what to do where arrays are sharded, a sentence without its full stop.
      given: a tree with the arrays.
    """
    if type(error).__module__.startswith("jaxbuffers") or not _ITS_WORDS.search(str(error)):
        return None
    if isinstance(error, LookupError | AttributeError):  # of a name that happens to have such a word
        return None
    axes, explicit = set(), False
    for leaf in jax.tree.leaves(given):
        if isinstance(leaf, jax.Array):
            sharding: Any = jax.typeof(leaf).sharding
            explicit |= AxisType.Explicit in sharding.mesh.axis_types
            axes |= {name for part in sharding.spec if part for name in (part if isinstance(part, tuple) else (part,))}
    if not explicit:
        return None
    if not axes:
        return ConfigurationError(
            f"{what}: arrays are replicated over an Explicit mesh, and others are not on it. Call it under "
            f"jax.set_mesh(mesh), or put all arrays there, jax.device_put(x, NamedSharding(mesh, P())), and use jit."
        )
    names = ", ".join(map(repr, sorted(axes)))
    return ConfigurationError(
        f"{what}: arrays are sharded over {names}, an axis of an Explicit mesh, where JAX does not decide how results "
        f"are sharded. {remedy}; or replicate the arrays, jax.device_put(x, NamedSharding(mesh, P()))."
    )


def in_our_words(remedy: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function whose arguments may lie on an Explicit mesh."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if other := explained(error, function.__name__, remedy, (args, kwargs)):
                    raise other from error
                raise

        return wrapped

    return decorate
