"""Boxes: which part of an array is meant, as ``(start, stop)`` along each axis."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxbuffers.checkpoint.leaves import to_host

Box = tuple[tuple[int, int], ...]


def box_of(index: tuple[slice, ...], shape: tuple[int, ...]) -> Box:
    """Return the box of an index of slices, as JAX has it for a shard; that of keys may have their words, too.

    >>> box_of((slice(None), slice(2, 4)), (3, 8))
    ((0, 3), (2, 4))
    """
    return tuple(each.indices(size)[:2] for each, size in zip(index, shape, strict=False))


def slices(box: Box, within: Box | None = None) -> tuple[slice, ...]:
    """Return the index of a box in an array, or in the part of it that is ``within`` a box."""
    starts = (0,) * len(box) if within is None else (start for start, _ in within)
    return tuple(slice(start - first, stop - first) for (start, stop), first in zip(box, starts, strict=True))


def common(one: Box, other: Box) -> Box | None:
    """Return what is in both; None if nothing is.

    >>> common(((0, 4),), ((2, 8),)), common(((0, 2),), ((2, 8),))
    (((2, 4),), None)
    """
    both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return both if all(start < stop for start, stop in both) else None


def size_of(box: Box) -> tuple[int, ...]:
    """Return the shape of a box."""
    return tuple(stop - start for start, stop in box)


def whole(shape: Sequence[int]) -> Box:
    """Return the box of all of an array."""
    return tuple((0, size) for size in shape)


def covered(shape: Sequence[int], boxes: Sequence[Box]) -> bool:
    """Say whether boxes make up an array: each element is in exactly one of them.

    >>> covered((4,), [((0, 2),), ((2, 4),)]), covered((4,), [((0, 3),), ((2, 4),)]), covered((4,), [((0, 2),)])
    (True, False, False)
    """
    if any(not 0 <= start <= stop <= size for box in boxes for (start, stop), size in zip(box, shape, strict=True)):
        return False
    cuts = [
        {edge: i for i, edge in enumerate(sorted({0, size, *(edge for box in boxes for edge in box[axis])}))}
        for axis, size in enumerate(shape)
        if size
    ]
    if len(cuts) < len(shape):  # it has no elements
        return True
    times = np.zeros([len(each) - 1 for each in cuts], np.int64)  # of each cell between neighbouring cuts
    for box in boxes:
        times[tuple(slice(each[a], each[b]) for each, (a, b) in zip(cuts, box, strict=True))] += 1
    return bool((times == 1).all())


def own_pieces(leaf: jax.Array, copy: bool) -> list[tuple[Box, np.ndarray]]:
    """Return what this process has to save of an array on several: of each part, the first of its replicas saves it.

    Args:
      leaf: an array, or an array of keys, whose pieces are their key data.
      copy: whether the array may be donated before the pieces are written.
    """
    return [(box_of(each.index, leaf.shape), to_host(each.data, copy)) for each in own_shards(leaf)]


def own_shards(leaf: jax.Array) -> list[Any]:
    """Return the shards of an array that this process saves."""
    return [each for each in leaf.addressable_shards if each.replica_id == 0]
