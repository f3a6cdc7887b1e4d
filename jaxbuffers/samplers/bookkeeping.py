"""Where the windows that rows complete and end have their leaves, and which leaves an update may touch."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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


def feedback(
    index: Index, alive: jax.Array, good: jax.Array, priority: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Count the priorities for windows that are gone, and those that cannot be one; find the highest of the others.

    Args:
      index: of the windows.
      alive: bool, which of them are legal now.
      good: bool, which priorities are numbers that can be one.
      priority: float32.

    Returns:
      Both counts, int32 ``[]``, and the priority, float32 ``[]``, 0 if there is none.
    """
    stale, refused = (index.time >= 0) & ~alive, alive & ~good
    each = stale.astype(jnp.int32), refused.astype(jnp.int32), jnp.where(alive & good, lax.stop_gradient(priority), 0)
    # All at once, by one kernel: XLA for CPU makes three of each reduction that stands alone.
    zeros = np.int32(0), np.int32(0), np.float32(0)
    stale, refused, highest = lax.reduce(each, zeros, _sums_and_highest, tuple(range(alive.ndim)))
    check(stale == 0, "update: {n} priorities are for windows that are gone", n=stale)
    check(refused == 0, "update: {n} priorities are NaN, infinite, negative or too large", n=refused)
    return stale, refused, highest


def _sums_and_highest(some: tuple[jax.Array, ...], more: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return some[0] + more[0], some[1] + more[1], lax.max(some[2], more[2])


def only_where(mask: jax.Array, address: jax.Array) -> jax.Array:
    """Flatten addresses; where the mask is False, put one beyond every leaf."""
    return jnp.where(mask, address, jnp.uint32(NOWHERE)).reshape(-1)
