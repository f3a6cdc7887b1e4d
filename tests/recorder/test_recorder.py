"""The recorder itself: one result however it is called."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb

from .collect import record
from .environments import cart_pole, policy
from .reference import GAMMA, assert_same, known, read_all, rollout, row_like, transitions

MODES = ("next_step", "same_step", "disabled")
E, STEPS = 4, 12


def outputs(mode, with_final=True):
    """Draw what environments might return, ends of both kinds and both at once included."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        out = {
            "action": {"move": rng.integers(1, 9, E).astype(np.int32), "aim": rng.random((E, 2), np.float32) + 1},
            "obs": {"place": rng.random((E, 3), np.float32), "count": rng.integers(0, 256, E).astype(np.uint8)},
            "reward": rng.random(E, np.float32) + 1,
            "terminated": rng.random(E) < 0.3,
            "truncated": rng.random(E) < 0.3,
            "extras": {"log_prob": rng.random(E, np.float32) + 1},
        }
        if mode == "same_step" and with_final:
            out["final_obs"] = {"place": rng.random((E, 3), np.float32), "count": np.full(E, 7, np.uint8)}
        yield out, rng.random(E) < 0.2


def start():
    return {"place": np.zeros((E, 3), np.float32), "count": np.arange(E).astype(np.uint8)}


def written(recorder, mode, with_final=True, step=None, reset=None):
    """Record all steps, with a reset of some environments after each; return rows, mask and states."""
    rec, found = recorder.init(start()), []
    step = step or (lambda rec, out: recorder.step(rec, **out))
    reset = reset or (lambda rec, obs, where: recorder.reset(rec, obs, where=where))
    for out, where in outputs(mode, with_final):
        rec, rows, mask = step(rec, out)
        found.append((rows, mask, rec))
        rec = reset(rec, out["obs"], where)
    return [jax.tree.map(np.asarray, each) for each in found]


CASES = [(mode, final) for mode in MODES for final in ((True, False) if mode == "same_step" else (True,))]


@pytest.mark.parametrize(("mode", "with_final"), CASES)
def test_a_compiled_step_records_what_an_eager_one_does(mode, with_final):
    recorder = jb.Recorder(mode)
    compiled = written(recorder, mode, with_final, partial(record, recorder), jax.jit(recorder.reset))
    assert_same(compiled, written(recorder, mode, with_final))


@pytest.mark.parametrize(("mode", "with_final"), CASES)
def test_a_batch_records_what_each_environment_does_alone_and_under_vmap(mode, with_final):
    recorder = jb.Recorder(mode)
    axis = 0 if mode == "next_step" else 1

    each = jax.jit(jax.vmap(lambda rec, out: recorder.step(rec, **out), out_axes=(0, axis, axis)))
    expected = written(recorder, mode, with_final, partial(record, recorder))
    assert_same(written(recorder, mode, with_final, each), expected)

    e, found, rec = 2, [], recorder.init(jax.tree.map(lambda leaf: leaf[2], start()), batched=False)
    for out, where in outputs(mode, with_final):
        out = jax.tree.map(lambda leaf: leaf[e], out)
        rec, rows, mask = record(recorder, rec, out)
        found.append((rows, mask, rec))
        rec = recorder.reset(rec, out["obs"], where=where[e])
    alone = [
        (*jax.tree.map(lambda leaf: np.take(leaf, e, axis), (rows, mask)), jax.tree.map(lambda leaf: leaf[e], rec))
        for rows, mask, rec in expected
    ]
    assert_same([jax.tree.map(np.asarray, each) for each in found], alone)


