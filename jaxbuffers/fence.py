"""fence: order a sample's reads before later writes, so that no compiler copies the ring.

A compiled program that reads the ring and then writes to it in place must finish the read
first. If nothing forces that order, XLA on CPU keeps a copy of the whole ring instead
(``docs/in-place.md``).
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import jax
from jax import lax

from jaxbuffers.batch import Batch
from jaxbuffers.checks import check_one
from jaxbuffers.numerics.materialize import after
from jaxbuffers.states.explicit import REPLAY, in_our_words
from jaxbuffers.states.ownership import owned, unshared

if TYPE_CHECKING:
    from jaxbuffers.replay import ReplayState


@in_our_words(REPLAY)
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
    check_one("fence", state)
    read = jax.tree.leaves(lax.optimization_barrier((batch.data, batch.probability)))
    taken = owned(state)
    return unshared(replace(taken, ring=replace(taken.ring, time=after(taken.ring.time, *read))), state)
