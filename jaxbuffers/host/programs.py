"""Programs for loops in Python: small ones, whose kernels are not worth another thread."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

SMALL = 2**18  # bytes of a batch; to gather more than that, two cores are faster than one
_IN_TURN = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


@lru_cache
def in_turn() -> dict[str, str] | None:
    """Return options for ``jax.jit`` with which a program on CPU runs its kernels one after the other.

    By default XLA arranges them so that many may run at once, and wakes up other threads for them. That takes longer
    than the kernels of a small batch do (``docs/decisions/0023-host-staging.md``). None where XLA has no such option.
    """
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            jax.jit(lambda x: x, compiler_options=_IN_TURN).lower(np.float32(0)).compile()
    except jax.errors.JaxRuntimeError:  # options come and go
        return None
    return _IN_TURN


def results_are_searched() -> bool:
    """Say whether JAX raises where a result has a NaN or an infinity: it does once the arguments have been donated."""
    config: Any = jax.config
    return bool(config.jax_debug_nans or config.jax_debug_infs)


def unsearched(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function write rows that hold NaN or infinities, whatever JAX looks for: they are for `sample` to find."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not results_are_searched():
            return function(*args, **kwargs)
        with jax.debug_nans(False), jax.debug_infs(False):
            return function(*args, **kwargs)

    return wrapped


def calls_python(jaxpr: Any) -> bool:
    """Say whether a program calls functions on the host while it runs, as ``jax.pure_callback`` does."""
    for equation in jaxpr.eqns:
        if "callback" in equation.primitive.name:
            return True
        inner = [getattr(leaf, "jaxpr", leaf) for leaf in jax.tree.leaves(list(equation.params.values()))]
        if any(calls_python(part) for part in inner if hasattr(part, "eqns")):
            return True
    return False
