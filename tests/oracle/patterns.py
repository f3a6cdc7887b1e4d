"""Rows written as a string of episode flags, and every window that a view reads of them."""

import functools

import jax
import numpy as np

import jaxbuffers as jb
from oracle.every import Every
from oracle.quick import quick_jit
from oracle.wrapped import core_of


def rows_of(pattern, reward=None):
    """One row a character, ``F`` first, ``L`` last (truncated), ``T`` last and terminal, ``B`` first and last.

    At time t the observation is 10 + t, the action 20 + t and the reward 2**t unless given.
    """
    steps = np.arange(len(pattern))
    flag = {name: np.array([c in kinds for c in pattern]) for name, kinds in (("F", "FB"), ("L", "LTB"), ("T", "T"))}
    return jb.Row(
        obs=(10 + steps).astype(np.float32),
        action=(20 + steps).astype(np.int32),
        reward=np.asarray(2.0**steps if reward is None else reward, np.float32),
        is_first=flag["F"],
        is_last=flag["L"],
        is_terminal=flag["T"],
        extras={"note": (30 + steps).astype(np.uint8)},
    )


def read_all(view, rows, length=8):
    """Every legal window of one stream, oldest first: a `Batch` without the padding."""
    count = len(jax.tree.leaves(rows)[0])
    assert count > 0
    steps = -(-count // 8) * 8  # one program for all patterns of up to so many rows
    rows = jax.tree.map(lambda x: np.concatenate([x, np.zeros((steps - count, *x.shape[1:]), x.dtype)]), rows)
    read = _reading(jb.Replay(length, None, length, view, Every()))
    batch = jax.tree.map(np.asarray, read(rows, np.arange(steps) < count))
    real = batch.probability > 0
    major = getattr(core_of(view), "time_major", False)
    data, index = jax.tree.map(lambda x: (np.swapaxes(x, 0, 1) if major else x)[real], (batch.data, batch.index))
    return jb.Batch(data, index, batch.probability[real], batch.valid)


@functools.cache
def _reading(replay):
    def read(rows, mask):
        empty = replay.init(jax.tree.map(lambda x: x[0], rows))
        state, _ = jax.lax.scan(lambda state, row: (replay.add(state, *row), None), empty, (rows, mask))
        return replay.sample(state, jax.random.key(0))

    return quick_jit(read)


def check(got, want):
    """Assert that two arrays are equal, whatever their dtypes."""
    np.testing.assert_array_equal(got, np.array(want))
