"""Priorities sent back: which are taken, which are counted and left out, and what is refused by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from oracle import drawn, filled, quick_jit, told_apart
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers import testing

SAMPLER = jb.Prioritized(alpha=1.0, eps=1e-3)


def at(time, stream=0):
    time = jnp.atleast_1d(jnp.asarray(time, jnp.int32))
    return jb.Index(jnp.full_like(time, stream), time)


@functools.cache
def adding(replay):
    return quick_jit(replay.add)


@functools.cache
def updating(replay):
    return quick_jit(lambda state, index, priority: replay.update(state, index, priority=priority))


def items(sampler=SAMPLER, size=6):
    """Rows 2 to 5 of a ring of four."""
    replay = jb.Replay(4, None, 4, jb.Items(), sampler)
    return replay, filled(replay, told_apart(size))


def leaves(state):
    return np.asarray(state.sampler.tree[0])


def assert_weights(state, want):
    np.testing.assert_allclose(leaves(state)[: len(want)], want, rtol=1e-6)
    np.testing.assert_allclose(state.sampler.tree[-1].sum(), np.sum(want), rtol=1e-6)


def test_priorities_land_on_the_windows_they_are_for_and_only_there():
    replay, state = items()
    state = updating(replay)(state, at([2, 5]), jnp.float32([7, 0.5]))
    assert_weights(state, np.array([1, 0.5, 7, 1]) + 1e-3)  # times 4, 5, 2, 3


BAD = [np.nan, -np.nan, np.inf, -np.inf, -1, -1e-30, 3e38, 1e38]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_priority_is_counted_and_changes_nothing(bad):
    replay, state = items()
    state = updating(replay)(state, at([3]), jnp.float32([2]))
    after = updating(replay)(state, at([2, 3, 4]), jnp.float32([bad] * 3))
    assert int(after.sampler.refused) == 3
    assert int(after.sampler.stale) == 0
    jax.tree.map(np.testing.assert_array_equal, after.sampler.tree, state.sampler.tree)
    assert float(after.sampler.highest) == 2
    # Neither is a batch in which some are bad: the others are taken.
    after = updating(replay)(state, at([2, 3, 4]), jnp.float32([bad, 5, bad]))
    assert_weights(after, np.array([1, 1, 1, 5]) + 1e-3)
    assert float(after.sampler.highest) == 5
    batch = drawn(replay, after, size=64)
    assert batch.valid
    assert np.isfinite(batch.probability).all()


@pytest.mark.parametrize("alpha", long_but([0.0, 0.5, 1.0, 3.0], quick=[0]))  # 1.0 is above
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -2])
def test_nan_infinite_and_negative_priorities_are_refused_for_every_exponent(alpha, bad):
    replay, state = items(jb.Prioritized(alpha=alpha))
    after = updating(replay)(state, at([3]), jnp.float32([bad]))
    assert int(after.sampler.refused) == 1
    assert float(after.sampler.highest) == 1
    jax.tree.map(np.testing.assert_array_equal, after.sampler.tree, state.sampler.tree)


def test_the_largest_priorities_that_are_taken_do_not_overflow_the_total():
    replay, state = items()
    most = 1e38 / 16
    state = updating(replay)(state, at([2, 3, 4, 5]), jnp.full(4, 0.99 * most, jnp.float32))
    assert int(state.sampler.refused) == 0
    for time in range(4):  # new windows get as much
        state = adding(replay)(state, jax.tree.map(lambda x, t=time: x[t, 0], told_apart(4)))
    batch = drawn(replay, state, size=64)
    np.testing.assert_allclose(batch.probability, np.full(64, 0.25), rtol=1e-6)


def test_of_a_window_drawn_twice_the_larger_priority_is_kept():
    replay, state = items()
    for order in ([1, 9, 4], [9, 4, 1], [4, 1, 9]):
        after = updating(replay)(state, at([3, 3, 3]), jnp.float32(order))
        assert_weights(after, np.array([1, 1, 1, 9]) + 1e-3)
    after = updating(replay)(state, at([3, 3, 3]), jnp.float32([0.5, np.nan, 0.25]))
    assert_weights(after, np.array([1, 1, 1, 0.5]) + 1e-3)
    assert int(after.sampler.refused) == 1


@pytest.mark.parametrize("late", long_but(range(6), quick=[2, 5]))
def test_a_priority_that_comes_too_late_is_counted_and_revives_nothing(late):
    """Sample, overwrite some of the rows, then update: only windows that still exist may change."""
    view = jb.Sequences(2, "within")
    replay = jb.Replay(6, None, 64, view, SAMPLER)
    rows = told_apart(6 + late, first=[0, 3, 7], last=[4])
    state = filled(replay, jax.tree.map(lambda x: x[:6], rows))
    index = quick_jit(replay.sample)(state, jax.random.key(0)).index
    start = np.asarray(index.time)[:, 0]
    assert set(start.tolist()) == {0, 1, 3}
    for time in range(6, 6 + late):
        state = adding(replay)(state, jax.tree.map(lambda x, t=time: x[t, 0], rows))
    before = leaves(state)
    after = updating(replay)(state, index, jnp.full(64, 50, jnp.float32))
    alive = start[start >= late]
    np.testing.assert_array_equal(leaves(after) > 0, before > 0)
    assert set(np.flatnonzero(leaves(after) > 50)) == set((alive % 6).tolist())
    assert int(after.sampler.stale) == len(start) - len(alive)
    assert float(after.sampler.highest) == (50 if len(alive) else 1)


@pytest.mark.parametrize("time, stream", [(1, 0), (6, 0), (-7, 0), (3, 1), (3, -1), (2**30, 0), (2**31 - 1, 0)])
def test_an_address_that_no_window_has_is_never_written(time, stream):
    replay, state = items()
    after = updating(replay)(state, at(time, stream), jnp.float32([9]))
    jax.tree.map(np.testing.assert_array_equal, after.sampler.tree, state.sampler.tree)
    assert int(after.sampler.stale) == (time >= 0)


def test_a_row_that_begins_no_window_gets_no_weight():
    replay = jb.Replay(8, None, 4, jb.Transitions(), SAMPLER)
    state = filled(replay, told_apart(6, last=[2]))
    after = updating(replay)(state, at([2, 5]), jnp.float32([9, 9]))  # the last row of its episode, and the newest
    jax.tree.map(np.testing.assert_array_equal, after.sampler.tree, state.sampler.tree)
    assert int(after.sampler.stale) == 2


@pytest.mark.parametrize("time_major", long_but([False, True], quick=[1]))
def test_rows_and_priorities_are_written_by_one_update(time_major):
    view = jb.Sequences(2, burn_in=1, actions="previous", time_major=time_major)
    replay = jb.Replay(16, 2, 5, view, SAMPLER)
    state = filled(replay, told_apart(20, 2))
    batch = drawn(replay, state, seed=3)
    priority, obs = 1 + np.arange(5, dtype=np.float32), batch.data.obs + 5000
    both = quick_jit(lambda s: replay.update(s, batch.index, priority=priority, rows={"obs": obs}))(state)
    rows = quick_jit(lambda s: replay.update(s, batch.index, rows={"obs": obs}))(state)
    jax.tree.map(np.testing.assert_array_equal, both.ring, rows.ring)
    jax.tree.map(np.testing.assert_array_equal, rows.sampler, state.sampler)  # no priority: nothing changes
    jax.tree.map(
        np.testing.assert_array_equal, both.sampler, updating(replay)(state, batch.index, jnp.asarray(priority)).sampler
    )
    assert not np.array_equal(leaves(both), leaves(state))


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("size", long_but([1, 2, 64], quick=[0]))
def test_sampling_and_updating_in_one_program_copies_no_tree(size):
    # The contract tests it for a batch of five; one element is another program for XLA.
    replay = jb.Replay(16_384, None, size, jb.Items(), SAMPLER)
    state = filled(replay, told_apart(40))

    def step(state, key):
        batch = replay.sample(state, key)
        return replay.update(state, batch.index, priority=1 + batch.probability)

    testing.assert_in_place(step, state, jax.random.key(0))


def test_forks_of_a_state_keep_their_own_priorities():
    replay, state = items()
    one = updating(replay)(state, at([2, 3, 4]), jnp.zeros(3, jnp.float32))
    other = updating(replay)(state, at([3, 4, 5]), jnp.zeros(3, jnp.float32))
    seen = [drawn(replay, fork, size=64).probability.max() for fork in (state, one, other)]
    np.testing.assert_allclose(seen, [0.25, 1.001 / 1.004, 1.001 / 1.004], rtol=1e-5)
    row = jax.tree.map(lambda x: x[0, 0], told_apart(1))
    assert_weights(adding(replay)(other, row), np.array([0, 0, 1, 0]) + 1e-3)  # row 6 took the place of row 2
    assert_weights(state, np.full(4, 1.001))


def test_debug_checks_raise_on_stale_and_on_bad_priorities():
    replay, state = items()

    def send(time, priority):
        return replay.update(state, at(time), priority=priority)

    with jb.debug_checks():
        checked = jax.jit(checkify.checkify(send))
        stale, _ = checked(jnp.int32([1, 0, 4]), jnp.float32([1, 1, 1]))
        bad, _ = checked(jnp.int32([2, 3, -1]), jnp.float32([1, np.nan, np.nan]))
        fine, _ = checked(jnp.int32([2, 3, -1]), jnp.float32([1, 0, np.nan]))
    assert "2 priorities are for windows that are gone" in stale.get()
    assert "1 priorities are NaN, infinite, negative or too large" in bad.get()
    fine.throw()


@pytest.mark.parametrize(
    "priority, error",
    [
        (np.ones(4, np.float64), jb.errors.DtypeError),
        (np.ones(4, np.float16), jb.errors.DtypeError),
        (np.ones(4, np.int32), jb.errors.DtypeError),
        ([1.0, 1.0, 1.0, 1.0], jb.errors.DtypeError),
        (1.0, jb.errors.DtypeError),
        (np.ones(3, np.float32), jb.errors.ShapeError),
        (np.ones((4, 1), np.float32), jb.errors.ShapeError),
        (np.float32(1), jb.errors.ShapeError),
        (np.ones(1, np.float32), jb.errors.ShapeError),
    ],
)
def test_priorities_of_another_kind_or_number_are_refused_by_name(priority, error):
    replay, state = items()
    with pytest.raises(error, match="priority"):
        replay.update(state, at([2, 3, 4, 5]), priority=priority)


def test_priorities_need_a_sampler_that_takes_them_and_a_whole_index():
    replay = jb.Replay(4, None, 4)
    state = filled(replay, told_apart(6))
    with pytest.raises(jb.errors.ConfigurationError, match=r"Uniform\(\) takes no priority"):
        replay.update(state, at([2]), priority=jnp.ones(1, jnp.float32))
    replay = jb.Replay(8, None, 4, jb.Sequences(3), SAMPLER)
    state = filled(replay, told_apart(6))
    index = jax.tree.map(jnp.asarray, drawn(replay, state).index)
    part = jax.tree.map(lambda x: x[:, :2], index)
    with pytest.raises(jb.errors.ShapeError, match=r"whole batch\.index"):
        replay.update(state, part, priority=jnp.ones(4, jnp.float32))
    with pytest.raises(jb.errors.ShapeError, match="priority"):
        replay.update(state, index, priority=jnp.ones((4, 3), jnp.float32))
    with pytest.raises(jb.errors.StructureError, match="index"):
        replay.update(state, index.time, priority=jnp.ones(4, jnp.float32))


@pytest.mark.parametrize(
    "options, name",
    [({"alpha": value}, "alpha") for value in (-0.1, 9, np.nan, np.inf, "0.6", None, True)]
    + [({"eps": value}, "eps") for value in (0, -1e-6, 2e6, np.nan, "max", None, False)]
    + [({"decay": value}, "decay") for value in (0, -0.5, 1.01, np.nan, None, True)]
    + [({"initial": value}, "initial") for value in ("min", -1, 2e6, np.nan, np.inf, None, True)]
    + [({"stratified": value}, "stratified") for value in (1, None, "yes")]
    + [({"alpha": 8, "eps": 1e-6}, "eps"), ({"alpha": 4.0, "eps": 1e-9}, "eps")]
    + [({"alpha": 0.05, "eps": 1e-300}, "eps"), ({"alpha": 0.1, "eps": 1e-40}, "eps")],
    ids=str,
)
def test_impossible_configurations_are_refused_by_name(options, name):
    with pytest.raises(jb.errors.ConfigurationError, match=name):
        jb.Prioritized(**options)


@pytest.mark.parametrize(
    "alpha, initial, eps", [(8, 1e6, 1), (8, "max", 1e6), (8, 0, 1e6), (7, 1e6, 1e-3), (6, 5e5, 0.1)], ids=str
)
def test_first_weights_that_float32_cannot_add_up_are_refused(alpha, initial, eps):
    replay = jb.Replay(2**20, None, 4, jb.Items(), jb.Prioritized(alpha, eps, initial))
    with pytest.raises(jb.errors.ConfigurationError, match="1048576 windows"):
        jax.eval_shape(replay.init, np.float32(0))


def test_every_configuration_that_is_taken_gives_every_window_a_weight():
    extremes = [{"alpha": 8, "initial": 500, "eps": 0.01}, {"alpha": 1, "eps": 1e-29}, {"alpha": 1, "eps": 1e6}]
    for options in [*budget(extremes[:1], extremes), {"initial": 0, "eps": 1e-9}]:
        replay, state = items(jb.Prioritized(**options))
        for zeros in (False, True):
            state = updating(replay)(state, at([2, 3, 4, 5]), jnp.zeros(4, jnp.float32)) if zeros else state
            batch = drawn(replay, state)
            np.testing.assert_array_equal(np.sort(batch.index.time), [2, 3, 4, 5])
            np.testing.assert_allclose(batch.probability, np.full(4, 0.25), rtol=1e-6)


def test_equal_configurations_are_equal_values_and_others_are_not():
    assert jb.Prioritized() == jb.Prioritized(0.6, 1e-6, "max", 1.0, True)
    assert hash(jb.Prioritized()) == hash(jb.Prioritized(alpha=0.6))
    assert jb.Prioritized(decay=0.9) != jb.Prioritized()
    assert jb.Prioritized().takes_priority
    assert not jb.Uniform().takes_priority
