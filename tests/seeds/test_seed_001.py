"""Dreamer: image sequences out of a loop in Python, and PlaNet's memory and episodes."""

import jax
import numpy as np
import pytest

import jaxbuffers as jb

LENGTH, BATCH, ACTIONS = 5, 16, 6
SHAPE = (3, 4, 4)


class World:
    """Images show the episode and the time; episodes take 7, 8, 9, ... steps and end in a terminal state."""

    episode = -1

    def reset(self):
        self.episode, self.time = self.episode + 1, 0
        return self.observe()

    def observe(self):
        image = np.zeros(SHAPE, np.uint8)
        image[0], image[1] = self.episode, self.time
        return {"image": image}

    def step(self, action):
        assert action.dtype == np.float64  # what a policy in NumPy gives
        self.time += 1
        return self.observe(), np.float64(self.time), float(self.time == 7 + self.episode)


def policy(obs):
    episode, time = obs["image"][0, 0, 0], obs["image"][1, 0, 0]
    return np.linspace(0, 1, ACTIONS) + episode + time / 16


def replay(**options):
    return jb.Replay(
        capacity=48, num_envs=None, batch_size=BATCH, view=jb.Sequences(LENGTH, "within", time_major=True, **options)
    )


def by_hand():
    fields = jb.Row(
        obs={"image": jax.ShapeDtypeStruct(SHAPE, np.uint8)},
        action=jax.ShapeDtypeStruct((ACTIONS,), np.float32),
        reward=np.float32,
        is_first=np.bool_,
        is_last=np.bool_,
        is_terminal=np.bool_,
    )
    return jb.HostReplay(replay(), fields)


ROW = {
    "obs": World.reset(World()),
    "action": np.zeros(ACTIONS, np.float32),
    "reward": np.float64(0.5),
    "is_first": False,
    "is_last": False,
    "is_terminal": False,
}
SAYS = {
    "a float64 action": ({"action": np.zeros(ACTIONS)}, jb.errors.DtypeError, r"float64.*action\.astype\('float32'\)"),
    "a list as action": (
        {"action": [0.0] * ACTIONS},
        jb.errors.DtypeError,
        r"action.*numpy\.array\(\.\.\., 'float32'\)",
    ),
    "done as 1.0": ({"is_last": 1.0}, jb.errors.DtypeError, r"'is_last'.*1\.0: write bool\(\.\.\.\)"),
    "done as float32": ({"is_last": np.float32(1)}, jb.errors.DtypeError, r"is_last\.astype\('bool'\)"),
    "done as 1": ({"is_last": 1}, jb.errors.DtypeError, r"'is_last'.*write bool\(\.\.\.\)"),
    "terminal alone": ({"is_terminal": True}, jb.errors.StructureError, "a terminal row is the last of its episode"),
    "a float image": (
        {"obs": {"image": np.zeros(SHAPE, np.float32)}},
        jb.errors.DtypeError,
        r"image\.astype\('uint8'\)",
    ),
    "an image of channels last": (
        {"obs": {"image": np.zeros((4, 4, 3), np.uint8)}},
        jb.errors.ShapeError,
        r"\(3, 4, 4\)",
    ),
    "the image itself": ({"obs": np.zeros(SHAPE, np.uint8)}, jb.errors.StructureError, r"obs\.image.*obs is a ndarray"),
}


@pytest.mark.parametrize("case", SAYS)
def test_what_is_refused_says_what_to_write(case):
    wrong, error, words = SAYS[case]
    buffer = by_hand()
    with pytest.raises(error, match=words):
        buffer.insert(**ROW | wrong)
    assert len(buffer) == 0


def test_one_flag_for_the_end_says_what_rows_hold_instead():
    buffer = jb.HostReplay(jb.Replay(8, None, 2, jb.Items()), dict.fromkeys(("x", "is_first", "is_last"), np.bool_))
    with pytest.raises(
        jb.errors.StructureError, match=r"missing fields: is_first, is_last; unknown.*done.*jb\.Recorder"
    ):
        buffer.insert(x=True, done=1.0)


