"""Pairs of buffers that differ in nothing but where rows wait: the second one adds each by itself."""

import jax
import numpy as np

import jaxbuffers as jb


def pair(replay, fields, **options):
    """Two equal buffers on one table: rows wait in the first one alone, the second one calls `Replay.add` for each."""
    table = jb.TextTable()
    return tuple(jb.HostReplay(replay, fields, table=table, staging=staging, **options) for staging in (None, 1))


def bits(tree):
    """All arrays of a tree, as bytes."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def assert_alike(staged, single):
    """The same state, bit for bit, and the same draws to come."""
    assert len(staged) == len(single)
    ours, theirs = (jax.tree_util.tree_leaves_with_path(buffer._state) for buffer in (staged, single))
    for (path, one), (_, other) in zip(ours, theirs, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), jax.tree_util.keystr(path)
    assert bits(jax.random.key_data(staged.key)) == bits(jax.random.key_data(single.key))
    assert len(staged) == len(single)
