"""Random orders without repetition, of a part of a range, at a cost that depends on the part alone."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxbuffers.numerics.random_bits import fraction_of


def shuffled_passes(first: jax.Array, whole: jax.Array, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Go through shuffled ranges one after the other: ``range(first)``, then ``range(whole)`` again and again.

    The steps of Fisher and Yates' shuffle (Durstenfeld 1964), of which only the first B are done, all at
    once: which steps touch the same place is found by comparing each with each, O(B**2), and
    chains of moves are followed by doubling. Exactly uniform, up to the rounding of `fraction_of`.

    Args:
      first: int32 ``[]``, the size of the first range, from 0 on.
      whole: int32 ``[]``, the size of every further one, at least 1.
      high: uint32 ``[B]``, random bits.
      low: uint32 ``[B]``, further ones.

    Returns:
      How many ranges were completed before each of the B numbers, and the numbers: int32 ``[B]`` each.
    """
    count = len(high)
    step = lax.iota(jnp.int32, count)
    passes = jnp.where(step < first, 0, 1 + (step - first) // whole)
    begin = jnp.where(passes == 0, 0, first + (passes - 1) * whole)
    end = begin + jnp.where(passes == 0, first, whole)
    # Step i swaps place i with the place target[i] in [i, end) and takes what was there.
    target = step + fraction_of(end - step, high, low)
    before = step[None, :] < step[:, None]
    put = jnp.max(jnp.where(before & (target[None, :] == step[:, None]), step[None, :], -1), axis=1)
    found = jnp.max(jnp.where(before & (target[None, :] == target[:, None]), step[None, :], -1), axis=1)
    # What lies at place i when step i begins is what step put[i] moved there: follow that to its origin.
    origin = jnp.where(put >= 0, put, step)
    for _ in range(max(count - 1, 1).bit_length()):
        origin = origin[origin]
    return passes, jnp.where(found >= 0, origin[jnp.maximum(found, 0)], target) - begin
