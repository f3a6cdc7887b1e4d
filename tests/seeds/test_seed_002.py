"""Parallel environments that reset themselves: whole episodes are kept, drawn as such, and lose no reward."""

import jax
import numpy as np

import jaxbuffers as jb

ENVS, STEPS = 3, 60
GOALS = np.array([1, 3, 5])  # steps of an episode, in each environment


class Corridors:
    """Walk to the goal: reward 1 there, 0 before; with it comes the first observation of the next episode."""

    def __init__(self):
        self.episode, self.place = np.zeros(ENVS, int), np.zeros(ENVS, int)

    def observe(self):
        return np.stack([np.arange(ENVS), self.episode, self.place], axis=-1).astype(np.float32)

    def step(self, action):
        self.place = self.place + action
        done = self.place == GOALS
        self.episode, self.place = self.episode + done, np.where(done, 0, self.place)
        return self.observe(), done.astype(np.float32), done


WALK = np.ones(ENVS, np.int32)


def sample(replay, state):
    return jax.tree.map(np.asarray, jax.jit(replay.sample)(state, jax.random.key(0)))


def recorded(capacity, batch_size, view, sampler):
    """Through the recorder, in the mode of such environments."""
    envs, recorder = Corridors(), jb.Recorder("same_step")
    rec = recorder.init(envs.observe())
    replay = jb.Replay(capacity, ENVS, batch_size, view, sampler)
    state = replay.init(recorder.row(rec, WALK))
    add, record = jax.jit(replay.add, donate_argnums=0), jax.jit(recorder.step)
    for _ in range(STEPS):
        obs, reward, done = envs.step(WALK)
        rec, rows, mask = record(rec, action=WALK, obs=obs, reward=reward, terminated=done, truncated=np.zeros(3, bool))
        state = add(state, rows, mask)
    return replay, state


def test_rows_as_they_come_keep_episodes_apart_and_lose_what_ended_them():
    envs = Corridors()
    replay = jb.Replay(ENVS * 64, ENVS, 512, jb.Transitions(gamma=0.5))
    obs, reward, was_done = envs.observe(), np.zeros(ENVS, np.float32), np.ones(ENVS, bool)
    row = {"obs": obs, "action": WALK, "reward": reward, "is_first": was_done, "is_terminal": np.zeros(ENVS, bool)}
    state = replay.init(jax.tree.map(lambda x: x[0], row))
    add = jax.jit(replay.add, donate_argnums=0)
    for _ in range(STEPS):
        state = add(state, row)
        obs, reward, was_done = envs.step(WALK)
        row |= {"obs": obs, "reward": reward, "is_first": was_done}
    data = sample(replay, state).data
    np.testing.assert_array_equal(data.obs[:, :2], data.next_obs[:, :2])
    assert not data.reward.any()  # though every episode was rewarded
    assert (data.discount == 0.5).all()
    assert set(data.obs[:, 0]) == {1, 2}  # of episodes with one step there is nothing


def test_the_recorder_keeps_the_reward_and_the_end_of_every_episode():
    replay, state = recorded(ENVS * 128, 512, jb.Transitions(gamma=0.5), jb.Uniform())
    data = sample(replay, state).data
    env, place = data.obs[:, 0].astype(int), data.obs[:, 2]
    assert set(env) == {0, 1, 2}
    ends = place + 1 == GOALS[env]
    np.testing.assert_array_equal(data.reward, ends)
    np.testing.assert_array_equal(data.discount, np.where(ends, 0, 0.5))
    np.testing.assert_array_equal(data.next_obs[~ends, 2], place[~ends] + 1)


def test_whole_episodes_uniformly_and_the_oldest_go_first():
    replay, state = recorded(ENVS * 24, 900, jb.Episodes(6), jb.Uniform())
    assert int(replay.size(state)) == ENVS * 24
    data = sample(replay, state).data
    rows, length = data.rows, data.length
    env = rows.obs[:, 0, 0].astype(int)
    np.testing.assert_array_equal(length, GOALS[env] + 1)
    np.testing.assert_array_equal(rows.reward.sum(axis=1), 1)
    assert rows.is_first[:, 0].all()
    assert (rows.is_last.sum(axis=1) == 1).all()
    # 24 rows of each environment are 12 (less one begun), 6 and 4 episodes; of 900 draws each comes 40 times or so.
    drawn = set(zip(env.tolist(), rows.obs[:, 0, 1].tolist(), strict=True))
    for number in range(ENVS):
        kept = sorted(episode for which, episode in drawn if which == number)
        assert kept == list(range(int(kept[0]), STEPS // GOALS[number]))
        assert 24 // (GOALS[number] + 1) - 1 <= len(kept) <= 24 // (GOALS[number] + 1)


def test_an_episode_first_then_a_start_in_it():
    replay, state = recorded(ENVS * 128, 2000, jb.Sequences(2, "within"), jb.ByEpisode())
    data = sample(replay, state).data
    env, place = data.obs[:, 0, 0].astype(int), data.obs[:, 0, 2].astype(int)
    # 60, 20 and 12 episodes, and every start in them, the last one too. Five standard deviations are 110 draws.
    np.testing.assert_allclose(np.bincount(env), 2000 * np.array([60, 20, 12]) / 92, atol=110)
    for number, steps in enumerate(GOALS):
        assert set(place[env == number]) == set(range(steps))