def test_one_unbatched_gymnasium_environment_is_recorded_as_its_own_rollout():
    """A plain loop: Python floats and bools from the environment, a reset by hand."""
    act, steps = policy(2), 40
    expected = rollout(cart_pole(), 3, act, steps)
    recorder = jb.Recorder("disabled")
    replay = jb.Replay(capacity=128, num_envs=None, view=jb.Transitions(gamma=GAMMA))
    env = cart_pole()
    obs, _ = env.reset(seed=3)
    rec = recorder.init(obs, batched=False)
    state = replay.init(row_like(obs, np.int32(0)))
    add = jax.jit(replay.add)
    for _ in range(steps):
        action = act(obs)
        obs, reward, terminated, truncated, _ = env.step(action)
        rec, rows, mask = recorder.step(
            rec, action=action, obs=obs, reward=reward, terminated=terminated, truncated=truncated
        )
        state = add(state, rows, mask)
        if terminated or truncated:
            obs, _ = env.reset()
            rec = recorder.reset(rec, obs)
    (got,) = read_all(replay, state)
    assert_same(got, [item.replace(extras=()) for item in transitions(known(expected))])


def test_final_observations_are_read_only_where_an_episode_ends():
    recorder = jb.Recorder("same_step")
    rec = recorder.init(np.float32([0, 10]))
    no = np.zeros(2, bool)
    rec, rows, mask = recorder.step(
        rec, action=np.int32([1, 1]), obs=np.float32([1, 20]), reward=np.float32([1, 1]),
        terminated=np.array([False, True]), truncated=no, final_obs=np.float32([np.nan, 11]),
    )  # fmt: skip
    kept = np.asarray(rows.obs)[np.asarray(mask)]
    np.testing.assert_array_equal(kept, [0, 10, 11])
    np.testing.assert_array_equal(rec.obs, [1, 20])


@pytest.mark.parametrize("terminated, truncated", [(True, True), (True, False), (False, True)])
def test_in_next_step_mode_the_step_that_resets_gives_no_action_no_reward_and_no_end(terminated, truncated):
    """Whatever the environment returns beside the first observation of the new episode is not believed."""
    recorder = jb.Recorder("next_step")
    flags = {"terminated": np.array([terminated]), "truncated": np.array([truncated])}
    rec = recorder.init(np.float32([0]))
    kept = []
    for t in range(1, 5):
        rec, row, mask = recorder.step(rec, action=np.int32([t]), obs=np.float32([t]), reward=np.float32([t]), **flags)
        assert mask.all()
        kept.append(row)
    np.testing.assert_array_equal([row.action[0] for row in kept], [1, 0, 3, 0])
    np.testing.assert_array_equal([row.reward[0] for row in kept], [0, 1, 0, 3])
    np.testing.assert_array_equal([row.is_first[0] for row in kept], [True, False, True, False])
    np.testing.assert_array_equal([row.is_last[0] for row in kept], [False, True, False, True])
    np.testing.assert_array_equal([row.is_terminal[0] for row in kept], [False, terminated, False, terminated])


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_by_hand_right_after_an_end_opens_an_ordinary_episode(mode):
    """In next_step mode the environments are then past their own reset: the next action counts."""
    recorder = jb.Recorder(mode)
    yes = np.array([True])
    out = {"action": np.int32([5]), "reward": np.float32([5]), "truncated": ~yes}
    rec = recorder.init(np.float32([0]))
    rec, _, _ = record(recorder, rec, {**out, "obs": np.float32([1]), "terminated": yes})
    rec, kept = recorder.reset(rec, np.float32([50])), []
    for obs in (51, 52):
        rec, rows, mask = record(recorder, rec, {**out, "obs": np.float32([obs]), "terminated": ~yes})
        kept.extend(zip(*(np.asarray(leaf)[np.asarray(mask)] for leaf in jax.tree.leaves(rows)), strict=True))
    # obs, action, reward, is_first, is_last, is_terminal
    assert kept == [(50, 5, 0, True, False, False), (51, 5, 5, False, False, False)]


