"""The tree of counts: after any moves it is what a dict from leaf to group says, and finds the k-th leaf of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from tier import long_but

from jaxbuffers.numerics import count_tree
from jaxbuffers.numerics.count_tree import FAN_OUT, NOWHERE

SIZES = [1, 15, 16, 17, 255, 256, 257, 4097]
move, find = quick_jit(count_tree.move), quick_jit(count_tree.find)
sizes, group_at = quick_jit(count_tree.sizes), quick_jit(count_tree.group_at)


def tree_of(groups, count):
    """A tree whose leaves are in these groups, by one move of all."""
    leaves = np.arange(len(groups), dtype=np.uint32)
    return move(count_tree.init(len(groups), count), leaves, np.asarray(groups, np.int32))[0]


def assert_holds(tree, want, count):
    """The tree says of each leaf, and of each node and group, what the leaves' groups ``want`` say."""
    np.testing.assert_array_equal(tree.group[: len(want)], want)
    assert (np.asarray(tree.group[len(want) :]) == -1).all()
    below = (want[None] == np.arange(count)[:, None]).astype(int)
    np.testing.assert_array_equal(sizes(tree), below.sum(axis=1))
    for level in tree.counts:
        level = np.asarray(level).reshape(count, -1)
        below = np.pad(below, [(0, 0), (0, -below.shape[1] % FAN_OUT)]).reshape(count, -1, FAN_OUT).sum(axis=2)
        np.testing.assert_array_equal(level[:, : below.shape[1]], below)
        assert not level[:, below.shape[1] :].any()
    assert below.shape[1] <= FAN_OUT


def play(rng, tree, want, count, batch, ranked):
    """Move random leaves, some twice, some that do not exist; return the tree after checking which moves counted."""
    beyond = rng.choice(np.array([len(tree.group), len(tree.group) + 5, 2**31, NOWHERE], np.uint32), batch)
    leaf = np.where(rng.random(batch) < 0.2, beyond, rng.integers(0, len(want), batch, np.uint32))
    to = rng.integers(-1, count, batch).astype(np.int32)
    precedence = rng.integers(0, count, batch).astype(np.int32) if ranked else None
    tree, counted = move(tree, leaf, to, precedence)
    rank = np.zeros(batch, int) if precedence is None else precedence
    best = {}
    for i, place in enumerate(leaf.tolist()):
        if place < len(want) and (place not in best or rank[i] >= rank[best[place]]):
            best[place] = i
    np.testing.assert_array_equal(np.flatnonzero(counted), sorted(best.values()))
    for place, i in best.items():
        want[place] = to[i]
    return tree


@pytest.mark.parametrize("batch, ranked", [(1, False), (9, True), (300, False)])
@pytest.mark.parametrize("size, count", long_but([*zip(SIZES, [1, 2, 97, 3, 2, 5, 1, 96], strict=True)], [0, 2, 7]))
def test_the_tree_is_what_a_dict_says_after_any_moves(size, count, batch, ranked):
    rng = np.random.default_rng([size, batch])
    tree, want = count_tree.init(size, count), np.full(size, -1)
    assert_holds(tree, want, count)
    for _ in range(12):
        tree = play(rng, tree, want, count, batch, ranked)
        assert_holds(tree, want, count)


@pytest.mark.parametrize("size", long_but([1, 16, 257], quick=[1]))
def test_what_leaves_and_what_is_new_are_one_move_in_which_the_new_wins(size):
    rng, turn_over = np.random.default_rng(size), quick_jit(count_tree.turn_over)
    tree, want = count_tree.init(size, 3), np.full(size, -1)
    for _ in range(20):
        gone, new = (np.where(rng.random(6) < 0.3, NOWHERE, rng.integers(0, size, 6)).astype(np.uint32) for _ in "ab")
        to = rng.integers(0, 3, 6).astype(np.int32)
        tree, counted = turn_over(tree, gone, new, to)
        want[gone[gone < size]] = -1
        want[new[new < size]] = to[new < size]  # NumPy keeps the last of several
        assert_holds(tree, want, 3)
        last = [i for i in range(6) if new[i] < size and new[i] not in new[i + 1 :]]
        np.testing.assert_array_equal(np.flatnonzero(counted), last)


