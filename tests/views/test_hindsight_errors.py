"""What hindsight refuses, and what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import rows_of

import jaxbuffers as jb


def distance(achieved, desired):
    return -jnp.abs(achieved - desired).sum()


ROW = jax.tree.map(lambda x: x[0], rows_of("F"))
PLACE = np.zeros(2, np.float32)
GOOD = ROW.replace(obs={"achieved_goal": PLACE, "desired_goal": PLACE})


def init(row, view=None):
    return jb.Replay(8, None, 2, view or jb.Hindsight(jb.Items(), distance)).init(row)


def sampled(reward):
    replay = jb.Replay(8, None, 2, jb.Hindsight(jb.Transitions(), reward))
    return jax.eval_shape(lambda: replay.sample(replay.init(GOOD), jax.random.key(0)))


REWARDS = {
    "int32": (lambda a, g: jnp.int32(1), r"must return float32 like.*got int32"),
    "bool": (lambda a, g: jnp.all(a == g), "got bool"),
    "float16": (lambda a, g: jnp.sum(a - g).astype(jnp.float16), "got float16"),
    "one per coordinate": (lambda a, g: a - g, r"got \[2\]"),
    "an axis of one": (lambda a, g: jnp.sum(a - g, keepdims=True), r"got \[1\]"),
}


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_of_another_dtype_or_shape_than_the_stored_one_is_refused_when_traced(name):
    reward, message = REWARDS[name]
    with pytest.raises(jb.errors.ShapeError if "[" in message else jb.errors.DtypeError, match=message):
        sampled(reward)


def test_a_reward_that_is_a_float_scalar_is_taken():
    assert sampled(distance).data.reward.dtype == np.float32


@pytest.mark.parametrize("name", ["achieved_goal", "desired_goal"])
def test_a_goal_that_is_not_in_the_row_is_named(name):
    row = GOOD.replace(obs={key: value for key, value in GOOD.obs.items() if key != name})
    with pytest.raises(jb.errors.MissingFieldError, match=f"obs.{name}"):
        init(row)


def test_a_goal_in_a_field_that_is_not_there_is_refused_by_the_name_of_the_field():
    with pytest.raises(jb.errors.MissingFieldError, match="'goals'"):
        init(GOOD, jb.Hindsight(jb.Items(), distance, desired="goals.desired"))


def test_a_goal_that_is_no_array_but_a_tree_of_them_is_refused():
    for path in ("obs", "obs.achieved_goal"):
        row = GOOD.replace(obs={"achieved_goal": {"x": PLACE, "y": PLACE}, "desired_goal": PLACE})
        with pytest.raises(jb.errors.MissingFieldError, match=f"needs leaf '{path}'"):
            init(row, jb.Hindsight(jb.Items(), distance, achieved=path))


@pytest.mark.parametrize("other", [np.zeros(3, np.float32), np.float32(0), np.zeros(2, np.int32)], ids=str)
def test_goals_that_are_not_alike_are_refused(other):
    with pytest.raises(jb.errors.ShapeError, match=r"one shape and dtype.*float32\(2,\)"):
        init(GOOD.replace(obs={"achieved_goal": PLACE, "desired_goal": other}))


@pytest.mark.parametrize("missing", ["reward", "is_first"])
def test_a_field_that_hindsight_needs_is_named(missing):
    row = {"obs": GOOD.obs, "reward": np.float32(0), "is_first": np.False_}
    init(row)
    del row[missing]
    with pytest.raises(jb.errors.MissingFieldError, match=repr(missing)):
        init(row)


@pytest.mark.parametrize(
    "change, error",
    [
        ({"reward": np.int32(0)}, jb.errors.DtypeError),
        ({"reward": np.zeros(2, np.float32)}, jb.errors.ShapeError),
        ({"is_first": np.int32(0)}, jb.errors.DtypeError),
        ({"is_last": np.zeros(1, bool)}, jb.errors.ShapeError),
    ],
    ids=str,
)
def test_a_reward_that_is_no_float_or_a_flag_that_is_no_bool_is_refused_by_name(change, error):
    with pytest.raises(error, match=next(iter(change))):
        init(GOOD.replace(**change))


def test_the_view_inside_checks_the_row_too():
    row = {"obs": GOOD.obs, "reward": np.float32(0), "is_first": np.False_}
    with pytest.raises(jb.errors.MissingFieldError, match="action"):
        init(row, jb.Hindsight(jb.Sequences(2, actions="previous"), distance))


def test_a_ring_too_small_for_the_view_inside_is_refused_with_the_size_needed():
    with pytest.raises(jb.errors.ConfigurationError, match="at least 8"):
        jb.Replay(6, 2, 1, jb.Hindsight(jb.Sequences(4), distance))


BAD = {
    "a class for a view": lambda: jb.Hindsight(jb.Items, distance),
    "no function": lambda: jb.Hindsight(jb.Items(), "distance"),
    "unknown goals": lambda: jb.Hindsight(jb.Items(), distance, "past"),
    "a negative fraction": lambda: jb.Hindsight(jb.Items(), distance, fraction=-0.1),
    "more than all": lambda: jb.Hindsight(jb.Items(), distance, fraction=1.1),
    "no number": lambda: jb.Hindsight(jb.Items(), distance, fraction=float("nan")),
    "a bool": lambda: jb.Hindsight(jb.Items(), distance, fraction=True),
    "a string": lambda: jb.Hindsight(jb.Items(), distance, fraction="0.8"),
    "a path that is no name": lambda: jb.Hindsight(jb.Items(), distance, achieved=("obs", "achieved_goal")),
    "no path": lambda: jb.Hindsight(jb.Items(), distance, desired=None),
}


@pytest.mark.parametrize("name", BAD)
def test_an_impossible_configuration_is_refused(name):
    with pytest.raises(jb.errors.ConfigurationError):
        BAD[name]()


def test_equal_configurations_are_equal_values():
    one, two = (jb.Hindsight(jb.Items(), distance, "final", 0.5) for _ in range(2))
    assert (one, hash(one)) == (two, hash(two))
    assert one != jb.Hindsight(jb.Items(), distance, "final", 0.25)
