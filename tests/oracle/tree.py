"""What a sum tree must hold and what it must draw, without a tree."""

import numpy as np

FAN_OUT = 16


def sums(leaves):
    """Every level above the leaves, each node its 16 children added up from left to right in float32, and the root."""
    levels, below = [], np.asarray(leaves, np.float32)
    while True:
        whole = np.zeros(-(-len(below) // FAN_OUT) * FAN_OUT, np.float32)
        whole[: len(below)] = below
        node = whole[0::FAN_OUT].copy()
        for child in range(1, FAN_OUT):
            node = node + whole[child::FAN_OUT]
        if len(node) == 1:
            return levels, node[0]
        levels.append(node)
        below = node


def inverse(weights, bits, stratum=0, strata=1):
    """The leaf in which ``(stratum + bits / 2**48) / strata`` of the total lies, in whole numbers.

    ``weights`` are whole numbers; ``bits`` a sequence of Python ints below 2**48.
    """
    ends = np.cumsum(np.asarray(weights, np.int64))
    places = np.broadcast_to(stratum, np.shape(bits)).tolist()
    total = int(ends[-1])
    targets = [((i << 48) + int(u)) * total // (strata << 48) for i, u in zip(places, bits, strict=True)]
    return np.searchsorted(ends, targets, side="right")


def words(bits):
    """The two uint32 whose 48 leading bits are ``bits``, int64 below 2**48."""
    bits = np.asarray(bits, np.int64)
    return (bits >> 16).astype(np.uint32), ((bits & 0xFFFF) << 16).astype(np.uint32)
