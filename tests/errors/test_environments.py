"""What environments return and the Recorder refuses; episodes that are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from errors.mistakes import NARROW, says, zeros


def step(recorder, rec, **changed):
    fields = {"action": zeros(2, jnp.int32), "obs": zeros((2, 3)), "reward": zeros(2)}
    fields |= {"terminated": zeros(2, bool), "truncated": zeros(2, bool)}
    return recorder.step(rec, **(fields | changed))


@pytest.mark.parametrize("mode", ["next_step", "disabled"])
def test_a_final_observation_in_a_mode_without_one_is_refused(mode):
    recorder = jb.Recorder(mode)
    with pytest.raises(
        jb.errors.ConfigurationError, match=f"final_obs belongs to mode 'same_step', not '{mode}'; leave it out"
    ):
        step(recorder, recorder.init(zeros((2, 3))), final_obs=zeros((2, 3)))


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
@pytest.mark.parametrize(
    "changed, error, name",
    [
        ({"obs": zeros((2, 1))}, jb.errors.ShapeError, "obs"),
        ({"obs": zeros((1, 3))}, jb.errors.ShapeError, "obs"),
        ({"obs": zeros((2, 2, 3))}, jb.errors.ShapeError, "obs"),
        ({"obs": zeros((2, 3), jnp.int32)}, jb.errors.DtypeError, "obs"),
        ({"obs": {"s": zeros((2, 3))}}, jb.errors.StructureError, "obs"),
        ({"action": zeros((3,), jnp.int32)}, jb.errors.ShapeError, "action"),
        ({"action": jnp.int32(0)}, jb.errors.ShapeError, "action"),
        ({"action": [0, 1]}, jb.errors.DtypeError, "action"),
        ({"reward": zeros((2, 1))}, jb.errors.ShapeError, "reward"),
        ({"reward": jnp.float32(0)}, jb.errors.ShapeError, "reward"),
        ({"reward": zeros(2, jnp.int32)}, jb.errors.DtypeError, "reward"),
        ({"reward": 0.5}, jb.errors.ShapeError, "reward"),
        ({"terminated": zeros(2)}, jb.errors.DtypeError, "terminated"),
        ({"terminated": zeros((), bool)}, jb.errors.ShapeError, "terminated"),
        ({"truncated": zeros((2, 2), bool)}, jb.errors.ShapeError, "truncated"),
        ({"truncated": False}, jb.errors.ShapeError, "truncated"),
        ({"extras": zeros(3)}, jb.errors.ShapeError, "extras"),
    ],
)
def test_bad_environment_outputs_are_refused_by_name(mode, changed, error, name):
    recorder = jb.Recorder(mode)
    with pytest.raises(error) as caught:
        step(recorder, recorder.init(zeros((2, 3))), **changed)
    says(caught, name)


@pytest.mark.parametrize("final", [zeros((2, 1)), zeros((3, 3)), zeros(3), zeros((2, 3), jnp.int32)], ids=str)
def test_a_bad_final_observation_is_refused_by_name(final):
    recorder = jb.Recorder("same_step")
    with pytest.raises((jb.errors.ShapeError, jb.errors.DtypeError), match="final_obs"):
        step(recorder, recorder.init(zeros((2, 3))), final_obs=final)


@pytest.mark.parametrize("obs", [jnp.float32(0), {"a": zeros(2), "b": zeros(3)}], ids=["scalar", "two sizes"])
def test_first_observations_without_one_environment_axis_say_how_to_leave_it_out(obs):
    with pytest.raises(jb.errors.ShapeError, match="batched=False"):
        jb.Recorder("next_step").init(obs)


@pytest.mark.parametrize("where", [jnp.ones(3, bool), jnp.ones(2), True], ids=["shape", "dtype", "scalar"])
def test_a_bad_choice_of_environments_to_reset_is_refused(where):
    recorder = jb.Recorder("disabled")
    with pytest.raises((jb.errors.ShapeError, jb.errors.DtypeError), match="where"):
        recorder.reset(recorder.init(zeros((2, 3))), zeros((2, 3)), where=where)


def test_a_reset_to_other_observations_is_refused():
    recorder = jb.Recorder("disabled")
    with pytest.raises(jb.errors.ShapeError, match="obs"):
        recorder.reset(recorder.init(zeros((2, 3))), zeros((2, 4)))


EPISODE = {"obs": zeros((4, 2)), "action": zeros(3, jnp.int32), "reward": zeros(3)}
EPISODE |= {"terminated": True, "truncated": False}


@pytest.mark.parametrize(
    "changed, error, parts",
    [
        ({"obs": zeros((3, 2))}, jb.errors.ShapeError, ("obs", "[4, ...]", "3 rewards", "(3, 2)")),
        ({"obs": jnp.float32(0)}, jb.errors.ShapeError, ("obs", "[4, ...]")),
        ({"action": zeros(4, jnp.int32)}, jb.errors.ShapeError, ("action", "[3, ...]")),
        ({"extras": {"a": zeros(3)}}, jb.errors.ShapeError, ("extras", "[4, ...]")),
        ({"reward": zeros((3, 1))}, jb.errors.ShapeError, ("reward", "[T]")),
        ({"reward": zeros(0)}, jb.errors.ShapeError, ("reward",)),
        ({"terminated": False}, jb.errors.StructureError, ("finished episode",)),
        (
            {"terminated": jnp.bool_([True, False, True])},
            jb.errors.StructureError,
            ("terminated", "before the last step"),
        ),
        (
            {"truncated": jnp.bool_([True, False, False])},
            jb.errors.StructureError,
            ("truncated", "before the last step"),
        ),
        ({"terminated": jnp.ones(2, bool)}, jb.errors.ShapeError, ("terminated", "bool [] or [3]")),
        ({"terminated": 1}, jb.errors.ShapeError, ("terminated", "bool")),
        ({"obs": "text"}, jb.errors.DtypeError, ("text",)),
        ({"action": [0, 1, 2]}, jb.errors.DtypeError, ("type int",)),
    ],
)
def test_what_is_not_one_finished_episode_is_refused(changed, error, parts):
    with pytest.raises(error) as caught:
        jb.episode_rows(**(EPISODE | changed))
    says(caught, *parts)


@pytest.mark.skipif(not NARROW, reason="these dtypes are legal with 64-bit types")
@pytest.mark.parametrize("name", ["obs", "action", "reward", "extras"])
def test_wide_numpy_episodes_are_not_cut_in_silence(name):
    wide = {name: np.zeros({"obs": (4, 2), "extras": 4}.get(name, 3))}
    with pytest.raises(jb.errors.DtypeError, match="float64"):
        jb.episode_rows(**(EPISODE | wide))


def test_the_errors_are_the_builtin_kinds_that_callers_may_catch():
    for error in (
        jb.errors.StructureError,
        jb.errors.ShapeError,
        jb.errors.MissingFieldError,
        jb.errors.ConfigurationError,
    ):
        assert issubclass(error, ValueError)
    assert issubclass(jb.errors.DtypeError, TypeError)


def test_debug_checks_end_with_their_context():
    replay = jb.Replay(capacity=4, num_envs=None, batch_size=1, view=jb.Items())
    state = replay.init(jnp.float32(0))
    with jb.debug_checks(), jb.debug_checks(False):
        assert not replay.sample(state, jax.random.key(0)).valid
    with pytest.raises(RuntimeError), jb.debug_checks():
        raise RuntimeError
    assert not replay.sample(state, jax.random.key(0)).valid
