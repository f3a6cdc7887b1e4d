"""What the recorder refuses: errors that name the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError


@pytest.mark.parametrize("mode", ["next_step", "disabled"])
def test_a_final_observation_is_refused_in_a_mode_that_has_none(mode):
    recorder = jb.Recorder(mode)
    obs = np.float32([0])
    with pytest.raises(ConfigurationError, match="same_step"):
        recorder.step(
            recorder.init(obs), action=np.int32([0]), obs=obs, reward=obs, terminated=np.array([False]),
            truncated=np.array([False]), final_obs=obs,
        )  # fmt: skip


def test_an_unknown_mode_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"next_step.*same_step.*disabled"):
        jb.Recorder("auto")


WRONG = {
    "float64 rewards": ({"reward": np.zeros(2, np.float64)}, DtypeError, "'reward'.*float64.*[Cc]onvert"),
    "float16 rewards": ({"reward": np.zeros(2, np.float16)}, DtypeError, r"'reward'.*astype\('float32'\)"),
    "integer rewards": ({"reward": np.zeros(2, np.int32)}, DtypeError, r"'reward'.*astype\('float32'\)"),
    "float flags": ({"terminated": np.zeros(2, np.float32)}, DtypeError, r"'terminated'.*astype\('bool'\)"),
    "a column of rewards": ({"reward": np.zeros((2, 1), np.float32)}, ShapeError, "reward"),
    "one flag for all": ({"truncated": np.bool_(False)}, ShapeError, "truncated"),
    "one action for all": ({"action": np.int32(0)}, ShapeError, "action"),
    "another shape of obs": ({"obs": np.zeros((2, 4), np.float32)}, ShapeError, "obs"),
    "several steps of obs": ({"obs": np.zeros((5, 2, 3), np.float32)}, ShapeError, r"obs has the axes \(5,\) in"),
    "another dtype of obs": ({"obs": np.zeros((2, 3), np.uint8)}, DtypeError, r"obs.*astype\('float32'\)"),
    "the final obs as an object array": (
        {"final_obs": np.array([None, np.zeros(3, np.float32)], dtype=object)}, DtypeError, "final_observations",
    ),
    "the final obs of one environment": ({"final_obs": np.zeros(3, np.float32)}, ShapeError, "final_obs"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_exactly_is_refused_by_name(wrong):
    change, error, message = WRONG[wrong]
    recorder = jb.Recorder("same_step")
    obs, no = np.zeros((2, 3), np.float32), np.zeros(2, bool)
    out = {"action": np.zeros(2, np.int32), "obs": obs, "reward": np.zeros(2, np.float32), "terminated": no}
    out |= {"truncated": no, "final_obs": obs}
    recorder.step(recorder.init(obs), **out)
    with pytest.raises(error, match=message):
        recorder.step(recorder.init(obs), **out | change)


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="with 64-bit types on, JAX cuts nothing")
def test_int64_actions_and_float64_observations_are_refused_where_jax_would_cut_them():
    recorder = jb.Recorder("next_step")
    obs, no = np.zeros((2, 3), np.float32), np.zeros(2, bool)
    out = {"obs": obs, "reward": np.zeros(2, np.float32), "terminated": no, "truncated": no}
    with pytest.raises(DtypeError, match=r"'action'.*int64.*Convert"):
        recorder.step(recorder.init(obs), action=np.zeros(2, np.int64), **out)
    with pytest.raises(DtypeError, match=r"float64.*Convert"):
        recorder.init(obs.astype(np.float64))


def test_rewards_of_another_float_dtype_are_announced_to_init():
    recorder = jb.Recorder("next_step")
    obs, no = np.zeros(2, np.float32), np.zeros(2, bool)
    rec = recorder.init(obs, reward_dtype=jnp.bfloat16)
    reward = jnp.ones(2, jnp.bfloat16)
    for _ in range(2):
        rec, row, _ = recorder.step(
            rec, action=np.zeros(2, np.int32), obs=obs, reward=reward, terminated=no, truncated=no
        )
    assert row.reward.dtype == jnp.bfloat16
    np.testing.assert_array_equal(row.reward, reward)


def test_several_environments_are_no_single_one():
    recorder, obs, no = jb.Recorder("next_step"), np.zeros(3, np.float32), np.zeros((), bool)
    rec = recorder.init(obs, batched=False)
    out = {"action": np.int32(0), "reward": np.float32(0), "terminated": no, "truncated": no}
    with pytest.raises(ShapeError, match=r"^obs has the axes \(2,\) in front .* several environments"):
        recorder.step(rec, obs=np.stack([obs, obs]), **out)


def test_init_says_how_to_record_one_environment_without_an_axis():
    with pytest.raises(ShapeError, match="batched=False"):
        jb.Recorder("disabled").init(np.float32(0))
    with pytest.raises(ShapeError, match="one E"):
        jb.Recorder("disabled").init({"a": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)})


@pytest.mark.parametrize("verb", ["row", "finish"])
def test_an_action_or_extras_without_the_axis_of_environments_make_no_row(verb):
    recorder = jb.Recorder("disabled")
    rec = recorder.init(np.zeros((2, 3), np.float32))
    for given in ({"action": np.int32(0)}, {"action": np.zeros(2, np.int32), "extras": np.zeros(3, np.float32)}):
        with pytest.raises(ShapeError, match=rf"{[*given][-1]} must have leaves \[2, \.\.\.\]"):
            getattr(recorder, verb)(rec, **given)


def test_what_is_no_state_of_this_recorder_is_refused():
    recorder, obs = jb.Recorder("disabled"), np.zeros(2, np.float32)
    with pytest.raises(StructureError, match="RecorderState"):
        recorder.reset({"obs": obs}, obs)
    with pytest.raises(ConfigurationError, match="same_step"):
        recorder.reset(jb.Recorder("same_step").init(obs), obs)


def test_final_observations_are_neither_cast_nor_broadcast_nor_missed():
    obs, ended = np.zeros((2, 3), np.uint8), np.array([False, True])
    for leaf, error in ((np.zeros(3), ShapeError), (np.uint8(1), ShapeError)):
        final = np.empty(2, object)
        final[1] = leaf
        with pytest.raises(error, match="environment 1"):
            jb.final_observations(obs, {"final_obs": final, "_final_obs": ended})
    with pytest.raises(StructureError, match=r"before 1\.0"):
        jb.final_observations(obs, {"final_observation": None, "_final_observation": ended})
