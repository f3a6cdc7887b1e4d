"""Demonstrations: what was inserted comes back, each observation stored once, with its Monte Carlo return."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from host.experts import demonstrations, trajectory, transitions, without_features


def test_a_trajectory_comes_back():
    demos = demonstrations()
    demos.insert_trajectory(trajectory(3, reward=lambda i: 2.0**i))
    assert len(demos) == 3
    assert transitions(demos) == {0: (1, False, 3), 1: (2, False, 4), 2: (4, True, 4)}


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 14, 15])
def test_every_length_up_to_the_capacity(steps):
    demos = demonstrations()
    demos.insert_trajectory(trajectory(steps))
    assert sorted(transitions(demos)) == list(range(steps))
    demos.insert_trajectory(trajectory(15, first=100))
    assert sorted(transitions(demos)) == list(range(100, 115))


def test_one_by_one_is_the_same_as_at_once():
    one, other = demonstrations(), demonstrations()
    steps = trajectory(5, reward=lambda i: i)
    for step in steps[:-1]:
        one.insert(**step)
        assert len(one) == 0
    one.insert(**steps[-1])
    other.insert_trajectory(iter(steps))
    assert transitions(one) == transitions(other)


def test_one_by_one_around_the_ring():
    demos = demonstrations()
    for episode in range(7):
        for step in trajectory(3, first=10 * episode):
            demos.insert(**step)
        assert len(demos) == 3 * min(episode + 1, 4)
    assert sorted(transitions(demos)) == [10 * episode + i for episode in range(3, 7) for i in range(3)]


def test_what_is_left_of_an_overwritten_trajectory_is_still_right():
    demos = demonstrations()
    for first in (0, 100):
        demos.insert_trajectory(trajectory(9, first))
    # 20 rows in 16 places: four are gone, and with them the transitions that begin there
    assert sorted(transitions(demos)) == [*range(4, 9), *range(100, 109)]


def test_features_may_be_written_to_as_soon_as_insert_returns():
    demos, steps = demonstrations(), trajectory(3)
    now, then = np.empty(4, np.float32), np.empty(4, np.float32)
    for step in steps:
        now[:], then[:] = step["image_features"], step["next_image_features"]
        demos.insert(**step | {"image_features": now, "next_image_features": then})
        now[:] = then[:] = -1
    assert sorted(transitions(demos)) == [0, 1, 2]


@pytest.mark.parametrize("how", ["at once", "one by one"])
def test_a_trajectory_that_was_cut_off_is_not_done(how):
    demos, steps = demonstrations(gamma=1.0), trajectory(3, done=False)
    if how == "at once":
        demos.insert_trajectory(steps)
    else:
        for step in steps:
            demos.insert(**step)
        demos.finish()
    demos.insert_trajectory(trajectory(1, first=9))
    assert transitions(demos) == {0: (1, False, 3), 1: (1, False, 2), 2: (1, False, 1), 9: (1, True, 1)}


def test_a_trajectory_under_way_can_be_forgotten():
    demos = demonstrations()
    demos.finish()
    demos.finish(store=False)
    for step in trajectory(3, done=False):
        demos.insert(**step)
    demos.finish(store=False)
    assert (len(demos), len(demos.buffer.table)) == (0, 0)
    demos.insert_trajectory(trajectory(2))
    assert sorted(transitions(demos)) == [0, 1]


@pytest.mark.parametrize("gamma", long_but([0.0, 0, 0.5, 0.97, 1.0, 1], quick=[1, 3, 5]))
def test_monte_carlo_returns(gamma):
    demos, steps = demonstrations(gamma=gamma), trajectory(11, reward=lambda i: float(np.sin(3 * i)))
    demos.insert_trajectory(steps)
    demos.insert_trajectory(trajectory(2, first=50, reward=lambda i: 100))  # not of the same episode
    found = transitions(demos)
    for t in range(11):
        expected = sum(gamma**k * np.float32(steps[t + k]["reward"]).item() for k in range(11 - t))
        np.testing.assert_allclose(found[t][2], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("steps, gamma", [(1100, 0.99), (2047, 1.0), (1500, 0.0)])
def test_returns_of_long_trajectories(steps, gamma):
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=steps).astype(np.float32)
    demos = demonstrations(capacity=2048, gamma=gamma, size=1)
    demos.insert_trajectory(trajectory(steps, reward=lambda i: rewards[i], size=1))
    assert len(demos) == steps
    expected = np.zeros(steps + 1)
    for t in reversed(range(steps)):
        expected[t] = rewards[t] + gamma * expected[t + 1]
    batch = demos.sample()
    number = np.asarray(batch.data["image_features"])[:, 0].astype(int)
    assert number.max() > 0.9 * steps
    np.testing.assert_allclose(batch.data["mc_return"], expected[number], rtol=1e-6, atol=1e-6)


def test_a_reward_that_is_no_number_stays_where_it_is():
    demos = demonstrations(gamma=0.0)
    demos.insert_trajectory(trajectory(3, reward=lambda i: [1.0, 2.0, np.inf][i]))
    assert transitions(demos) == {0: (1, False, 1), 1: (2, False, 2), 2: (np.inf, True, np.inf)}


def test_returns_that_are_given_are_kept():
    demos = demonstrations()
    demos.insert_trajectory(trajectory(3, mc_return=lambda i: 10 + i))
    demos.insert_trajectory(trajectory(2, first=50))
    assert {i: value[2] for i, value in transitions(demos).items()} == {0: 10, 1: 11, 2: 12, 50: 1.5, 51: 1}


NUMBERS = [0, 1, np.float32(2), np.float64(0.1), np.int64(3), np.int32(-2), np.float16(0.5), np.array(0.5, np.float32)]
NUMBERS += [np.array(1.0), np.array(0.1), np.array(3), np.array(2, np.uint8), jnp.float32(0.25), jnp.bfloat16(0.5)]


@pytest.mark.parametrize("reward", NUMBERS, ids=repr)
def test_rewards_of_every_kind(reward):
    demos = demonstrations()
    demos.insert_trajectory(trajectory(2, reward=lambda i: 0 if i == 0 else reward))
    assert [value[0] for _, value in sorted(transitions(demos).items())] == [0.0, np.float32(reward)]


ENDS = [(0, 1), (0.0, 1.0), (-0.0, np.array(1.0)), (np.bool_(False), np.bool_(True)), (np.array(False), np.array(True))]
ENDS += [(np.int64(0), np.int64(1)), (jnp.bool_(False), jnp.bool_(True)), (np.array(0, np.uint8), np.float32(1))]


@pytest.mark.parametrize("no, yes", ENDS, ids=repr)
def test_ends_of_every_kind(no, yes):
    demos = demonstrations()
    steps = trajectory(2)
    demos.insert(**steps[0] | {"done": no})
    assert (len(demos), demos.open_steps) == (0, 1)
    demos.insert(**steps[1] | {"done": yes})
    assert {i: value[1] for i, value in transitions(demos).items()} == {0: False, 1: True}


def test_features_continue_by_value():
    demos = jb.Demonstrations(16, (4,))
    steps = trajectory(3)
    steps[0]["next_image_features"] = np.float32([-0.0, 0, 1, 2])
    steps[1]["image_features"] = np.float32([0, -0.0, 1, 2])
    odd = np.array([0x7FC00001, 0xFFC00000, 0, 0], np.uint32).view(np.float32)
    usual = np.float32([np.nan, np.nan, 0, 0])
    steps[1]["next_image_features"], steps[2]["image_features"] = odd, usual
    demos.insert_trajectory(steps)
    for step in steps:
        demos.insert(**step)
    assert len(demos) == 6
    with pytest.raises(jb.errors.StructureError, match="image_features of transition 2"):
        demos.insert_trajectory([*steps[:2], steps[2] | {"image_features": np.float32([np.nan, 0, 0, 0])}])


@pytest.mark.parametrize(
    "size, shape", long_but([((4,), (4,)), (4, (4,)), ((2, np.int64(3)), (2, 3)), ((), ())], quick=[2, 3])
)
def test_a_shape_declares_features_of_float32(size, shape):
    demos = jb.Demonstrations(4, size)
    features = np.full(shape, 7, np.float32)
    demos.insert(**trajectory(1)[0] | {"image_features": features, "next_image_features": features + 1})
    batch = demos.sample()
    assert batch["image_features"].dtype == np.float32
    np.testing.assert_array_equal(batch["next_image_features"], np.full((2, *shape), 8))


@pytest.mark.parametrize("absent", [{}, {"image_features": None, "next_image_features": None}])
def test_demonstrations_of_text_alone(absent):
    demos = jb.Demonstrations(batch_size=32, capacity=100_000, gamma=0.5)
    for step in without_features(trajectory(3)):
        demos.insert(**step, **absent)
    batch = demos.sample()
    number = [int(text[1:]) for text in batch["observation"]]
    assert set(number) == {0, 1, 2}
    assert batch["next_observation"] == [f"o{i + 1}" for i in number]
    np.testing.assert_array_equal(batch["mc_return"], [[1.75, 1.5, 1][i] for i in number])
    assert sorted(batch.keys()) == ["action", "done", "mc_return", "next_observation", "observation", "reward"]


def test_an_open_trajectory_is_named_where_nothing_can_be_sampled():
    demos = demonstrations()
    for step in trajectory(2, done=False):
        demos.insert(**step)
    reads = demos.sample, lambda: next(demos.batches()), lambda: demos.dataset()
    for read in reads:
        with pytest.raises(jb.errors.EmptyReplayError, match=r"trajectory of 2 steps is open.*finish\(\)"):
            read()
    demos.finish()
    assert sorted(transitions(demos)) == [0, 1]
    demos.insert(**trajectory(1, first=9, done=False)[0])
    assert sorted(transitions(demos)) == [0, 1]  # the open one is not among them
    assert len(demos.dataset()) == len(demos) == 2


@pytest.mark.parametrize("top, kept", [(1.0, [0, 1, 2, 3]), (0.5, [1, 3]), (0.25, [3]), (0.01, [3])])
def test_the_best_trajectories(top, kept):
    demos = demonstrations()
    scores = [1.0, 3.0, 2.0, 4.0]
    trajectories = [trajectory(2, 10 * k, reward=lambda i, s=s: s / 2) for k, s in enumerate(scores)]
    assert np.flatnonzero(demos.extend(iter(trajectories), top=top)).tolist() == kept
    assert sorted(transitions(demos)) == [10 * k + i for k in kept for i in range(2)]
    assert len(demos.buffer.table) == 5 * len(kept)  # of the others not even the texts


def test_of_no_trajectories_none_is_the_best():
    assert demonstrations().extend([], top=0.5).shape == (0,)


def test_features_are_stored_once():
    """At most 0.55 times the bytes of a table with both columns of features, all of the state counted."""
    rows, size = 1000, 512
    state = demonstrations(rows, size=size).buffer._state
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    columns = rows * (2 * 4 * size + 3 * 4 + 4 + 4 + 1)  # features, text ids, reward, mc_return, done
    assert 0.45 * columns < held <= 0.55 * columns


def test_equal_texts_are_stored_once():
    demos = demonstrations()
    for _ in range(3):
        demos.insert_trajectory(trajectory(3))
    assert len(demos.buffer.table) == 4 + 3
    assert demos.buffer.sweep() == 0


def test_dtypes_and_names():
    demos = demonstrations(sampler=jb.Uniform())
    demos.insert_trajectory(trajectory(2))
    data = demos.sample(3).data
    assert {name: (str(leaf.dtype), leaf.shape) for name, leaf in data.items()} == {
        "observation": ("int32", (3,)),
        "action": ("int32", (3,)),
        "next_observation": ("int32", (3,)),
        "image_features": ("float32", (3, 4)),
        "next_image_features": ("float32", (3, 4)),
        "reward": ("float32", (3,)),
        "done": ("bool", (3,)),
        "mc_return": ("float32", (3,)),
    }


def test_batches_of_nothing_raise_and_go_on_once_there_is_something():
    demos = jb.Demonstrations(capacity=8, batch_size=2)
    batches = demos.batches(steps=2)
    step = {"observation": "a", "action": "go", "next_observation": "b", "reward": 0.5, "done": False}
    demos.insert(**step)
    for _ in range(2):
        with pytest.raises(jb.errors.EmptyReplayError, match=r"finish\(\)"):
            next(batches)
    demos.finish()
    assert [batch["action"] for batch in batches] == [["go", "go"]] * 2
