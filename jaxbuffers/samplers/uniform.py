"""Uniform: every legal window with the same probability."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from typing_extensions import override

from jaxbuffers.batch import Draw
from jaxbuffers.numerics.materialize import materialize, materialize_on_cpu
from jaxbuffers.numerics.random_bits import below
from jaxbuffers.numerics.search import locate, running
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.windows.legal import Legal


@dataclass(frozen=True)
class Uniform(Sampler[tuple[()]]):
    """Draw legal windows independently, with replacement, each with probability 1 / (how many).

    A draw is one number below the count of legal windows: no rejection, O(E + B) whatever the
    capacity.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=2, batch_size=4, view=jb.Items(), sampler=jb.Uniform())
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.array([1.0, 2.0]))
    >>> batch = replay.sample(state, jax.random.key(0))
    >>> batch.probability
    Array([0.5, 0.5, 0.5, 0.5], dtype=float32)
    """

    @override
    def draw(self, state: tuple[()], legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        count = legal.count()
        ends = running(count)
        total = ends[-1]
        # Once: else each comparison with a stream, and every kernel that reads a leaf, draws the numbers again.
        number = below(key, total, batch_size)
        number = number if legal.num_streams == 1 else materialize_on_cpu(number)
        stream = locate(ends, number)
        stream = stream if legal.num_streams == 1 else materialize(stream)
        older = jnp.where(stream > 0, ends[stream - 1], 0)  # windows of the streams before
        start = legal.start(stream, number - older)
        share = 1 / jnp.maximum(total, 1).astype(jnp.float32)
        return Draw.of(stream, materialize(start), jnp.broadcast_to(share, (batch_size,)), total > 0)

    @override
    def probability(self, state: tuple[()], legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return 1 / (how many windows are legal), for each."""
        total = jnp.sum(legal.count(), dtype=jnp.int32)
        return jnp.where(legal.alive(stream, start), 1 / jnp.maximum(total, 1).astype(jnp.float32), 0)
