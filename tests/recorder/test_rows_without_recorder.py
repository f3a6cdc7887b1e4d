"""Rows that need no recorder: ``was_done`` data and finished episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb

from .environments import Scripted, policy
from .reference import GAMMA, assert_same, known, read_all, rollout, row_like, rows, transitions

ACT = policy(8, lowest=1)


def was_done_rows(run):
    """List what a loop over an environment that resets itself sees before each action.

    ``was_done`` marks the first observation of a new episode; the reward that came with it belongs to the action that
    ended the episode before. Final observations are never seen.
    """
    found, arrival = [], np.float32(0)
    for number, episode in enumerate(run.episodes):
        for time, step in enumerate(episode):
            was_done = np.bool_(number > 0 and time == 0)
            found.append({"obs": step.obs, "action": step.action, "reward": arrival, "is_first": was_done})
            arrival = step.reward
    return found


def seen(run):
    """Episodes without the step that ended them: its outcome is never seen."""
    return [episode[:-1] for episode in run.episodes]


def stacked(items):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *items)


@pytest.mark.parametrize("n_step", [1, 3])
def test_was_done_rows_go_straight_into_add_and_no_transition_crosses_an_episode(n_step):
    runs = [rollout(Scripted(number), 0, ACT, 40) for number in range(3)]
    columns = stacked([stacked(was_done_rows(run)) for run in runs])
    columns["is_terminal"] = np.zeros((3, 40), bool)
    view = jb.Transitions(n_step=n_step, gamma=GAMMA)
    replay = jb.Replay(capacity=3 * 64, num_envs=3, view=view)
    state = replay.init(jax.tree.map(lambda leaf: leaf[0, 0], columns))
    add = jax.jit(replay.add)
    for t in range(40):
        state = add(state, jax.tree.map(lambda leaf, t=t: leaf[:, t], columns))
    for got, run in zip(read_all(replay, state), runs, strict=True):
        assert_same(got, [item.replace(extras=()) for item in transitions(seen(run), n_step)])


def test_was_done_rows_need_no_other_flag_for_sequences_within_an_episode():
    run = rollout(Scripted(1), 0, ACT, 40)
    columns = stacked(was_done_rows(run))
    replay = jb.Replay(capacity=64, num_envs=None, view=jb.Sequences(3, episodes="within"))
    state = jax.jit(replay.add)(replay.init(jax.tree.map(lambda leaf: leaf[0], columns)), columns)
    (windows,) = read_all(replay, state)
    expected = [
        np.stack([step.obs for step in episode[t : t + 3]]) for episode in run.episodes for t in range(len(episode) - 2)
    ]
    assert len(expected) >= 5
    assert_same([window["obs"] for window in windows], expected)


def arrays(episode):
    """Return one finished episode the way data sets keep it."""
    obs = np.stack([episode[0].obs, *(step.next_obs for step in episode)])
    action, reward, terminated, truncated = (
        np.stack([np.asarray(getattr(step, name)) for step in episode])
        for name in ("action", "reward", "terminated", "truncated")
    )
    return obs, action, reward, terminated, truncated


def finished(number, count=6):
    run = rollout(Scripted(number), 0, ACT, 60)
    return run._replace(episodes=run.episodes[:count], waiting=False)


@pytest.mark.parametrize("number", long_but([0, 1, 2], quick=[1]))
def test_episode_rows_store_every_transition_of_finished_episodes_once(number):
    run = finished(number)
    replay = jb.Replay(capacity=64, num_envs=None, view=jb.Transitions(gamma=GAMMA))
    state = replay.init(row_like(run.episodes[0][0].obs, np.int32(0)))
    episodes = [jb.episode_rows(*arrays(episode)) for episode in run.episodes]
    state = jax.jit(replay.add)(state, jax.tree.map(lambda *leaves: np.concatenate(leaves), *episodes))
    (got,) = read_all(replay, state)
    assert_same(got, [item.replace(extras=()) for item in transitions(known(run))])


def test_episode_rows_are_the_rows_that_a_recorder_writes():
    run = finished(0)
    recorder = jb.Recorder("disabled")
    for episode in run.episodes:
        rec, written = recorder.init(episode[0].obs, batched=False), []
        for step in episode:
            rec, pair, mask = recorder.step(
                rec, action=step.action, obs=step.next_obs, reward=step.reward, terminated=step.terminated,
                truncated=step.truncated,
            )  # fmt: skip
            written += [jax.tree.map(lambda leaf, n=n: leaf[n], pair) for n in range(2) if mask[n]]
        at_once = jb.episode_rows(*arrays(episode))
        assert_same([jax.tree.map(lambda leaf, n=n: leaf[n], at_once) for n in range(len(episode) + 1)], written)
    assert_same(
        [row.replace(extras=()) for row in rows(run)][-2:],
        [jax.tree.map(np.asarray, row) for row in written],
    )


def test_episode_rows_are_the_same_from_scalar_flags_and_inside_jit():
    for episode in finished(2).episodes:
        obs, action, reward, terminated, truncated = arrays(episode)
        eager = jb.episode_rows(obs, action, reward, terminated, truncated)
        for other in (
            jb.episode_rows(obs, action, reward, bool(terminated[-1]), bool(truncated[-1])),
            jax.jit(jb.episode_rows)(obs, action, reward, terminated, truncated),
        ):
            assert_same([other], [eager])


def test_episode_rows_refuse_what_is_not_one_finished_episode():
    obs, action, reward, terminated, truncated = arrays(finished(0).episodes[2])
    no = np.zeros_like(terminated)
    with pytest.raises(jb.errors.StructureError, match="finished"):
        jb.episode_rows(obs, action, reward, no, no)
    with pytest.raises(jb.errors.StructureError, match="one episode at a time"):
        jb.episode_rows(obs, action, reward, ~no, no)
    with pytest.raises(jb.errors.ShapeError, match="obs must have leaves"):
        jb.episode_rows(obs[:-1], action, reward, terminated, truncated)
    with pytest.raises(jb.errors.ShapeError, match="terminated must be bool"):
        jb.episode_rows(obs, action, reward, terminated.astype(np.float32), truncated)


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="64-bit rewards are refused only where JAX would cut them")
def test_episode_rows_refuse_float64_rewards_instead_of_cutting_them():
    obs, action, reward, terminated, truncated = arrays(finished(0).episodes[0])
    with pytest.raises(jb.errors.DtypeError, match=r"reward.*float64.*Convert"):
        jb.episode_rows(obs, action, reward.astype(np.float64), terminated, truncated)


def test_first_rows_have_reward_0_and_last_rows_action_0():
    made = jb.episode_rows(jnp.arange(3.0, dtype=jnp.float32), np.int32([5, 6]), np.float32([1, 2]), False, True)
    np.testing.assert_array_equal(made.reward, [0, 1, 2])
    np.testing.assert_array_equal(made.action, [5, 6, 0])
    np.testing.assert_array_equal(made.is_last & ~made.is_terminal, [False, False, True])
