"""Ten million leaves: where adjusted sums drift, 24 bits are too few and zero leaves get drawn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from oracle.tree import sums, words

from jaxbuffers.numerics import sum_tree

LEAVES, BLOCK, TURNS = 10_000_000, 1000, 1000
CHUNK = 250_000
ONES = 2**48 - 1
# Long, for its size; the tree of 100,000 leaves in test_sum_tree.py has more targets than a float32 can tell apart.
pytestmark = pytest.mark.long
pick = quick_jit(lambda tree, high, low, stratified: sum_tree.draw(tree, high, low, stratified)[0], static_argnums=3)


def drawn(levels, bits, stratified=False):
    """Leaves for the given bits, in chunks of one size."""
    bits = np.asarray(bits, np.int64)
    padded = np.resize(bits, -(-len(bits) // CHUNK) * CHUNK).reshape(-1, CHUNK)
    leaves = [np.asarray(pick(levels, *words(chunk), stratified)) for chunk in padded]
    return np.concatenate(leaves)[: len(bits)].astype(np.int64)


def random_update(levels, key):
    """Replace 1000 leaves; two fifths become zero, the others lie some 14 decades apart."""
    place, size, zero = jax.random.split(key, 3)
    leaf = jax.random.randint(place, (BLOCK,), 0, LEAVES).astype(jnp.uint32)
    weight = jnp.exp(5 * jax.random.normal(size, (BLOCK,), jnp.float32))
    weight = jnp.where(jax.random.bernoulli(zero, 0.4, (BLOCK,)), 0, weight)
    return sum_tree.refresh(sum_tree.write(levels, leaf, weight), leaf), None


@functools.cache
def updated():
    """A tree after a million random updates, and its leaves."""
    keys = jax.random.split(jax.random.key(0), TURNS)
    run = quick_jit(lambda keys: jax.lax.scan(random_update, sum_tree.init(LEAVES), keys)[0])
    levels = jax.block_until_ready(run(keys))
    return levels, np.asarray(levels[0])


@functools.cache
def even():
    """A tree of ones, written in one piece."""
    levels, _ = sums(np.ones(LEAVES, np.float32))
    empty = sum_tree.init(LEAVES)
    grown = [np.pad(level, (0, len(like) - len(level))) for level, like in zip(levels, empty[1:], strict=True)]
    return (jnp.ones(LEAVES, jnp.float32), *map(jnp.asarray, grown))


def test_a_million_updates_leave_no_drift():
    levels, leaves = updated()
    assert 5e5 < np.count_nonzero(leaves) < 6e5
    assert np.ptp(np.log10(leaves[leaves > 0])) > 15
    above, root = sums(leaves)
    for level, want in zip(levels[1:], above, strict=True):
        np.testing.assert_array_equal(level[: len(want)], want)
    got = float(sum_tree.total(levels))
    assert got == root
    # 15 rounded additions a level, each off by at most 2**-24 of its result; nothing is negative, so errors
    # stay in proportion however many updates there were. Adjusting parents by differences gives no such bound.
    exact = leaves.sum(dtype=np.float64)
    assert abs(got - exact) <= ((1 + 2.0**-24) ** (15 * len(levels)) - 1) * exact
    assert abs(got - exact) < 2.0**-21 * exact  # and in fact they hardly add up


@pytest.mark.parametrize("stratified", [False, True])
def test_no_zero_leaf_is_ever_drawn(stratified):
    levels, leaves = updated()
    rng = np.random.default_rng(1)
    for _ in range(4):  # a million draws in all, of each kind
        assert (leaves[drawn(levels, rng.integers(0, 2**48, CHUNK), stratified)] > 0).all()
    for extreme in (0, ONES):
        assert (leaves[drawn(levels, np.full(CHUNK, extreme), stratified)] > 0).all()


def test_no_zero_leaf_is_drawn_by_targets_at_the_edges_of_nodes():
    levels, leaves = updated()
    root = np.float64(sum_tree.total(levels))
    edges = [np.cumsum(np.asarray(level, np.float64)) / root for level in levels[2:]]  # some 40,000 nodes
    edges.append(np.cumsum(leaves[leaves > 0].astype(np.float64))[::3] / root)
    near = np.concatenate(edges)[:, None] * 2**48 + np.array([-1, 0, 1, 2**24])
    assert near.size > 800_000
    assert (leaves[drawn(levels, np.clip(near.astype(np.int64).reshape(-1), 0, ONES))] > 0).all()


def test_equal_weights_are_drawn_exactly_evenly():
    # Leaf k must hold the targets from k / n to (k + 1) / n: the first and the last bits of each give k.
    levels = even()
    assert sum_tree.total(levels) == LEAVES
    rng = np.random.default_rng(2)
    leaf = np.concatenate([[0, 1, LEAVES - 1], rng.integers(0, LEAVES, CHUNK - 3)])
    slack = 2**8  # of the 2.8e7 targets that each leaf has: where 2**-40 of the line is lost at an edge
    first = np.array([-(-(k << 48) // LEAVES) for k in leaf.tolist()]) + slack
    last = np.array([-(-((k + 1) << 48) // LEAVES) - 1 for k in leaf.tolist()]) - slack
    for bits in (first, last):
        np.testing.assert_array_equal(drawn(levels, bits), leaf)
    # Cut to the 24 bits that a float32 target holds, the first ones belong to the leaf before.
    assert np.mean(drawn(levels, first >> 24 << 24) == leaf) < 0.01
    # However they are spread, 2**24 targets for 1e7 leaves give some two and others one.
    place, counted = np.unique(np.arange(2**24) * LEAVES >> 24, return_counts=True)
    assert len(place) == LEAVES
    assert set(counted.tolist()) == {1, 2}


def test_strata_of_equal_leaves_are_their_own():
    # 250,000 strata of 40 leaves each: the first and last bits give the first and last of them.
    levels, begin = even(), np.arange(CHUNK) * 40
    np.testing.assert_array_equal(drawn(levels, np.full(CHUNK, 2**30), True), begin)
    np.testing.assert_array_equal(drawn(levels, np.full(CHUNK, ONES - 2**30), True), begin + 39)
    inside = drawn(levels, np.random.default_rng(3).integers(0, 2**48, CHUNK), True)
    assert (inside // 40 == np.arange(CHUNK)).all()


def test_strata_that_no_float32_can_hold_are_exact():
    batch = 249_989  # a prime: neither a stratum nor its edges are float32 numbers
    bits = np.random.default_rng(4).integers(0, 2**48, batch)
    got = np.asarray(pick(even(), *words(bits), True)).astype(np.int64)
    want = [((i << 48) + u) * LEAVES // (batch << 48) for i, u in enumerate(bits.tolist())]
    np.testing.assert_array_equal(got, want)
