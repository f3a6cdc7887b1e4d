"""Where the windows that rows complete and end have their leaves, and which leaves an update may touch."""

import jax
import jax.numpy as jnp

from jaxbuffers.batch import Index
from jaxbuffers.errors import check
from jaxbuffers.numerics.count_tree import NOWHERE
from jaxbuffers.numerics.materialize import materialize
from jaxbuffers.windows.base import Added, Turnover
from jaxbuffers.windows.legal import Legal


def turned_over(legal: Legal, added: Added, turnover: Turnover) -> tuple[jax.Array, jax.Array]:
    """Return the addresses of the windows that have expired and of those now complete: uint32 ``[N * E]`` each.

    Entries that stand for nothing lie beyond every leaf. A leaf may be in both: it expires first.
    """
    stream = jnp.broadcast_to(jnp.arange(added.time.shape[1], dtype=jnp.int32), added.time.shape)
    gone = only_where(added.mask, legal.address(stream, turnover.expired))
    new = only_where(turnover.completed, legal.address(stream, turnover.start))
    return materialize(gone), materialize(new)


def living(legal: Legal, index: Index) -> jax.Array:
    """Return the address of each window of ``index`` that is not gone, and one beyond every leaf for others: uint32."""
    alive = legal.alive(index.stream, index.time)
    stream, time = jnp.where(alive, index.stream, 0), jnp.where(alive, index.time, 0)
    return only_where(alive, legal.address(stream, time))


def feedback(index: Index, alive: jax.Array, good: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Count the priorities for windows that are gone, and those that cannot be one: int32 ``[]`` each."""
    stale = jnp.sum((index.time >= 0) & ~alive, dtype=jnp.int32)
    refused = jnp.sum(alive & ~good, dtype=jnp.int32)
    check(stale == 0, "update: {n} priorities are for windows that are gone", n=stale)
    check(refused == 0, "update: {n} priorities are NaN, infinite, negative or too large", n=refused)
    return stale, refused


def only_where(mask: jax.Array, address: jax.Array) -> jax.Array:
    """Flatten addresses; where the mask is False, put one beyond every leaf."""
    return jnp.where(mask, address, jnp.uint32(NOWHERE)).reshape(-1)
