"""Uniform: every legal window with the same probability."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxbuffers.batch import Draw
from jaxbuffers.samplers.base import Legal, Sampler


@dataclass(frozen=True)
class Uniform(Sampler):
    """Draw legal windows independently, with replacement, each with probability 1 / (how many).

    A draw is one number below the count of legal windows: no rejection, O(E + B) whatever the
    capacity. 64 random bits make that number, so the probabilities of two windows differ by less
    than one part in ``2**33`` even at the largest capacity.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=2, batch_size=4, view=jb.Items(), sampler=jb.Uniform())
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.array([1.0, 2.0]))
    >>> batch = replay.sample(state, jax.random.key(0))
    >>> batch.probability
    Array([0.5, 0.5, 0.5, 0.5], dtype=float32)
    """

    def draw(self, state: Any, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        """Point at ``batch_size`` windows. The key is consumed."""
        count = legal.count()
        ends = jnp.cumsum(count, dtype=jnp.int32)
        total = ends[-1]
        number = below(key, total, batch_size)
        stream = jnp.zeros(batch_size, jnp.int32)
        if len(count) > 1:
            method = "compare_all" if len(count) <= 64 else "scan_unrolled"
            stream = jnp.searchsorted(ends, number, side="right", method=method).astype(jnp.int32)
            stream = jnp.minimum(stream, len(count) - 1)
        rank = number - (ends[stream] - count[stream])
        valid = jnp.broadcast_to(total > 0, (batch_size,))
        probability = jnp.where(valid, 1 / jnp.maximum(total, 1).astype(jnp.float32), jnp.float32(0))
        return Draw(stream, legal.start(stream, rank), probability, valid)


def below(key: jax.Array, total: jax.Array, count: int) -> jax.Array:
    """Draw ``count`` independent integers uniform in ``[0, total)``: int32; zeros if ``total`` is 0.

    The integer is ``floor(u * total / 2**64)`` for 64 random bits ``u``, in 32-bit arithmetic.
    """
    high, low = jax.random.bits(key, (2, count), jnp.uint32)
    total = total.astype(jnp.uint32)
    carried = high * total + _high_product(low, total)
    carry = (carried < high * total).astype(jnp.uint32)
    return (_high_product(high, total) + carry).astype(jnp.int32)


def _high_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the upper 32 bits of the product of two uint32."""
    half = jnp.uint32(16)
    a1, a0, b1, b0 = a >> half, a & 0xFFFF, b >> half, b & 0xFFFF
    middle = a1 * b0 + (a0 * b0 >> half)
    return a1 * b1 + (middle >> half) + ((middle & 0xFFFF) + a0 * b1 >> half)
