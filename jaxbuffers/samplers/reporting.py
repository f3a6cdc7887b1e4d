"""What samplers have to report, for `stats`."""

from typing import Any

import jax
import jax.numpy as jnp

BINS = 16


def reported(state: Any) -> dict[str, jax.Array]:
    """Return what a sampler's state has to report: what its method ``stats()`` returns, if it has one.

    Of a tuple of states, as `Mix` keeps, each reports under its number: ``0/uses``.
    """
    if hasattr(state, "stats"):
        return state.stats()
    parts = enumerate(state) if isinstance(state, tuple) else ()
    return {name: value for i, part in parts for name, value in under(str(i), part).items()}


def under(name: str, state: Any) -> dict[str, jax.Array]:
    """Return what the state of an inner sampler has to report, each entry under a name."""
    return {f"{name}/{key}": value for key, value in reported(state).items()}


def histogram(bin_of: jax.Array, real: jax.Array) -> jax.Array:
    """Count the entries in each of the `BINS`: int32 ``[16]``; only those that are ``real``."""
    return jnp.stack([jnp.sum(real & (bin_of == b), dtype=jnp.int32) for b in range(BINS)])
