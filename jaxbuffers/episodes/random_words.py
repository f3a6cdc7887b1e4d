"""Random integers on the host: the same from the same seed, on every machine and with every NumPy.

NumPy keeps the streams of its bit generators as they are, but not what `numpy.random.Generator` makes of them. So the
bits are taken as they come, and scaled here in integers.
"""

from collections.abc import Sequence

import jax
import numpy as np


def words(seed: Sequence[int], count: int) -> np.ndarray:
    """Return ``count`` random words of 64 bits: uint64 ``[count]``."""
    return np.random.Philox(np.random.SeedSequence(list(seed))).random_raw(count)


def seed_of(key: jax.Array) -> tuple[int, ...]:
    """Return the words of a PRNG key of JAX. The draws of a store take another generator than those of JAX with it."""
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def fraction_of(total: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Return ``floor(u * total / 2**64)`` for 64 random bits ``u``: int64, below ``total``, which is at most 2**63 - 1.

    Two values differ in probability by less than ``total / 2**64`` of it.
    """
    half, low = np.uint64(32), np.uint64(2**32 - 1)
    total = total.astype(np.uint64)
    u1, u0, t1, t0 = random >> half, random & low, total >> half, total & low
    middle = u1 * t0 + (u0 * t0 >> half)  # below 2**64: (2**32 - 1) * 2**32
    carry = (middle & low) + u0 * t1
    return (u1 * t1 + (middle >> half) + (carry >> half)).astype(np.int64)
