"""Which of several equal addresses counts."""

import jax
import jax.numpy as jnp


def last_of_each(address: jax.Array) -> jax.Array:
    """Mark the last occurrence of each value: bool, like ``address``."""
    order = jnp.argsort(address, stable=True)
    ordered = address[order]
    last = jnp.concatenate([ordered[1:] != ordered[:-1], jnp.ones(1, jnp.bool_)])
    return jnp.zeros_like(last).at[order].set(last, unique_indices=True)
