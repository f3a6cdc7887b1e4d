"""Counted: how often each window was used, and nothing else changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import drawn, filled, quick_jit, told_apart

import jaxbuffers as jb


def at(*time):
    time = jnp.array(time, jnp.int32)
    return jb.Index(jnp.zeros_like(time), time)


def pairs(sampler):
    """Rows 3 to 9 in a ring of 7; pairs begin at 3, 5, 6, 7, 8."""
    replay = jb.Replay(7, None, 4, jb.Transitions(), sampler)
    return replay, filled(replay, told_apart(10, first=[0, 5]))


def uses(state):
    """The count of each of the rows 3 to 9, by time."""
    return np.asarray(state.sampler.uses)[np.arange(3, 10) % 7].tolist()


def test_each_entry_of_a_batch_is_one_use_and_rows_that_begin_no_window_have_none():
    replay, state = pairs(jb.Counted(jb.Uniform()))
    update = quick_jit(replay.update)
    assert uses(state) == [0, -1, 0, 0, 0, 0, -1]
    state = update(state, at(3, 5, 5, 8, 5, -1))
    assert uses(state) == [1, -1, 3, 0, 0, 1, -1]
    state = update(state, at(3, 3))  # the same batch again is another use
    assert uses(state) == [3, -1, 3, 0, 0, 1, -1]


def test_what_is_no_window_is_not_counted():
    replay, state = pairs(jb.Counted(jb.Uniform()))
    forged = at(4, 9, 2, 10, 17, 2**30, 2**31 - 1, -7)  # last of its episode, newest, gone, not yet there
    assert uses(quick_jit(replay.update)(state, forged)) == uses(state)
    elsewhere = jb.Index(jnp.array([1, -1, 7], jnp.int32), jnp.array([5, 5, 5], jnp.int32))
    assert uses(quick_jit(replay.update)(state, elsewhere)) == uses(state)


def test_a_window_that_takes_the_place_of_another_begins_with_no_use():
    replay, state = pairs(jb.Counted(jb.Uniform()))
    state = quick_jit(replay.update)(state, at(3, 3, 5, 6))
    add = quick_jit(replay.add)
    for _ in range(3):  # rows 10 to 12 take the places of 3 to 5
        state = add(state, jax.tree.map(lambda x: x[1, 0], told_apart(2)))
    table = np.asarray(state.sampler.uses)
    assert table[np.arange(6, 13) % 7].tolist() == [1, 0, 0, 0, 0, 0, -1]


def test_counts_are_those_of_the_batches():
    replay, state = pairs(jb.Counted(jb.Uniform()))
    update, want = quick_jit(replay.update), np.zeros(10, int)
    for seed in range(5):
        batch = drawn(replay, state, seed, size=33)
        state = update(state, batch.index)
        want += np.bincount(batch.index.time, minlength=10)
    assert uses(state) == np.where([True, False, True, True, True, True, False], want[3:], -1).tolist()


@pytest.mark.long  # quick: test_every_sampler.py
@pytest.mark.parametrize("sampler", [jb.Prioritized(alpha=1.0, eps=0.1), jb.WithoutReplacement(), jb.Recent(horizon=4)])
def test_the_sampler_inside_draws_and_learns_as_if_alone(sampler):
    (replay, state), (alone, plain) = pairs(jb.Counted(sampler)), pairs(sampler)
    update, update_alone = quick_jit(replay.update), quick_jit(alone.update)
    assert replay.sampler.takes_priority == sampler.takes_priority
    for seed in range(3):
        batch, other = drawn(replay, state, seed), drawn(alone, plain, seed)
        jax.tree.map(np.testing.assert_array_equal, batch, other)
        values = {"priority": np.arange(4, dtype=np.float32)} if sampler.takes_priority else {}
        state, plain = update(state, batch.index, **values), update_alone(plain, batch.index, **values)
        jax.tree.map(np.testing.assert_array_equal, state.sampler.inner, plain.sampler)


def test_it_asks_of_the_row_what_the_sampler_inside_asks():
    replay = jb.Replay(8, None, 4, sampler=jb.Counted(jb.ByEpisode()))
    with pytest.raises(jb.errors.MissingFieldError, match="is_first"):
        replay.init({"x": np.float32(0)})
    for wrong in (None, jb.Uniform, "uniform"):
        with pytest.raises(jb.errors.ConfigurationError, match="Counted"):
            jb.Counted(wrong)
    replay, state = pairs(jb.Counted(jb.Uniform()))
    with pytest.raises(jb.errors.ConfigurationError, match=r"Counted\(.*takes no priority"):
        replay.update(state, at(5), priority=jnp.ones(1, jnp.float32))
