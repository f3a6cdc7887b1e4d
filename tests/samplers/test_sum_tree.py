"""The sum tree: sums bit for bit as if added up anew, draws as if the line were cut by hand.

Draws are mostly checked with chosen bits instead of random ones: a grid of targets says exactly how
much of the line each leaf holds, and needs no statistics.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from oracle.tree import inverse, sums, words
from tier import long_but

from jaxbuffers.numerics import sum_tree
from jaxbuffers.numerics.random_bits import bits64

LEAVES = [1, 15, 16, 17, 255, 256, 257, 4097]
SIZES = long_but(LEAVES, quick=[2, 3, 7])
TWO_LEVELS = long_but(LEAVES, quick=[3])  # sums and inverses are exact for all SIZES, by other tests
MANY_LEVELS = long_but(LEAVES, quick=[7])
ONES, GRID = 2**48 - 1, 2**20


def update(levels, leaf, weight):
    return sum_tree.refresh(sum_tree.write(levels, leaf, weight), leaf)


set_leaves, clear_leaves = quick_jit(update), quick_jit(lambda t, x: sum_tree.refresh(sum_tree.clear(t, x), x))
pick = quick_jit(lambda tree, high, low, stratified: sum_tree.draw(tree, high, low, stratified)[0], static_argnums=3)
total = quick_jit(sum_tree.total)


def tree_of(weights):
    """A tree with these leaves, by one update of all."""
    weights = np.asarray(weights, np.float32)
    return set_leaves(sum_tree.init(len(weights)), np.arange(len(weights), dtype=np.uint32), weights)


def drawn(levels, bits, stratified=False):
    return np.asarray(pick(levels, *words(bits), stratified)).astype(np.int64)


def random_weights(rng, size, zeros=0.3):
    """Over some 12 decades, and many zeros."""
    weights = np.exp(rng.normal(0, 5, size)).astype(np.float32)
    return np.where(rng.random(size) < zeros, np.float32(0), weights)


def assert_sums(levels, leaves):
    """The tree holds these leaves and their sums, bit for bit, and zeros where it is only padding."""
    above, root = sums(leaves)
    for level, want in zip(levels, [leaves, *above], strict=True):
        assert level.dtype == np.float32
        np.testing.assert_array_equal(level[: len(want)], want)
        assert not np.any(level[len(want) :])
    assert total(levels) == root


@pytest.mark.parametrize("batch", [1, 5, 300])
@pytest.mark.parametrize("size", SIZES)
def test_sums_are_those_of_the_leaves_bit_for_bit_after_any_updates(size, batch):
    rng = np.random.default_rng(size * batch)
    leaves, levels = np.zeros(size, np.float32), sum_tree.init(size)
    assert_sums(levels, leaves)
    for turn in range(12):
        beyond = rng.choice(np.array([len(levels[0]), len(levels[0]) + 7, 2**31, 2**32 - 1], np.uint32), batch)
        leaf = np.where(rng.random(batch) < 0.2, beyond, rng.integers(0, size, batch, np.uint32))
        inside = leaf < size
        if turn % 4 == 3:
            levels = clear_leaves(levels, leaf)
            leaves[leaf[inside]] = 0
        else:
            weight = random_weights(rng, batch)
            levels = set_leaves(levels, leaf, weight)
            leaves[leaf[inside]] = 0
            np.maximum.at(leaves, leaf[inside], weight[inside])  # of several for one leaf the largest
        assert_sums(levels, leaves)


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_can_be_built_of_given_weights(size):
    weights = random_weights(np.random.default_rng(size), size)
    assert_sums(quick_jit(sum_tree.of)(weights), weights)


@pytest.mark.parametrize("batch, walked", [(1, 3), (2, 2), (16, 2), (17, 1), (256, 1), (257, 0)])
def test_a_level_is_added_up_whole_where_it_has_no_more_nodes_than_there_are_leaves_to_refresh(batch, walked):
    levels, leaf = sum_tree.init(4097), jnp.zeros(batch, jnp.uint32)  # 257, 17 and 2 nodes lie above the leaves
    assert jax.jit(sum_tree.refresh).lower(levels, leaf).as_text().count("slice_sizes = array<i64: 16>") == walked


@pytest.mark.parametrize("batch", long_but([1, 2, 16], quick=[0, 2]))
@pytest.mark.parametrize("size", SIZES)
def test_leaves_beyond_the_last_one_are_dropped(size, batch):
    levels = tree_of(random_weights(np.random.default_rng(size), size))
    end = len(levels[0])
    for beyond in (end, end + 1, end + 15, end + 16, 16 * end, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1):
        leaf = np.full(batch, beyond, np.uint32)
        for got in (set_leaves(levels, leaf, np.full(batch, 5, np.float32)), clear_leaves(levels, leaf)):
            jax.tree.map(np.testing.assert_array_equal, got, levels)


def test_of_several_weights_for_one_leaf_the_largest_stays_in_any_order():
    weights = np.array([0.5, 0.25, 2.0, 0.0], np.float32)
    levels = tree_of(np.full(40, 9.0))
    want = np.full(40, 9.0, np.float32)
    want[[3, 39]] = 2.0, 0.5
    for order in itertools.permutations(range(4)):
        leaf, weight = np.array([3, 3, 3, 3, 39, 39], np.uint32), np.append(weights[[*order]], np.float32([0.5, 0.5]))
        assert_sums(set_leaves(levels, leaf, weight), want)


@pytest.mark.parametrize("size", TWO_LEVELS)
def test_an_empty_tree_gives_some_leaf_and_an_emptied_one_sums_to_zero(size):
    rng = np.random.default_rng(size)
    full = tree_of(random_weights(rng, size, zeros=0) * np.float32(1e-3))
    for levels in (sum_tree.init(size), clear_leaves(full, np.arange(size, dtype=np.uint32))):
        assert total(levels) == 0
        for stratified in (False, True):
            assert (drawn(levels, [0, 1, ONES // 3, ONES], stratified) < size).all()


def grid(levels, count, chunk=2**18):
    """How many of ``count`` evenly spaced targets each leaf gets: its share of the line."""
    found = np.zeros(len(levels[0]), np.int64)
    for begin in range(0, count, chunk):
        place = np.arange(begin, min(begin + chunk, count), dtype=np.float64)
        leaf = drawn(levels, ((place + 0.5) * (2**48 / count)).astype(np.int64))
        found += np.bincount(leaf, minlength=len(found))
    return found


@pytest.mark.parametrize("size", TWO_LEVELS)
def test_each_leaf_holds_its_share_of_the_line(size):
    weights = random_weights(np.random.default_rng(size + 1), size)
    weights[-1] = 1
    want = GRID * weights.astype(np.float64) / weights.sum(dtype=np.float64)
    got = grid(tree_of(weights), GRID)
    # A grid of even spacing puts n or n + 1 points on any piece of n spacings; the sums round by less than one more.
    assert np.abs(got[:size] - want).max() < 2
    assert not got[:size][weights == 0].any()
    assert not got[size:].any()


@pytest.mark.parametrize("size", long_but([*LEAVES, 100_000], quick=[2, 3, 7]))
def test_draws_are_the_exact_inverse_of_the_running_sum(size):
    rng = np.random.default_rng(size + 2)
    # Whole numbers with sums below 2**24, which float32 adds up exactly.
    weights = np.where(rng.random(size) < 0.3, 0, rng.integers(1, 100, size))
    weights[size // 2] = 7
    levels, bits = tree_of(weights), rng.integers(0, 2**48, 20_000)
    np.testing.assert_array_equal(drawn(levels, bits), inverse(weights, bits))
    for batch in (7,) if size < 4097 else (256, 1000):
        np.testing.assert_array_equal(
            drawn(levels, bits[:batch], True), inverse(weights, bits[:batch], np.arange(batch), batch)
        )


@pytest.mark.parametrize("total_bits", long_but([0, 4, 5, 12], quick=[0, 2]))
def test_a_target_on_a_boundary_belongs_to_the_leaf_that_begins_there(total_bits):
    # Sums that are powers of two make every boundary a target; between the ones lie runs of zeros.
    rng = np.random.default_rng(total_bits)
    ones = 2**total_bits
    weights = np.zeros(3 * ones + 20)
    place = np.sort(rng.choice(len(weights), ones, replace=False))
    weights[place] = 1
    levels, number = tree_of(weights), np.arange(ones)
    begin = number << (48 - total_bits)
    np.testing.assert_array_equal(drawn(levels, begin), place)
    np.testing.assert_array_equal(drawn(levels, begin + (1 << (48 - total_bits)) - 1), place)
    # Stratified, all bits zero is where the stratum begins, all bits one the last target inside.
    np.testing.assert_array_equal(drawn(levels, np.zeros(ones, np.int64), True), place)
    np.testing.assert_array_equal(drawn(levels, np.full(ones, ONES), True), place)


@pytest.mark.parametrize("size", MANY_LEVELS)
def test_zero_leaves_have_no_room_even_at_the_edges_of_rounded_sums(size):
    rng = np.random.default_rng(size + 3)
    for zeros in (0.3, 0.95):
        weights = random_weights(rng, size, zeros)
        weights[rng.integers(size)] = 1e-9
        levels = tree_of(weights)
        ends = np.cumsum(weights.astype(np.float64))
        edges = (ends / ends[-1] * 2**48).astype(np.int64)
        above, root = sums(weights)
        edges = np.concatenate([edges, *((np.cumsum(x) / np.float64(root) * 2**48).astype(np.int64) for x in above)])
        near = edges[:, None] + np.array([-(2**25), -(2**24), -3, -2, -1, 0, 1, 2, 3, 2**24, 2**25])
        bits = np.concatenate([np.clip(near.reshape(-1), 0, ONES), [0, ONES]])
        assert (weights[drawn(levels, np.resize(bits, 4096 * 12 if size > 300 else 4096))] > 0).all()
        for batch in (3, 1000):
            for extreme in (0, 1, ONES - 1, ONES):
                leaf = drawn(levels, np.full(batch, extreme), True)
                assert (weights[leaf] > 0).all()


@pytest.mark.parametrize("batch", long_but([1, 3, 256, 4095], quick=[1, 3]))
def test_a_stratified_draw_stays_in_its_stratum(batch):
    rng = np.random.default_rng(batch)
    weights = np.where(rng.random(4097) < 0.3, 0, rng.integers(1, 100, 4097)).astype(np.int64)
    ends, share = np.cumsum(weights), np.arange(batch + 1) * (weights.sum() / batch)
    slack = weights.sum() * 2.0**-44
    for bits in (np.zeros(batch, np.int64), np.full(batch, ONES), rng.integers(0, 2**48, batch)):
        leaf = drawn(tree_of(weights), bits, True)
        assert (np.diff(leaf) >= 0).all()
        assert (ends[leaf] >= share[:-1] - slack).all()
        assert (ends[leaf] - weights[leaf] <= share[1:] + slack).all()


@pytest.mark.parametrize("scale", long_but([1e-30, 2.0**-100, 1e33], quick=[0, 2]))
def test_weights_of_any_size_are_drawn_alike(scale):
    weights = np.random.default_rng(0).integers(0, 9, 257)
    bits = np.random.default_rng(1).integers(0, 2**48, 20_000)
    for power in (np.float32(scale), np.float32(1)):
        levels = tree_of(weights * power)
        assert 0 < total(levels) < np.inf
        counts = np.bincount(drawn(levels, bits), minlength=272)[:257]
        assert not counts[weights == 0].any()
        other = np.bincount(inverse(weights, bits), minlength=257)
        assert np.abs(counts - other).sum() <= 2


def test_weights_too_small_to_add_up_break_nothing():
    # Below 1.2e-38 a processor may take a number for zero.
    tiny = np.array([0, 1e-45, 0, 1e-40, 0, 1.2e-38, 0] * 40, np.float32)
    bits = np.append(np.random.default_rng(2).integers(0, 2**48, 4094), [0, ONES])
    for weights in (tiny, np.where(np.arange(280) == 137, np.float32(3e-38), tiny), tiny[:5]):
        for stratified in (False, True):
            leaf = drawn(tree_of(weights), bits, stratified)
            assert (leaf < len(weights)).all()
            assert (weights[leaf] > 0).all() or weights.max() < 1e-37
    alone = np.where(np.arange(280) == 137, np.float32(1), tiny)
    assert set(drawn(tree_of(alone), np.maximum(bits, 1))) == {137}


def test_a_target_is_kept_inside_by_one_step_of_a_float():
    number = np.array([0, 1e-45, 3e-45, 2.0**-126, 1, 3e38], np.float32)
    got = np.asarray(sum_tree._before(jnp.asarray(number)))
    np.testing.assert_array_equal(got.view(np.uint32), np.nextafter(number, np.float32(0)).view(np.uint32))


def test_trees_can_be_mapped_and_scanned():
    rng = np.random.default_rng(3)
    leaf, weight = rng.integers(0, 300, (4, 9), np.uint32), random_weights(rng, (4, 9))
    stacked = jax.tree.map(lambda x: jnp.stack([x] * 4), sum_tree.init(300))
    mapped = quick_jit(jax.vmap(update))(stacked, leaf, weight)
    bits = words(rng.integers(0, 2**48, (4, 32)))
    got = quick_jit(jax.vmap(lambda t, h, w: sum_tree.draw(t, h, w, True)[0]))(mapped, *bits)
    for i in range(4):
        one = set_leaves(sum_tree.init(300), leaf[i], weight[i])
        jax.tree.map(lambda x, y, i=i: np.testing.assert_array_equal(x[i], y), mapped, one)
        np.testing.assert_array_equal(got[i], pick(one, bits[0][i], bits[1][i], True))
    scan = quick_jit(lambda t, x: jax.lax.scan(lambda t, x: (update(t, *x), None), t, x)[0])
    want = np.zeros(300, np.float32)
    for row, value in zip(leaf, weight, strict=True):
        want[row] = 0
        np.maximum.at(want, row, value)
    assert_sums(scan(sum_tree.init(300), (leaf, weight)), want)


def test_draws_come_with_their_weights():
    for weights in (np.float32([0, 3, 0, 1e-30, 2e20, 7] * 50), np.zeros(40, np.float32)):
        tree = quick_jit(sum_tree.of)(weights)
        leaf, weight = quick_jit(sum_tree.draw, static_argnums=3)(tree, *bits64(jax.random.key(0), 500), False)
        np.testing.assert_array_equal(weight, np.asarray(tree[0])[leaf])
