"""fence: order a sample's reads before later writes, so that no compiler copies the ring.

A compiled program that reads the ring and then writes to it in place must finish the read
first. If nothing forces that order, XLA on CPU keeps a copy of the whole ring instead
(``docs/in-place.md``).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxbuffers.batch import Batch
from jaxbuffers.ownership import owned, unshared

if TYPE_CHECKING:
    from jaxbuffers.replay import ReplayState


def fence(state: "ReplayState", batch: Batch) -> "ReplayState":
    """Make every later write to ``state`` wait until ``batch`` has been read.

    Needed where, in one compiled function, rows or values that do not depend on the sample are
    added or written back after it. Costs a few scalar operations; the values of the state do not
    change.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, view=jb.Items())
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.float32(1))
    >>> @jax.jit
    ... def step(state, row, key):
    ...     batch = replay.sample(state, key)
    ...     return replay.add(jb.fence(state, batch), row), batch.data.sum()
    >>> state, total = step(state, jnp.float32(3), jax.random.key(0))
    >>> int(replay.size(state)), float(total)
    (2, 2.0)
    """
    data = lax.optimization_barrier(batch.data)
    seen = jnp.int32(0)
    for leaf in jax.tree.leaves(data):
        seen = seen ^ _scalar(leaf)
    # A square is 0 or 1 modulo 4, never 2. The compiler does not know, so it must look at the data.
    never = (seen * seen) % 4 == 2
    taken = owned(state)
    ring = replace(taken.ring, time=taken.ring.time + never.astype(jnp.int32))
    return unshared(replace(taken, ring=ring), state)


def _scalar(leaf: Any) -> jax.Array:
    first = leaf.reshape(-1)[0]
    if jnp.iscomplexobj(first):
        first = first.real
    if jnp.issubdtype(first.dtype, jnp.floating):
        first = jnp.where(jnp.isfinite(first), first, jnp.zeros_like(first)).astype(jnp.float32)
        return lax.bitcast_convert_type(first, jnp.int32)
    return first.astype(jnp.int32)
