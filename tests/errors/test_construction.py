"""Configurations and rows that cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from errors.mistakes import NARROW, ROW, says, zeros


def test_a_capacity_that_does_not_divide_names_the_two_nearest_sizes():
    with pytest.raises(jb.errors.ConfigurationError) as caught:
        jb.Replay(capacity=1003, num_envs=16, view=jb.Items())
    says(caught, "capacity=1003", "num_envs=16", "992 or 1008")


def test_a_capacity_below_one_row_a_stream_names_the_next_size_only():
    with pytest.raises(jb.errors.ConfigurationError) as caught:
        jb.Replay(capacity=3, num_envs=16, view=jb.Items())
    says(caught, "capacity=3", "nearest sizes are 16.")


@pytest.mark.parametrize(
    "view, least",
    [
        (jb.Transitions(), 4),
        (jb.Transitions(n_step=3), 8),
        (jb.Sequences(6), 12),
        (jb.Sequences(4, "within", burn_in=2), 12),
        (jb.Sequences(4, "pad", actions="previous"), 10),
    ],
    ids=repr,
)
def test_a_capacity_smaller_than_a_window_names_the_least_that_fits(view, least):
    with pytest.raises(jb.errors.ConfigurationError) as caught:
        jb.Replay(capacity=least - 2, num_envs=2, view=view)
    says(caught, f"capacity={least - 2}", f"at least {least}")
    jb.Replay(capacity=least, num_envs=2, view=view)


def test_a_capacity_beyond_int32_addresses_is_refused():
    with pytest.raises(jb.errors.ConfigurationError, match=r"2\*\*28"):
        jb.Replay(capacity=2**28 + 1, num_envs=None, view=jb.Items())


@pytest.mark.parametrize("size", [0, -1, True, False, 2.0, "2", None, np.float32(2)])
@pytest.mark.parametrize(
    "make, name",
    [
        (lambda size: jb.Replay(capacity=size, num_envs=None), "capacity"),
        (lambda size: jb.Replay(capacity=8, num_envs=size if size is not None else 0), "num_envs"),
        (lambda size: jb.Replay(capacity=8, num_envs=None, batch_size=size), "batch_size"),
        (lambda size: jb.Sequences(size), "length"),
        (lambda size: jb.Sequences(4, period=size), "period"),
        (lambda size: jb.Sequences(4, burn_in=size if size != 0 or isinstance(size, bool) else -1), "burn_in"),
        (lambda size: jb.Transitions(n_step=size), "n_step"),
    ],
    ids=["capacity", "num_envs", "batch_size", "length", "period", "burn_in", "n_step"],
)
def test_sizes_that_are_not_positive_ints_are_refused_by_name(make, name, size):
    with pytest.raises(jb.errors.ConfigurationError) as caught:
        make(size)
    says(caught, name, "must be an int of at least", repr(size) if size not in (None, 0) else "")


@pytest.mark.parametrize(
    "make, name, choices",
    [
        (lambda mode: jb.Sequences(4, episodes=mode), "episodes", ("cross", "within", "pad")),
        (lambda mode: jb.Sequences(4, actions=mode), "actions", ("taken", "previous")),
        (lambda mode: jb.Recorder(mode), "mode", ("next_step", "same_step", "disabled")),
        (lambda mode: jb.Replay(capacity=8, num_envs=None, layout=mode), "layout", ("auto", "flat", "tiled")),
    ],
    ids=["episodes", "actions", "recorder", "layout"],
)
@pytest.mark.parametrize("mode", ["Cross", "", None, 1, True])
def test_unknown_modes_name_the_choices(make, name, choices, mode):
    with pytest.raises(jb.errors.ConfigurationError) as caught:
        make(mode)
    says(caught, name, repr(mode), *map(repr, choices))


@pytest.mark.parametrize("gamma", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_discount_outside_the_unit_interval_is_refused(gamma):
    with pytest.raises(jb.errors.ConfigurationError) as caught:
        jb.Transitions(gamma=gamma)
    says(caught, "gamma", "from 0 to 1", repr(gamma))


def test_time_major_must_be_a_bool():
    with pytest.raises(jb.errors.ConfigurationError, match="time_major must be True or False, got 1"):
        jb.Sequences(4, time_major=1)


@pytest.mark.parametrize("name", ["view", "sampler"])
def test_a_class_in_place_of_an_instance_is_refused(name):
    wrong = {"view": jb.Items, "sampler": jb.Uniform}[name]
    with pytest.raises(jb.errors.ConfigurationError, match=f"{name} must be a .* instance"):
        jb.Replay(**{"capacity": 8, "num_envs": None, name: wrong})


@pytest.mark.parametrize(
    "view, fields",
    [
        (jb.Transitions(), ("obs", "action", "reward", "is_first", "is_terminal")),
        (jb.Sequences(3, "within"), ("is_first",)),
        (jb.Sequences(3, "pad"), ("is_first",)),
        (jb.Sequences(3, actions="previous"), ("is_first", "action")),
    ],
    ids=repr,
)
def test_each_view_names_the_field_that_the_row_lacks(view, fields):
    replay = jb.Replay(capacity=12, num_envs=None, view=view)
    for field in fields:
        with pytest.raises(jb.errors.MissingFieldError) as caught:
            replay.init({name: leaf for name, leaf in ROW.items() if name != field})
        says(caught, type(view).__name__, repr(field), "Add it to the row given to init()")
    with pytest.raises(jb.errors.MissingFieldError, match="no named fields"):
        replay.init(zeros(3))
    replay.init({name: leaf for name, leaf in ROW.items() if name in fields})


def test_items_and_crossing_sequences_need_no_field():
    for view in (jb.Items(), jb.Sequences(3)):
        jb.Replay(capacity=12, num_envs=None, view=view).init(zeros(3))


def test_transitions_refuse_integer_rewards_by_name():
    with pytest.raises(jb.errors.DtypeError, match=r"needs 'reward' to be floating; leaf 'reward' is int32"):
        jb.Replay(capacity=12, num_envs=None, view=jb.Transitions()).init(ROW | {"reward": jnp.int32(0)})


BAD_LEAVES = {
    "int": (0, "leaf 'x' is 0 of type int"),
    "float": (0.5, "numpy.float32(0.5)"),
    "bool": (True, "leaf 'x' is True of type bool"),
    "str": ("text", "table.intern(text)"),
    "bytes": (b"text", "Store text as int32 ids"),
    "object array": (np.array([None, "a"], object), "leaf 'x' has dtype object"),
    "str array": (np.array(["a"]), "Store text as int32 ids"),
    "datetime array": (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
    "structured array": (np.zeros(2, [("a", np.int32)]), "which JAX cannot hold"),
    "typed key": (jax.random.key(0), "jax.random.key_data(key)"),
    "empty axis": (zeros((3, 0)), "axis of size 0"),
}
if NARROW:
    BAD_LEAVES |= {
        "float64": (np.zeros(3), "would cut to float32"),
        "int64": (np.zeros(3, np.int64), "would cut to int32"),
        "complex128": (np.zeros(3, np.complex128), "would cut to complex64"),
    }


@pytest.mark.parametrize("kind", BAD_LEAVES)
def test_leaves_that_cannot_be_stored_are_refused_by_init_with_their_name(kind):
    leaf, message = BAD_LEAVES[kind]
    with pytest.raises((jb.errors.DtypeError, jb.errors.ShapeError)) as caught:
        jb.Replay(capacity=8, num_envs=None, view=jb.Items()).init({"y": zeros(2), "x": leaf})
    says(caught, "'x'", message)


def test_a_row_without_leaves_is_refused():
    with pytest.raises(jb.errors.StructureError, match="no leaves"):
        jb.Replay(capacity=8, num_envs=None, view=jb.Items()).init({"obs": ()})
