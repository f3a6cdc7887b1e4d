"""Rows that tell where they come from, and a quick way to fill a replay with them."""

import functools

import jax
import numpy as np

import jaxbuffers as jb
from oracle.quick import quick_jit


def small_row(**extras):
    """One row of a vector, an int and a float, with flags and the given extras."""
    no = np.False_
    return jb.Row(np.zeros(2, np.int32), np.int32(0), np.float32(0), no, no, no, extras)


def told_apart(steps, streams=1, first=(0,), last=(), terminal=()):
    """Rows ``[steps, streams]``: obs is 1000 * stream + time + 1, action its negative, reward time / 4.

    ``first``, ``last`` and ``terminal`` name the times at which the flags are True in every stream; a
    terminal row is also a last one.
    """
    time = np.repeat(np.arange(steps, dtype=np.int32)[:, None], streams, axis=1)
    obs = time + 1 + 1000 * np.arange(streams, dtype=np.int32)[None]
    ends = np.isin(time, [*terminal])
    return jb.Row(
        obs=obs,
        action=-obs,
        reward=time.astype(np.float32) / 4,
        is_first=np.isin(time, [*first]),
        is_last=np.isin(time, [*last]) | ends,
        is_terminal=ends,
    )


def example(rows):
    """One row of rows ``[S, E]``, for ``init``."""
    return jax.tree.map(lambda x: x[0, 0], rows)


def filled(replay, rows, mask=None):
    """The state after adding rows ``[S, E]`` one at a time; E is 1 where the replay has no such axis."""
    rows = jax.tree.map(lambda x: x[:, 0], rows) if replay.num_envs is None else rows
    if mask is None:
        mask = np.ones(jax.tree.leaves(rows)[0].shape[: 1 + (replay.num_envs is not None)], bool)
    return _adding(replay)(rows, mask)


def drawn(replay, state, seed=0, size=None):
    """A batch, as NumPy arrays."""
    return jax.tree.map(np.asarray, _sampling(replay)(state, jax.random.key(seed), size))


def likely(replay, state, time, stream=0):
    """How likely the sampler says the windows are that begin at these times, as a NumPy array."""
    time = np.asarray(time, np.int32)
    return np.asarray(_weighing(replay)(state, np.broadcast_to(np.int32(stream), time.shape), time))


@functools.cache
def _adding(replay):
    def fill(rows, mask):
        empty = replay.init(jax.tree.map(lambda x: x[(0,) * mask.ndim], rows))
        return jax.lax.scan(lambda state, row: (replay.add(state, *row), None), empty, (rows, mask))[0]

    return quick_jit(fill)


@functools.cache
def _sampling(replay):
    return quick_jit(replay.sample, static_argnums=2)


@functools.cache
def _weighing(replay):
    return quick_jit(lambda state, *start: replay.sampler.probability(state.sampler, replay.legal(state), *start))
