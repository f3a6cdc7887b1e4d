"""What is no trajectory is refused as a whole, and the next one is taken."""

import itertools

import jax
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from host.experts import demonstrations, screen, seen, trajectory, transitions
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    EmptyReplayError,
    ShapeError,
    StructureError,
    TextTableFullError,
)

STEPS = trajectory(4)


def changed(i, **fields):
    return [step | fields if k == i else step for k, step in enumerate(STEPS)]


def without(i, name):
    return [{key: value for key, value in step.items() if k != i or key != name} for k, step in enumerate(STEPS)]


WRONG = {
    "no steps": ([], StructureError, "at least one"),
    "a field missing": (without(2, "reward"), StructureError, "transition 2 has no reward"),
    "an unknown field": (changed(2, rewards=1), StructureError, "rewards"),
    "a bool as reward": (changed(2, reward=True), DtypeError, "reward"),
    "text as reward": (changed(2, reward="1"), DtypeError, "reward"),
    "a reward too large": (changed(2, reward=1e300), DtypeError, "reward"),
    "done twice": (changed(3, done=2), DtypeError, "'done' must be True or False, or a number that is 1 or 0; got 2"),
    "half done": (changed(3, done=np.array(0.5)), DtypeError, "done"),
    "done as text": (changed(3, done="1"), DtypeError, "done"),
    "done in several ways": (changed(3, done=np.ones(1, bool)), DtypeError, "done"),
    "a bool of NumPy as reward": (changed(2, reward=np.array(True)), DtypeError, "reward"),
    "a large int of NumPy as reward": (changed(2, reward=np.array(2**24 + 1)), DtypeError, "reward"),
    "several rewards": (changed(2, reward=np.ones(1, np.float32)), ShapeError, "reward"),
    "an array that hides what it holds": (changed(2, reward=np.ma.array(1.0, mask=True)), DtypeError, "reward"),
    "a number as action": (changed(2, action=3), StructureError, "action of transition 2"),
    "no action": (changed(2, action=None), StructureError, "action of transition 2"),
    "wide features": (changed(2, image_features=np.zeros(4)), DtypeError, "image_features"),
    "features of another size": (changed(3, next_image_features=screen(4, 5)), ShapeError, "next_image_features"),
    "a list of features": (changed(2, image_features=[2.0] * 4), DtypeError, "image_features"),
    "another observation": (changed(2, observation="elsewhere"), StructureError, "observation of transition 2"),
    "other features": (changed(2, image_features=screen(7)), StructureError, "image_features of transition 2"),
    "done in between": (changed(1, done=True), StructureError, "transition 2 comes after one that is done"),
    "one return only": (changed(2, mc_return=1.0), StructureError, "mc_return"),
    "too long": (trajectory(16), ShapeError, "17 rows"),
}


def one_by_one(demos, steps):
    for step in steps:
        demos.insert(**step)


HOW = {
    "at once": lambda demos, steps: demos.insert_trajectory(steps),
    "among others": lambda demos, steps: demos.extend([trajectory(2, 70), steps, trajectory(2, 80)]),
    "one by one": one_by_one,
}
# One by one, a step that is done ends a trajectory, and no step is none.
CASES = [
    (case, how) for case in WRONG for how in HOW if how != "one by one" or case not in ("no steps", "done in between")
]
# In the quick tier each case once, in one of the ways.
QUICK = [CASES.index(each) for each in zip(WRONG, itertools.cycle(HOW), strict=False) if each in CASES]


@pytest.mark.parametrize("case, how", long_but(CASES, QUICK))
def test_a_wrong_trajectory_leaves_all_as_it_was(case, how):
    steps, error, match = WRONG[case]
    demos = demonstrations()
    demos.insert_trajectory(trajectory(2, first=50))
    before = seen(demos)
    with pytest.raises(error, match=match):
        HOW[how](demos, steps)
    if how == "one by one":
        assert 2 <= len(demos._open) < 16
        demos.finish(store=False)
    assert seen(demos) == before
    demos.insert_trajectory(STEPS)
    assert sorted(transitions(demos)) == [0, 1, 2, 3, 50, 51]


def test_a_step_that_was_refused_can_be_given_again():
    demos = demonstrations()
    for i, step in enumerate(STEPS):
        for wrong in ({"reward": None}, {"action": 3}, {"image_features": screen(9, 9)}):
            with pytest.raises((ValueError, TypeError)):
                demos.insert(**step | wrong)
        assert len(demos._open) == i
        demos.insert(**step)
    assert sorted(transitions(demos)) == [0, 1, 2, 3]


