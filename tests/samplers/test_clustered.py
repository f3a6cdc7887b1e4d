"""Clustered: groups at equal rates, and windows that change their group when it is written back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from oracle import drawn, fits, likely, quick_jit
from tier import long_but

import jaxbuffers as jb

from .catalog import assert_lives_agree, replay_of


def half(rows):
    """A group that is computed, with its twin for the oracle."""
    return rows.extras["group"] // 2


half.twin = lambda group: group // 2


@functools.cache
def verbs(replay):
    return quick_jit(replay.add), quick_jit(
        lambda state, index, group: replay.update(state, index, rows={"group": group})
    )


def at(*time):
    time = jnp.array(time, jnp.int32)
    return jb.Index(jnp.zeros_like(time), time)


def grouped(groups, count, view=None, by="group"):
    """One stream whose rows are of these groups."""
    replay = jb.Replay(len(groups), None, 8, view or jb.Items(), jb.Clustered(by, groups=count))
    rows = {"group": np.asarray(groups, np.int32), "x": np.arange(len(groups), dtype=np.float32)}
    return replay, verbs(replay)[0](replay.init({"group": np.int32(0), "x": np.float32(0)}), rows)


def probability(replay, state):
    return likely(replay, state, np.arange(replay.length))


def test_lives_with_a_computed_group_agree_with_the_oracle():
    replay = replay_of(jb.Transitions(), [jb.Clustered(half, groups=1)], length=5, streams=2)
    assert min(assert_lives_agree(replay, block=5, steps=10).values()) > 15


def test_groups_come_equally_often_however_many_windows_they_have():
    groups = np.repeat([2, 0, 3], [1, 10, 89])
    replay, state = grouped(np.random.default_rng(0).permutation(groups), 5)  # nothing in 1 and 4
    batch = drawn(replay, state, size=60_000)
    counts = np.bincount(batch.data["group"], minlength=5)[[0, 2, 3]]
    fits(counts, np.full(3, 1 / 3), {"by size": np.array([0.1, 0.01, 0.89]), "0.35": np.array([0.35, 0.32, 0.33])})
    inside = np.bincount(batch.data["x"][batch.data["group"] == 3].astype(int))
    inside = inside[inside > 0]
    assert len(inside) == 89
    fits(inside, np.full(89, 1 / 89), {"one never": np.array([2, 0, *[1] * 87]) / 89})
    want = 1 / 3 / np.array([10, np.nan, 1, 89])[batch.data["group"]]
    np.testing.assert_allclose(batch.probability, want, rtol=1e-6)


@pytest.mark.long  # quick: test_every_sampler.py
def test_a_window_changes_its_group_when_the_number_is_written_back():
    replay, state = grouped([0, 0, 0, 1], 3)
    np.testing.assert_allclose(probability(replay, state), [1 / 6] * 3 + [1 / 2], rtol=1e-6)
    state = verbs(replay)[1](state, at(1, 2), np.int32([2, 1]))
    np.testing.assert_allclose(probability(replay, state), [1 / 3, 1 / 3, 1 / 6, 1 / 6], rtol=1e-6)
    state = verbs(replay)[1](state, at(0), np.int32([2]))  # the last of group 0
    np.testing.assert_allclose(probability(replay, state), [1 / 4] * 4, rtol=1e-6)
    state = verbs(replay)[1](state, at(3, 3, 3), np.int32([0, 1, 2]))  # the last entry counts, as for the row
    np.testing.assert_allclose(probability(replay, state), [1 / 6, 1 / 6, 1 / 2, 1 / 6], rtol=1e-6)
    assert int(state.sampler.refused) == 0


@pytest.mark.parametrize("bad", long_but([-1, 3, 2**31 - 1, -(2**31)], quick=[1, 3]))
def test_a_number_that_is_no_group_keeps_the_window_from_being_drawn_and_is_counted(bad):
    replay, state = grouped([0, bad, 2, bad], 3)
    assert int(state.sampler.refused) == 2
    assert set(drawn(replay, state, size=256).index.time.tolist()) == {0, 2}
    np.testing.assert_allclose(probability(replay, state), [1 / 2, 0, 1 / 2, 0], rtol=1e-6)
    state = verbs(replay)[1](state, at(0, 0, 1), np.int32([bad, bad, 1]))  # one window out, one in
    assert int(state.sampler.refused) == 3
    np.testing.assert_allclose(probability(replay, state), [0, 1 / 2, 1 / 2, 0], rtol=1e-6)
    state = verbs(replay)[1](state, at(1, 2), np.int32([bad, bad]))
    batch = drawn(replay, state)
    assert not batch.valid
    assert not batch.probability.any()
    assert int(replay.count(state)) == 4  # all are legal, and none has a group


def test_the_group_is_that_of_the_first_required_row():
    view = jb.Sequences(2, burn_in=1)
    replay, state = grouped([9, 0, 1, 1, 9], 2, view)
    np.testing.assert_allclose(probability(replay, state), [0, 1 / 2, 1 / 4, 1 / 4, 0], rtol=1e-6)
    # Written to all three rows of one window; the middle one is where it begins.
    index = jb.Index(jnp.zeros((1, 3), jnp.int32), jnp.array([[2, 3, 4]], jnp.int32))
    state = quick_jit(lambda s: replay.update(s, index, rows={"group": jnp.array([[0, 9, 0]], jnp.int32)}))(state)
    np.testing.assert_allclose(probability(replay, state), [0, 1 / 2, 1 / 2, 0, 0], rtol=1e-6)
    assert int(state.sampler.refused) == 2  # the rows 0 and 3: no window begins at row 4


@pytest.mark.long  # quick: test_every_sampler.py
def test_what_is_written_to_rows_that_are_gone_changes_no_group():
    replay, state = grouped([0, 1, 0, 1], 2)
    state = verbs(replay)[0](state, {"group": np.int32([1]), "x": np.float32([0])})
    before = probability(replay, state)
    after = verbs(replay)[1](state, at(0, -1, 7), np.int32([0, 0, 0]))
    np.testing.assert_array_equal(probability(replay, after), before)
    assert int(after.dropped) == 2
    assert int(after.sampler.refused) == 0


def test_other_fields_may_be_written_back_without_a_change():
    replay, state = grouped([0, 1, 9, 1], 2)
    after = quick_jit(lambda s: replay.update(s, at(0, 1), rows={"x": jnp.ones(2, jnp.float32)}))(state)
    jax.tree.map(np.testing.assert_array_equal, after.sampler, state.sampler)


@pytest.mark.long  # quick: groups of several windows, above
def test_one_group_of_all_is_uniform():
    replay, state = grouped([0] * 7, 1)
    np.testing.assert_allclose(probability(replay, state), np.full(7, 1 / 7), rtol=1e-6)


def test_debug_checks_raise_where_a_number_is_no_group():
    replay, state = grouped([0, 0, 0, 1], 2)
    with jb.debug_checks():
        write = jax.jit(checkify.checkify(lambda group: replay.update(state, at(1), rows={"group": group})))
        (error, _), (fine, _) = write(jnp.array([2], jnp.int32)), write(jnp.array([1], jnp.int32))
    assert "1 windows have a number that is not a group" in error.get()
    fine.throw()


def test_configurations_that_say_nothing_are_refused():
    for groups in (0, -1, 2.0, True, None):
        with pytest.raises(jb.errors.ConfigurationError, match="groups"):
            jb.Clustered("group", groups=groups)
    for by in (None, 3, ("a",)):
        with pytest.raises(jb.errors.ConfigurationError, match="by must be"):
            jb.Clustered(by, groups=2)
    assert jb.Clustered(half, groups=2) == jb.Clustered(half, groups=2)
    assert hash(jb.Clustered("a.b", groups=2)) == hash(jb.Clustered("a.b", groups=2))


@pytest.mark.parametrize(
    "row, by, error",
    [
        ({"x": np.int32(0)}, "group", jb.errors.MissingFieldError),
        ({"a": {"x": np.int32(0)}}, "a.group", jb.errors.MissingFieldError),
        ({"group": np.float32(0)}, "group", jb.errors.DtypeError),
        ({"group": np.int8(0)}, "group", jb.errors.DtypeError),
        ({"group": np.zeros(2, np.int32)}, "group", jb.errors.ShapeError),
    ],
    ids=str,
)
def test_a_field_that_is_no_int32_scalar_is_refused_by_name(row, by, error):
    with pytest.raises(error, match=by.split(".")[-1]):
        jb.Replay(4, None, 2, sampler=jb.Clustered(by, groups=2)).init(row)


@pytest.mark.parametrize(
    "by", [lambda rows: rows["x"], lambda rows: rows["group"][:1], lambda rows: rows["group"][:, None]]
)
def test_a_function_that_returns_no_int32_for_each_window_is_refused(by):
    replay = jb.Replay(4, None, 2, sampler=jb.Clustered(by, groups=2))
    state = jax.eval_shape(replay.init, {"group": np.int32(0), "x": np.float32(0)})
    with pytest.raises((jb.errors.ShapeError, jb.errors.DtypeError), match="must return"):
        jax.eval_shape(replay.add, state, {"group": np.int32([0, 1]), "x": np.float32([0, 0])})
