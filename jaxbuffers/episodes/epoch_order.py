"""The order of an epoch: the k-th of n windows, without listing them where there are many."""

from functools import lru_cache

import numpy as np

from jaxbuffers.episodes.random_words import words

LISTED = 2**20  # up to so many windows the order is a list, sorted by random words
ROUNDS = 6


def in_order(seed: int, epoch: int, count: int, place: np.ndarray) -> np.ndarray:
    """Return the numbers at these places of a random order of ``range(count)``: int64.

    Args:
      seed: not negative.
      epoch: not negative; with the seed it decides the order.
      count: how many numbers.
      place: int64 ``[n]``, below ``count``.
    """
    if count <= LISTED:
        return _listed(seed, epoch, count)[place]
    return _computed(words((seed, epoch), ROUNDS), count, place)


@lru_cache(maxsize=8)
def _listed(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.argsort(words((seed, epoch), count), kind="stable")


def _computed(keys: np.ndarray, count: int, place: np.ndarray) -> np.ndarray:
    """Encrypt the place: a Feistel network permutes ``range(2**(2 * half))``; what falls outside goes through again.

    Luby and Rackoff (1988) show that few rounds of good functions make a permutation that looks random; Black and
    Rogaway (2002) cut it down to any count by going round.
    """
    half = np.uint64(-(-(count - 1).bit_length() // 2))
    low = np.uint64(2 ** int(half) - 1)
    number = place.astype(np.uint64)
    outside = np.ones(len(number), np.bool_)
    while outside.any():
        left, right = number[outside] >> half, number[outside] & low
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & low)
        number[outside] = left << half | right
        outside = number >= count
    return number.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """Scatter 64 bits over 64 bits: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
