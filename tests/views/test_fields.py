"""What views need of a row and of a configuration, and what they say where it is missing."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from oracle import check, leaves_of, quick_jit, read_all, rows_of
from tier import long_but

import jaxbuffers as jb

NAN = float("nan")


class Step(NamedTuple):
    obs: Any
    action: Any
    reward: Any
    is_first: Any
    is_terminal: Any


@pytest.mark.parametrize(
    "view", long_but([jb.Transitions(2, gamma=0.5), jb.Sequences(2, "within", actions="previous")], quick=[1]), ids=str
)
def test_any_container_with_the_named_fields_reads_alike(view):
    row = rows_of("F..F..")  # without is_last, which is optional
    names = Step._fields
    want = read_all(view, row).data
    for rows in ({name: getattr(row, name) for name in names}, Step(*(getattr(row, name) for name in names))):
        got = leaves_of(read_all(view, rows).data)
        assert got.keys() <= leaves_of(want).keys()
        for path, leaf in got.items():
            np.testing.assert_array_equal(leaf, leaves_of(want)[path], err_msg=path)


def test_items_need_no_names_at_all():
    check(read_all(jb.Items(), np.arange(5, dtype=np.float32), length=3).data, [2, 3, 4])


@pytest.mark.parametrize(
    "view, missing",
    [
        (jb.Transitions(), "obs"),
        (jb.Transitions(), "action"),
        (jb.Transitions(), "reward"),
        (jb.Transitions(), "is_first"),
        (jb.Transitions(), "is_terminal"),
        (jb.Sequences(2, "within"), "is_first"),
        (jb.Sequences(2, "pad"), "is_first"),
        (jb.Sequences(2, actions="previous"), "is_first"),
        (jb.Sequences(2, actions="previous"), "action"),
    ],
    ids=str,
)
def test_a_missing_field_is_named_at_init(view, missing):
    names = {"obs", "action", "reward", "is_first", "is_last", "is_terminal"} - {missing}
    row = {name: getattr(rows_of("F"), name)[0] for name in names}
    with pytest.raises(jb.errors.MissingFieldError, match=repr(missing)):
        jb.Replay(8, None, 1, view).init(row)


FLAGGED = [jb.Transitions(), jb.Transitions(2), jb.Sequences(2, "within"), jb.Sequences(2, "pad")]


READS = [(view, flag) for view in FLAGGED for flag in ("is_first", "is_last")]
READS += [(view, "is_terminal") for view in FLAGGED[:2]]


@pytest.mark.parametrize("view, flag", READS, ids=str)
@pytest.mark.parametrize("value", [np.float32(0), np.int32(0), np.zeros(1, bool)], ids=["float32", "int32", "bool[1]"])
def test_a_flag_that_is_not_one_bool_is_refused_at_init_by_name(view, flag, value):
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(**{flag: value})
    with pytest.raises((jb.errors.DtypeError, jb.errors.ShapeError), match=flag):
        jb.Replay(8, None, 1, view).init(row)


@pytest.mark.parametrize("view", [jb.Transitions(), jb.Transitions(2)], ids=str)
@pytest.mark.parametrize("reward", [np.int32(0), np.bool_(0)], ids=["int32", "bool"])
def test_a_reward_that_is_no_float_is_refused_at_init_by_name(view, reward):
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(reward=reward)
    with pytest.raises(jb.errors.DtypeError, match="reward"):
        jb.Replay(8, None, 1, view).init(row)


@pytest.mark.parametrize("view", [jb.Transitions(), jb.Transitions(2)], ids=str)
def test_a_reward_with_axes_of_its_own_is_refused_at_init_by_name(view):
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(reward=np.zeros(2, np.float32))
    with pytest.raises(jb.errors.ShapeError, match="reward"):
        jb.Replay(8, None, 1, view).init(row)


BAD = [
    lambda: jb.Transitions(0),
    lambda: jb.Transitions(True),
    lambda: jb.Transitions(1.0),
    lambda: jb.Transitions(gamma=1.5),
    lambda: jb.Transitions(gamma=-0.1),
    lambda: jb.Transitions(gamma=NAN),
    lambda: jb.Sequences(0),
    lambda: jb.Sequences(2, "inside"),
    lambda: jb.Sequences(2, burn_in=-1),
    lambda: jb.Sequences(2, period=0),
    lambda: jb.Sequences(2, actions="next"),
    lambda: jb.Sequences(2, time_major=1),
]


@pytest.mark.parametrize("make", BAD)
def test_impossible_configurations_are_refused(make):
    with pytest.raises(jb.errors.ConfigurationError):
        make()


@pytest.mark.parametrize(
    "view, needs",
    [
        (jb.Items(), 1),
        (jb.Transitions(3), 4),
        (jb.Sequences(4), 4),
        (jb.Sequences(4, burn_in=2), 6),
        (jb.Sequences(4, "pad", burn_in=2, actions="previous"), 7),
    ],
    ids=str,
)
def test_a_ring_too_small_for_one_window_is_refused_with_the_size_needed(view, needs):
    jb.Replay(3 * needs, 3, 1, view)
    if needs > 1:
        with pytest.raises(jb.errors.ConfigurationError, match=f"at least {3 * needs}"):
            jb.Replay(3 * (needs - 1), 3, 1, view)


VIEWS = [
    jb.Items(),
    jb.Transitions(3),
    jb.Sequences(3, burn_in=1),
    jb.Sequences(3, "within", actions="previous"),
    jb.Sequences(3, "pad", time_major=True),
]


@pytest.mark.parametrize("view", long_but(VIEWS, quick=[1, 3]), ids=str)
def test_a_sample_without_legal_windows_is_zero_masked_and_not_valid(view):
    replay = jb.Replay(16, 2, 5, view)
    state = replay.init(jax.tree.map(lambda x: x[0], rows_of("F")))
    batch = quick_jit(replay.sample)(state, jax.random.key(0))
    assert not batch.valid
    assert not batch.mask.any()
    assert all(not leaf.any() for leaf in jax.tree.leaves(batch.data))
    np.testing.assert_array_equal(batch.index.time, np.full(batch.mask.shape, -1))
