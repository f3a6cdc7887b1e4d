"""A sampler that points at every legal window once: sampling without chance."""

from dataclasses import dataclass

import jax.numpy as jnp

import jaxbuffers as jb


@dataclass(frozen=True)
class Every(jb.Sampler):
    """Point at the windows of rank 0, 1, ... of each stream, up to batch_size / E; not valid beyond the last.

    ``probability`` is 1 for a legal window and 0 for padding.
    """

    def draw(self, state, legal, key, batch_size):
        count = legal.count()
        ranks = batch_size // len(count)
        stream = jnp.repeat(jnp.arange(len(count), dtype=jnp.int32), ranks)
        rank = jnp.tile(jnp.arange(ranks, dtype=jnp.int32), len(count))
        valid = rank < count[stream]
        return jb.Draw(stream, legal.start(stream, rank), valid.astype(jnp.float32), valid)