def collect(steps=120, **options):
    world, recorder = World(), jb.Recorder("disabled")
    obs = world.reset()
    rec = recorder.init(obs, batched=False)
    buffer = jb.HostReplay(replay(**options), recorder.row(rec, np.zeros(ACTIONS, np.float32)))
    record = jax.jit(recorder.step)
    for _ in range(steps):
        action = policy(obs)
        after, reward, done = world.step(action)
        rec, rows, mask = record(
            rec,
            action=action.astype(np.float32),
            obs=after,
            reward=np.float32(reward),
            terminated=np.bool_(done),
            truncated=np.bool_(False),
        )
        buffer.add(rows, mask)
        obs = after
        if done:
            obs = world.reset()
            rec = recorder.reset(rec, obs)
    return buffer


def test_sequences_of_one_episode_each():
    buffer = collect()
    assert len(buffer) == 48
    starts = set()
    for _ in range(40):
        data = buffer.sample().data
        image = np.asarray(data.obs["image"])
        assert (image.shape, image.dtype) == ((LENGTH, BATCH, *SHAPE), np.uint8)
        episode, time = image[:, :, 0, 0, 0].astype(int), image[:, :, 1, 0, 0].astype(int)
        assert (episode == episode[0]).all()
        assert (np.diff(time, axis=0) == 1).all()
        last = time == 7 + episode
        np.testing.assert_array_equal(data.is_terminal, last)
        np.testing.assert_array_equal(data.reward, time)  # received on arriving there
        expected = np.linspace(0, 1, ACTIONS) + (episode + time / 16)[..., None]
        np.testing.assert_array_equal(data.action, np.where(last[..., None], 0, expected).astype(np.float32))
        starts |= set(zip(episode[0].tolist(), time[0].tolist(), strict=True))
    # 5 rows of episode 10, 17 and 16 of episodes 9 and 8, and the last 10 of 15 of episode 7. Each of the 32 windows
    # comes in 640 draws, but for one time in 10 million.
    assert starts == {
        (10, 0),
        *((9, t) for t in range(13)),
        *((8, t) for t in range(12)),
        *((7, t) for t in range(5, 11)),
    }


def test_actions_may_be_those_that_led_to_an_observation():
    data = collect(30, actions="previous").sample().data
    time = np.asarray(data.obs["image"])[:, :, 1, 0, 0].astype(int)
    assert (np.asarray(data.action)[time == 0] == 0).all()
    np.testing.assert_array_equal(data.action[1:, :, 0] % 1, (time[:-1] / 16) % 1)


def test_a_memory_of_single_transitions():
    fields = {"obs": jax.ShapeDtypeStruct((2,), np.float32), "action": np.int32, "reward": np.float32, "info": jb.text}
    memory = jb.HostReplay(jb.Replay(10, None, 4, jb.Items(), jb.WithoutReplacement()), fields)
    for i in range(13):
        memory.insert(obs=np.full(2, i, np.float32), action=i, reward=i / 2, info=f"step {i}")
    assert len(memory) == 10
    batch = memory.sample(10)
    assert sorted(batch["action"].tolist()) == list(range(3, 13))  # none twice
    assert batch["info"] == [f"step {i}" for i in batch["action"]]


def test_whole_episodes_to_imagine_from():
    episodes = jb.HostReplay(
        jb.Replay(32, None, 64, jb.Episodes(8)),
        jb.Row(*[np.float32] * 3, is_first=np.bool_, is_last=np.bool_, is_terminal=np.bool_),
    )
    for number, steps in enumerate([1, 7]):
        rows = jb.episode_rows(
            obs=100 * number + np.arange(steps + 1, dtype=np.float32),
            action=np.ones(steps, np.float32),
            reward=np.arange(1, steps + 1, dtype=np.float32),
            terminated=True,
            truncated=False,
        )
        episodes.add(rows)
    episode = episodes.sample().data
    assert set(episode.length.tolist()) == {2, 8}
    columns = map(np.asarray, (episode.rows.obs, episode.rows.reward, episode.length))
    for obs, reward, length in zip(*columns, strict=True):
        np.testing.assert_array_equal(obs[:length] - obs[0], np.arange(length))
        np.testing.assert_array_equal(reward[:length], np.arange(length))
        assert not obs[length:].any()