def test_in_disabled_mode_a_finished_environment_writes_nothing_until_it_is_reset():
    recorder = jb.Recorder("disabled")
    rec = recorder.init(np.float32([0, 0]))
    no, first = np.zeros(2, bool), np.array([True, False])
    out = {"action": np.int32([1, 1]), "reward": np.float32([1, 1]), "truncated": no}
    masks = []
    for t, ended in ((1, first), (2, first), (3, no)):
        rec, rows, mask = record(recorder, rec, {**out, "obs": np.float32([t, t]), "terminated": ended})
        masks.append(np.asarray(mask))
    np.testing.assert_array_equal(np.stack(masks)[:, :, 0], [[True, True], [False, False], [False, False]])
    np.testing.assert_array_equal(np.stack(masks)[:, :, 1], [[True, False]] * 3)
    rec = recorder.reset(rec, np.float32([50, 60]), where=first)
    rec, rows, mask = record(recorder, rec, {**out, "obs": np.float32([51, 4]), "terminated": no})
    np.testing.assert_array_equal(mask, [[True, True], [False, False]])
    np.testing.assert_array_equal(rows.obs[0], [50, 3])
    np.testing.assert_array_equal(rows.reward[0], [0, 1])
    np.testing.assert_array_equal(rows.is_first[0], [True, False])


@pytest.mark.parametrize("mode", MODES)
def test_both_flags_at_once_are_a_termination(mode):
    recorder = jb.Recorder(mode)
    yes, rec, kept = np.array([True]), recorder.init(np.float32([0])), []
    for t in (1, 2):
        rec, rows, mask = recorder.step(
            rec, action=np.int32([1]), obs=np.float32([t]), reward=np.float32([1]), terminated=yes, truncated=yes
        )
        kept += np.asarray(rows.is_terminal)[np.asarray(mask)].tolist()
    assert kept[:2] == [False, True]


def test_equal_recorders_are_equal_values_and_do_not_retrace():
    traced = []

    @partial(jax.jit, static_argnums=0)
    def step(recorder, rec):
        traced.append(recorder)
        return recorder.reset(rec, rec.obs)

    rec = jb.Recorder("next_step").init(np.zeros(2, np.float32))
    step(jb.Recorder("next_step"), rec)
    step(jb.Recorder("next_step"), rec)
    assert len(traced) == 1


@pytest.mark.parametrize("mode", MODES)
def test_finish_writes_what_waits_as_the_end_of_its_episode_and_nothing_more_until_a_reset(mode):
    recorder = jb.Recorder(mode)
    action, zero, no = np.array([5, 5], np.int32), np.zeros(2, np.float32), np.zeros(2, bool)
    rec = recorder.init(np.array([1.0, 10.0], np.float32))
    given = {"action": action, "obs": np.array([2.0, 20.0], np.float32), "reward": zero + 3}
    # Environment 1 terminates; in the other modes its last row is written in the step itself.
    given |= {"terminated": np.array([False, True]), "truncated": no}
    if mode == "same_step":
        given["final_obs"] = np.array([2.0, 11.0], np.float32)
    rec, _, _ = recorder.step(rec, **given)
    rec, rows, mask = recorder.finish(rec, action)
    np.testing.assert_array_equal(mask, [True, mode != "disabled"])
    np.testing.assert_array_equal(rows.obs, [2.0, 20.0])
    np.testing.assert_array_equal(rows.is_last, [True, True])
    np.testing.assert_array_equal(rows.is_terminal, [False, mode == "next_step"])
    np.testing.assert_array_equal(rows.action, [0, 0])
    np.testing.assert_array_equal(rows.reward[0], 3.0)
    given |= {"terminated": no}
    rec, _, mask = recorder.step(rec, **given)
    assert not mask.any()
    rec = recorder.reset(rec, np.array([4.0, 40.0], np.float32))
    _, rows, mask = recorder.step(rec, **given)
    rows, mask = (jax.tree.map(lambda x: x[0], x) if mode != "next_step" else x for x in (rows, mask))
    assert mask.all()
    np.testing.assert_array_equal(rows.obs, [4.0, 40.0])
    np.testing.assert_array_equal(rows.is_first, [True, True])


