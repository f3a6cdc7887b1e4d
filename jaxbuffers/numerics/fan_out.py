"""What trees whose nodes have 16 children have in common: the sizes of their levels, and reading all children at once.

Levels are flat one-dimensional arrays, the children of a node side by side (``docs/decisions/0005-sum-tree.md``).
"""

import jax
from jax import lax

FAN_OUT = 16


def padded(size: int) -> int:
    """Round up to a multiple of 16."""
    return -(-size // FAN_OUT) * FAN_OUT


def parents(nodes: int) -> list[int]:
    """Return how many nodes the levels above have, each a multiple of 16, up to the one that has 16."""
    sizes = [nodes]
    while sizes[-1] > FAN_OUT:
        sizes.append(padded(-(-sizes[-1] // FAN_OUT)))
    return sizes[1:]


def sixteen(level: jax.Array, first: jax.Array) -> list[jax.Array]:
    """Return the entries at ``first`` ``[K]`` and the 15 after it, as 16 arrays ``[K]``: one gather of whole lines."""
    window = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(), start_index_map=(0,))
    place = first[:, None].astype("int32")
    entries = lax.gather(level, place, window, (FAN_OUT,), mode="promise_in_bounds")
    return [lax.index_in_dim(entries, i, 1, keepdims=False) for i in range(FAN_OUT)]