@pytest.mark.parametrize("verb", ["insert_trajectory", "extend"])
def test_nothing_comes_in_between_the_steps_of_a_trajectory(verb):
    demos = demonstrations()
    demos.insert(**STEPS[0])
    before = seen(demos)
    with pytest.raises(StructureError, match=r"1 steps is under way.*finish\(\)"):
        getattr(demos, verb)(STEPS if verb == "insert_trajectory" else [STEPS])
    assert seen(demos) == before


def test_a_full_table_stores_no_trajectory_of_several():
    demos = demonstrations(table=jb.TextTable(max_bytes=30))
    before = seen(demos)
    with pytest.raises(TextTableFullError):
        demos.extend([trajectory(2), trajectory(2, 20), trajectory(2, 40)])
    assert seen(demos) == before
    demos.extend([trajectory(2)])
    assert sorted(transitions(demos)) == [0, 1]


def test_a_full_table_keeps_the_trajectory_under_way():
    demos = demonstrations(table=jb.TextTable(max_bytes=5))
    demos.insert(**STEPS[0])
    with pytest.raises(TextTableFullError):
        demos.insert(**STEPS[1] | {"done": True})
    assert (len(demos), len(demos._open), len(demos.buffer.table)) == (0, 1, 0)


@pytest.mark.parametrize("top", [0.0, 1.5, -1, True, None, float("nan")])
def test_a_quantile_that_is_none(top):
    demos = demonstrations()
    with pytest.raises(ConfigurationError, match="fraction"):
        demos.extend([STEPS], top=top)
    assert len(demos) == 0


@pytest.mark.parametrize("gamma", [-0.1, 1.5, float("nan"), None, "1", True])
def test_a_discount_that_is_none(gamma):
    with pytest.raises(ConfigurationError, match="gamma"):
        demonstrations(gamma=gamma)


@pytest.mark.parametrize(
    "features", [[512], (0,), (-1,), (2.5,), True, (True,), 0, "512", ("512",), np.array("a"), {4}], ids=repr
)
def test_features_that_are_no_array(features):
    with pytest.raises((DtypeError, ShapeError), match=r"image_features|\(512,\)"):
        jb.Demonstrations(16, features)


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="64-bit features are refused only where JAX would cut them")
def test_features_of_64_bits():
    with pytest.raises(DtypeError, match=r"image_features.*float64"):
        jb.Demonstrations(16, np.zeros(4))


def test_features_that_were_not_declared():
    demos = jb.Demonstrations(16)
    declaration = r"image_features=jax\.ShapeDtypeStruct\(\(4,\), 'float32'\)"
    with pytest.raises(StructureError, match=declaration):
        demos.insert(**STEPS[0])
    with pytest.raises(StructureError, match=declaration):
        demos.insert_trajectory(STEPS)
    assert (len(demos), demos.open_steps) == (0, 0)


def test_what_does_not_continue_names_both_ways_out():
    demos = demonstrations()
    demos.insert(**STEPS[0])
    with pytest.raises(StructureError, match=r"finish\(\).*independent=True"):
        demos.insert(**STEPS[2])


@pytest.mark.parametrize("independent", [1, None, "yes"])
def test_a_mode_that_is_none(independent):
    with pytest.raises(ConfigurationError, match="independent"):
        demonstrations(independent=independent)


def test_a_capacity_without_room_for_one_transition():
    with pytest.raises(ConfigurationError, match="capacity"):
        demonstrations(capacity=1)
    demos = demonstrations(capacity=2)
    demos.insert_trajectory(trajectory(1))
    assert sorted(transitions(demos)) == [0]


def test_sampling_nothing():
    with pytest.raises(EmptyReplayError, match="add more first"):
        demonstrations().sample()


def test_features_of_other_dtypes():
    features = jax.ShapeDtypeStruct((2, 3), np.uint8)
    demos = jb.Demonstrations(16, features)
    step = STEPS[3] | {
        "image_features": np.full((2, 3), 7, np.uint8),
        "next_image_features": np.zeros((2, 3), np.uint8),
    }
    demos.insert(**step)
    np.testing.assert_array_equal(demos.sample(1).data["image_features"][0], step["image_features"], strict=False)
    for wrong in (screen(3), np.zeros((2, 3), np.float32), np.zeros((3, 2), np.uint8)):
        with pytest.raises((DtypeError, ShapeError), match="'image_features'"):
            demos.insert(**step | {"image_features": wrong})