@pytest.mark.parametrize("batched", [True, False])
def test_row_describes_what_step_returns(batched):
    recorder, lead = jb.Recorder("next_step"), (E,) * batched
    rec = recorder.init({"image": np.zeros((*lead, 2, 3), np.uint8)}, batched=batched)
    action, extras = np.zeros((*lead, 4), np.float32), {"id": np.zeros(lead, np.int32)}
    row = recorder.row(rec, action, extras)
    flags = {"terminated": np.zeros(lead, bool), "truncated": np.zeros(lead, bool)}
    _, rows, _ = recorder.step(
        rec, action=action, obs=rec.obs, reward=np.zeros(lead, np.float32), extras=extras, **flags
    )
    assert jax.tree.structure(row) == jax.tree.structure(rows)
    for described, returned in zip(jax.tree.leaves(row), jax.tree.leaves(rows), strict=True):
        assert (*lead, *described.shape) == returned.shape
        assert described.dtype == returned.dtype
    replay = jb.Replay(capacity=8 * E, num_envs=E if batched else None)
    assert int(replay.size(replay.add(replay.init(row), rows))) == (E if batched else 1)


@pytest.mark.parametrize("mode", MODES)
def test_every_state_can_be_donated(mode):
    recorder, action = jb.Recorder(mode), np.zeros(2, np.int32)
    obs, no = np.zeros((2, 3), np.float32), np.zeros(2, bool)
    given = {"action": action, "reward": np.zeros(2, np.float32), "terminated": no, "truncated": no, "obs": obs}
    given |= {"final_obs": obs} if mode == "same_step" else {}
    donated = jax.jit(lambda rec: jax.tree.map(lambda x: ~x if x.dtype == bool else x + 1, rec), donate_argnums=0)
    verbs = [lambda rec: recorder.step(rec, **given)[0], lambda rec: recorder.finish(rec, action)[0]]
    for verb in [*verbs, lambda rec: recorder.reset(rec, obs), lambda rec: rec]:
        donated(verb(recorder.init(obs)))  # raises if two leaves share a buffer


def test_a_reset_of_some_environments_leaves_the_others_as_they_are():
    recorder = jb.Recorder("same_step")
    rec = recorder.init(np.array([1.0, 2.0], np.float32))
    rec = recorder.reset(rec, np.array([3.0, 4.0], np.float32), where=np.array([True, False]))
    np.testing.assert_array_equal(rec.is_first, [True, True])
    np.testing.assert_array_equal(rec.obs, [3.0, 2.0])


@pytest.mark.parametrize("mode", MODES)
def test_what_a_verb_returns_shares_no_memory_with_its_rows_or_its_arguments(mode):
    recorder, action = jb.Recorder(mode), jnp.zeros(2, jnp.int32)
    obs, no = jnp.zeros((2, 3)), jnp.zeros(2, bool)
    given = {"action": action, "obs": obs, "reward": jnp.zeros(2), "terminated": no, "truncated": no}
    given |= {"final_obs": obs} if mode == "same_step" else {}
    for verb in (lambda rec: recorder.step(rec, **given), lambda rec: recorder.finish(rec, action)):
        rec, rows, mask = verb(recorder.init(obs))
        ours = {x.unsafe_buffer_pointer() for x in jax.tree.leaves(rec)}
        assert not ours & {x.unsafe_buffer_pointer() for x in jax.tree.leaves((rows, mask, given))}


@pytest.mark.parametrize("mode", MODES)
def test_the_recorder_keeps_every_bit_of_narrow_floats(mode):
    bits = np.array([[0x7F81, 0xFFA5, 0x8000]], np.uint16)
    obs, no = jnp.asarray(bits.view("bfloat16")), np.zeros(1, bool)
    recorder = jb.Recorder(mode)
    given = {"action": obs, "obs": obs, "reward": np.zeros(1, np.float32), "terminated": no, "truncated": no}
    given |= {"final_obs": obs} if mode == "same_step" else {}
    rec = recorder.reset(recorder.init(obs), obs, where=np.ones(1, bool))
    rec, rows, _ = jax.jit(lambda rec: recorder.step(rec, **given))(rec)
    rows_obs = np.asarray(rows.obs)  # to compare as they are: slicing in JAX may touch NaN
    for x in (rec.obs, rows_obs if mode == "next_step" else rows_obs[0]):
        np.testing.assert_array_equal(np.asarray(x).view(np.uint16), bits)
    episode = jb.episode_rows(np.concatenate([obs, obs]), obs, jnp.zeros(1), True, False)
    np.testing.assert_array_equal(np.asarray(episode.action)[:1].view(np.uint16), bits)
