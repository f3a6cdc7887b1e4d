"""Transfers that a call asks for: ``jax.transfer_guard`` is there to find those that nobody asked for."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")


def transfers(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function move arrays between host and device, whatever guard its caller has set."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _guarded():  # looking takes half a µs, lifting a guard six
            return function(*args, **kwargs)
        with jax.transfer_guard_host_to_device("allow"), jax.transfer_guard_device_to_host("allow"):
            return function(*args, **kwargs)

    return wrapped


def _guarded() -> bool:
    config: Any = jax.config
    guards = config.jax_transfer_guard_host_to_device, config.jax_transfer_guard_device_to_host
    return any(guard not in (None, "allow") for guard in guards)
