"""A sum tree: draw one of millions of weights in proportion, change any of them, O(log n) each.

Each node is the sum of its 16 children, added up from left to right: parents are recomputed from
their children and never adjusted by differences, so rounding errors do not pile up, however many
updates there were. A draw walks down by the same running sums, which is why it can tell exactly
where each child begins: a child of weight zero has no room between two of them, and is never drawn.
Levels are flat one-dimensional arrays (``docs/decisions/0005-sum-tree.md``).
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxbuffers.numerics.double_float import Double, add_float, fraction, multiply_finite, quotient
from jaxbuffers.numerics.fan_out import FAN_OUT, padded, parents, sixteen
from jaxbuffers.numerics.materialize import after, materialize, materialize_pair, put

Levels = tuple[jax.Array, ...]  # float32 [n], [n / 16], ..., [16]: leaves first, each padded to a multiple of 16


def init(leaves: int) -> Levels:
    """Allocate a tree of ``leaves`` zeros."""
    sizes = [padded(leaves), *parents(padded(leaves))]
    return tuple(jnp.zeros(size, jnp.float32) for size in sizes)


def of(weight: jax.Array) -> Levels:
    """Build the tree of given weights, float32 ``[n]``, finite and not negative: O(n)."""
    levels = init(len(weight))
    leaves = jnp.pad(weight, (0, len(levels[0]) - len(weight)))
    return refresh((leaves, *levels[1:]), lax.iota(jnp.uint32, len(leaves)))


def total(levels: Levels) -> jax.Array:
    """Return the sum of all leaves: float32 ``[]``."""
    return _running(_children(levels[-1], jnp.zeros((1,), jnp.uint32)))[-1][0]


def write(levels: Levels, leaf: jax.Array, weight: jax.Array) -> Levels:
    """Replace leaves, without their sums: see `refresh`.

    Args:
      levels: the tree.
      leaf: uint32 ``[K]``; those beyond the last leaf and its padding are dropped. Of several weights for the same
        leaf the largest stays, in whatever order the hardware writes them.
      weight: float32 ``[K]``, finite and not negative.
    """
    leaf = after(leaf, levels[-1])  # which a refresh works out last
    cleared = levels[0].at[leaf].set(jnp.zeros_like(weight), mode="drop")
    return (cleared.at[leaf].max(weight, mode="drop"), *levels[1:])


def clear(levels: Levels, leaf: jax.Array) -> Levels:
    """Set leaves, uint32 ``[K]``, to zero, without their sums: see `refresh`."""
    leaf = after(leaf, levels[-1])
    return (levels[0].at[leaf].set(jnp.zeros(leaf.shape, jnp.float32), mode="drop"), *levels[1:])


def refresh(levels: Levels, leaf: jax.Array) -> Levels:
    """Recompute every sum above the given leaves, uint32 ``[K]``; those beyond the last leaf are dropped."""
    fresh, node, exists = [levels[0]], leaf, leaf < len(levels[0])
    for level in levels[1:]:
        node = node // FAN_OUT
        if len(fresh[-1]) // FAN_OUT <= len(leaf):  # so few nodes that all of them are cheaper than some
            sums = _running([fresh[-1][i::FAN_OUT] for i in range(FAN_OUT)])[-1]
            fresh.append(jnp.pad(sums, (0, len(level) - len(sums))))
        else:
            sums = _running(_children(fresh[-1], jnp.where(exists, node, 0)))[-1]
            fresh.append(put(level, jnp.where(exists, node, len(level)), sums))
    return (*fresh[:-1], materialize(fresh[-1]))


def draw(levels: Levels, high: jax.Array, low: jax.Array, stratified: bool) -> tuple[jax.Array, jax.Array]:
    """Draw leaves in proportion to their weights: uint32 ``[B]``, and their weights; any leaf if all are zero.

    Args:
      levels: the tree.
      high: uint32 ``[B]``, random bits.
      low: uint32 ``[B]``, further ones.
      stratified: draw the i-th from the i-th of B equal shares of the total weight.
    """
    count, root = len(high), total(levels)
    target = fraction(high, low)
    if stratified:
        target = add_float(target, lax.iota(jnp.float32, count))
    target = multiply_finite(target, quotient(root, count if stratified else 1))
    node = jnp.zeros((count,), jnp.uint32)
    room = jnp.broadcast_to(root, (count,))
    for level in reversed(levels):
        # Rounding may have moved the target out of the node: keep it just inside.
        inside = target.below(room)
        target = Double(
            *materialize_pair(jnp.where(inside, target.high, _before(room)), jnp.where(inside, target.low, 0.0))
        )
        # A float is above the target exactly if it is above this one. In an empty tree no child has room, and the
        # first is as good as any.
        floor = jnp.where(target.low < 0, _before(target.high), target.high)
        floor = jnp.where(root <= 0, jnp.float32(-1), floor)
        weights = _children(level, node)
        child, begin = jnp.zeros((count,), jnp.uint32), jnp.zeros((count,), jnp.float32)
        room = weights[0]
        for end, weight in zip(_running(weights[:-1]), weights[1:], strict=True):
            beyond = end <= floor
            child, begin = child + beyond.astype(jnp.uint32), lax.select(beyond, end, begin)
            room = lax.select(beyond, weight, room)
        target, node = add_float(target, -begin), materialize(node * FAN_OUT + child)
    return node, materialize(room)


def _children(level: jax.Array, node: jax.Array) -> list[jax.Array]:
    """Return the 16 children of each node ``[K]``, as 16 arrays ``[K]``."""
    return sixteen(level, node * FAN_OUT)


def _running(weights: list[jax.Array]) -> list[jax.Array]:
    ends = weights[:1]
    for weight in weights[1:]:
        ends.append(ends[-1] + weight)
    return ends


def _before(number: jax.Array) -> jax.Array:
    """Return the float32 just below a positive one; zero for zero."""
    bits = lax.bitcast_convert_type(number, jnp.uint32)
    return lax.bitcast_convert_type(jnp.maximum(bits, 1) - 1, jnp.float32)
