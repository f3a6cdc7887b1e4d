"""Compute a vector once, where XLA for CPU would compute it again in everything that reads it.

XLA fuses a cheap producer into each of its consumers. A gather that reads 30 words of a row by an
address then works out the address 30 times, down to the 16 sums of each level of a tree. On CPU
``optimization_barrier`` is removed before fusion; a scatter is never fused into what follows
(``docs/decisions/0005-sum-tree.md`` has the figures). Elsewhere this does nothing.
"""

import jax
import jax.numpy as jnp
from jax import lax


def once(x: jax.Array) -> jax.Array:
    """Return ``x`` ``[K]``, computed once."""
    return lax.platform_dependent(x, cpu=_stored, default=lambda x: x)


def _stored(x: jax.Array) -> jax.Array:
    if len(x) == 1:  # a scatter of one element would be fused after all
        return _stored(jnp.concatenate([x, x]))[:1]
    return jnp.zeros_like(x).at[lax.iota(jnp.uint32, len(x))].set(x, unique_indices=True, mode="promise_in_bounds")
