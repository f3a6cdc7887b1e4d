"""A tree of counts: every leaf in one of a few groups or in none; find the k-th leaf of a group, move any leaf.

Counts are whole numbers, which addition and subtraction keep exact, so a move adjusts the counts
above its leaf by one: O(log n), however many groups there are. The counts of one group lie
together, 16 nodes of a parent side by side.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from jaxbuffers.numerics.fan_out import FAN_OUT, padded, parents, sixteen
from jaxbuffers.numerics.materialize import materialize

NOWHERE = 0xFFFFFFFF  # an address beyond every leaf


@struct.dataclass
class CountTree:
    """Which group each leaf is in, and how many leaves of each group lie below each node.

    Attributes:
      group: int32 ``[n]``, -1 for none; padded to a multiple of 16.
      counts: int32 ``[G * nodes]``, one array a level, from the parents of the leaves up.
    """

    group: jax.Array
    counts: tuple[jax.Array, ...]


def init(leaves: int, groups: int) -> CountTree:
    """Allocate a tree of leaves that are in no group."""
    # Even a single line of leaves has a parent: the root's counts are the sizes of the groups.
    sizes = parents(padded(leaves)) or [FAN_OUT]
    return CountTree(
        group=jnp.full(padded(leaves), -1, jnp.int32),
        counts=tuple(jnp.zeros(size * groups, jnp.int32) for size in sizes),
    )


def sizes(tree: CountTree) -> jax.Array:
    """Count the leaves of each group: int32 ``[G]``."""
    return jnp.sum(tree.counts[-1].reshape(-1, FAN_OUT), axis=1, dtype=jnp.int32)


def group_at(tree: CountTree, leaf: jax.Array) -> jax.Array:
    """Return the group of each leaf ``[K]``, -1 for none and for those beyond the last."""
    # Once: fused into the place of a later write it would be a read that may come after it, and copy the leaves.
    return materialize(tree.group.at[leaf].get(mode="fill", fill_value=-1))


def move(
    tree: CountTree, leaf: jax.Array, to: jax.Array, precedence: jax.Array | None = None
) -> tuple[CountTree, jax.Array]:
    """Move leaves to other groups.

    Args:
      tree: the tree.
      leaf: uint32 ``[K]``; those beyond the last leaf are dropped.
      to: int32 ``[K]``, the group, or -1 for none.
      precedence: int32 ``[K]``, from 0 to G - 1; of several moves of one leaf only one counts, that of the
        highest precedence, and of these the last. None for all alike.

    Returns:
      The tree, and which of the K moves counted, bool ``[K]``.
    """
    leaf = materialize(leaf)
    before = group_at(tree, leaf)
    # 1. Of several moves of one leaf one counts: each leaf keeps the highest of the numbers written to it.
    number = lax.iota(jnp.int32, len(leaf))
    number = number if precedence is None else number + precedence * len(leaf)
    none = jnp.minimum(before, -1)  # reads before it writes, in this order: otherwise the leaves would be copied
    group = tree.group.at[leaf].set(none, mode="drop").at[leaf].max(number, mode="drop")
    counted = materialize(group.at[leaf].get(mode="fill", fill_value=-1)) == number
    # 2. The moves that count are written over that.
    winner = materialize(jnp.where(counted, leaf, jnp.uint32(NOWHERE)))
    group = group.at[winner].set(to, mode="drop")
    # 3. Above each of these leaves, the group it has left loses one and the group it has joined gains one.
    counts, node = [], winner
    for level in tree.counts:
        node = node // FAN_OUT
        for where, step in ((before, -1), (to, 1)):
            place = _place(level, sizes(tree).shape[0], where, node)
            real = counted & (where >= 0)
            level = level.at[jnp.where(real, place, jnp.uint32(NOWHERE))].add(jnp.int32(step), mode="drop")
        counts.append(level)
    return CountTree(group=group, counts=tuple(counts)), counted


def turn_over(tree: CountTree, gone: jax.Array, new: jax.Array, to: jax.Array) -> tuple[CountTree, jax.Array]:
    """Take leaves out of their groups and put new ones into groups; one that is both is new.

    Args:
      tree: the tree.
      gone: uint32 ``[K]``; those beyond the last leaf are dropped.
      new: uint32 ``[K]``, likewise.
      to: int32 ``[K]``, the groups of the new ones.

    Returns:
      The tree, and which of the new ones counted, bool ``[K]``: of several alike the last does.
    """
    # One move, as a second one would read the leaves that the first has written: of a single leaf, XLA may work that
    # write out once more for the read, and keep a copy of all leaves for it.
    both = jnp.concatenate([jnp.full(gone.shape, -1, jnp.int32), to])
    tree, counted = move(tree, jnp.concatenate([gone, new]), both)
    return tree, counted[len(gone) :]


def find(tree: CountTree, group: jax.Array, rank: jax.Array) -> jax.Array:
    """Return the leaf of the given rank (0 is the first) in its group: uint32 ``[K]``, some leaf if there is none."""
    groups, node = len(tree.counts[-1]) // FAN_OUT, jnp.zeros(rank.shape, jnp.uint32)
    for level in reversed(tree.counts):
        first = jnp.minimum(node * FAN_OUT, jnp.uint32(len(level) // groups - FAN_OUT))
        children = sixteen(level, _place(level, groups, group, first))
        node, rank = _descend(children, node, rank)
    children = sixteen(tree.group, jnp.minimum(node * FAN_OUT, jnp.uint32(len(tree.group) - FAN_OUT)))
    return _descend([(child == group).astype(jnp.int32) for child in children], node, rank)[0]


def _descend(children: list[jax.Array], node: jax.Array, rank: jax.Array) -> tuple[jax.Array, jax.Array]:
    end = begin = jnp.zeros_like(rank)
    child = jnp.zeros_like(node)
    for count in children[:-1]:
        end = end + count
        beyond = rank >= end
        child, begin = child + beyond.astype(jnp.uint32), jnp.where(beyond, end, begin)
    return materialize(node * FAN_OUT + child), materialize(rank - begin)


def _place(level: jax.Array, groups: int, group: jax.Array, node: jax.Array) -> jax.Array:
    nodes = len(level) // groups
    return jnp.maximum(group, 0).astype(jnp.uint32) * jnp.uint32(nodes) + jnp.minimum(node, jnp.uint32(nodes - 1))