@pytest.mark.parametrize("size", long_but(SIZES, quick=[0, 7]))
def test_find_gives_the_leaves_of_a_group_in_order(size):
    rng = np.random.default_rng(size)
    count = 5
    want = rng.choice([-1, 0, 1, 3, 4], size, p=[0.3, 0.4, 0.2, 0.05, 0.05])  # nothing in group 2
    want[[0, -1]] = 1, 0
    tree = tree_of(want, count)
    order = np.argsort(want, kind="stable")
    order = order[want[order] >= 0]
    group = want[order].astype(np.int32)
    rank = np.concatenate([np.arange(np.sum(group == g)) for g in range(count)]).astype(np.int32)
    shuffle = rng.permutation(len(order))
    np.testing.assert_array_equal(find(tree, group[shuffle], rank[shuffle]), order[shuffle])


@pytest.mark.parametrize("size", long_but(SIZES, quick=[0, 7]))
def test_find_stays_inside_its_arrays_where_there_is_no_such_leaf(size):
    # Nobody may use what it returns, but reading beyond an array is undefined where indices are promised.
    tree = tree_of(np.zeros(size, int), 3)
    seen = []

    def windows(level, first):
        seen.append((int(jnp.max(first)), len(level)))
        return original(level, first)

    original = count_tree.sixteen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(count_tree, "sixteen", windows)
        leaf = count_tree.find(tree, jnp.array([0, 1, 2], jnp.int32), jnp.array([size, 0, 7], jnp.int32))
    assert leaf.dtype == jnp.uint32
    assert all(first <= length - FAN_OUT for first, length in seen)


def test_a_move_of_every_leaf_and_back_leaves_no_trace():
    leaves = np.arange(300, dtype=np.uint32)
    tree = empty = count_tree.init(300, 4)
    for turn in range(5):
        tree, _ = move(tree, leaves, ((np.arange(300) + turn) % 4).astype(np.int32))
    np.testing.assert_array_equal(sizes(tree), [75] * 4)
    tree, counted = move(tree, leaves, np.full(300, -1, np.int32))
    assert counted.all()
    jax.tree.map(np.testing.assert_array_equal, tree, empty)


def test_a_move_to_where_a_leaf_is_already_counts_and_changes_nothing():
    tree = tree_of(np.array([0, 1, -1, 1]), 2)
    after, counted = move(tree, np.array([1, 2, 1], np.uint32), np.array([1, -1, 1], np.int32))
    np.testing.assert_array_equal(counted, [False, True, True])
    jax.tree.map(np.testing.assert_array_equal, after, tree)


def test_group_at_is_minus_one_for_none_and_beyond_the_last():
    tree = tree_of(np.array([2, -1, 0]), 3)
    leaf = np.array([0, 1, 2, 3, 15, 16, 2**31, NOWHERE], np.uint32)
    np.testing.assert_array_equal(group_at(tree, leaf), [2, -1, 0, -1, -1, -1, -1, -1])


@pytest.mark.long  # quick: samplers hold them in scans and under vmap
def test_trees_can_be_mapped_and_scanned():
    rng = np.random.default_rng(3)
    leaf, to = rng.integers(0, 300, (4, 9), np.uint32), rng.integers(-1, 3, (4, 9)).astype(np.int32)
    empty = count_tree.init(300, 3)
    mapped, counted = quick_jit(jax.vmap(count_tree.move, in_axes=(None, 0, 0)))(empty, leaf, to)
    for i in range(4):
        one, those = move(empty, leaf[i], to[i])
        jax.tree.map(lambda x, y, i=i: np.testing.assert_array_equal(x[i], y), mapped, one)
        np.testing.assert_array_equal(counted[i], those)
    scan = quick_jit(lambda t, x: jax.lax.scan(lambda t, x: count_tree.move(t, *x), t, x)[0])
    want = np.full(300, -1)
    for place, group in zip(leaf.reshape(-1), to.reshape(-1), strict=True):
        want[place] = group
    assert_holds(scan(empty, (leaf, to)), want, 3)
