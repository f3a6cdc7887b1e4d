"""The original's initialization and calls in our words, and what its own program gets wrong."""

import numpy as np
import pytest

from jaxbuffers.trajectories import TrajectoryPool, same_screenshot, successful
from trajectories.made import as_original, trajectory

ORIGINAL = [
    as_original(trajectory(0, 3, still=[0])),
    as_original(trajectory(1, 2, reward=0)),
    as_original(trajectory(2, 2, reward=-1)),
    as_original(trajectory(3, 2)),
]


def test_the_initialization_and_the_calls_of_the_seed():
    pool = TrajectoryPool(
        capacity=None,  # unlimited
        filter=~same_screenshot(),  # filter_successful_only=False, filter_same_screenshot=True
        include_reward_in_sample=True,
        shuffle=False,
        min_steps=2,
        bad="set_aside",
    )
    pool.extend(ORIGINAL)
    samples = pool.get_training_samples(num_samples=None, recency_bias_power=1.0)
    assert [sample["action"] for sample in samples] == [
        f"Action: click({i}, {k})" for i, k in ((0, 1), (0, 2), (1, 0), (1, 1), (3, 0), (3, 1))
    ]
    only = pool.get_training_samples(filter=successful() & ~same_screenshot())  # filter_successful_only=True
    assert [set(sample) for sample in only] == [
        {"message", "action", "trajectory_reward", "same_as_next_screenshot"}
    ] * 4
    assert {sample["trajectory_reward"] for sample in only} == {1.0}
    assert len(pool.get_training_samples(num_samples=3, recency_bias_power=2.0)) == 3


def test_capacity_and_shuffle_come_before_the_indices():
    """There, they come after: an IndexError, or failures among the successful."""
    for seed in range(10):
        pool = TrajectoryPool(capacity=4, shuffle=True, seed=seed)
        pool.extend(ORIGINAL)
        samples = pool.get_training_samples()
        assert {sample["trajectory_reward"] for sample in samples} == {1.0}
        assert [i for i in samples.trajectory.tolist() if i < 2] == []
        assert len(samples) == 2


def test_the_jump_at_a_power_of_one_is_there_by_name_only():
    """Mean ranks of 100 of 1000, over 20 draws: 500 if uniform, with a deviation of 6; above 600 with a power of 1."""
    pool = TrajectoryPool(filter=successful())
    pool.extend([trajectory(0, 10) for _ in range(100)])
    place = {}
    for power, options in ((1.0, {}), (1.0001, {}), (1.0, {"one_is_uniform": False})):
        means = []
        for seed in range(20):
            samples = pool.get_training_samples(100, power, seed=seed, **options)
            means.append(np.mean(samples.trajectory * 10 + samples.step))
        place[power, bool(options)] = np.mean(means)
    assert place[1.0, False] == pytest.approx(500, abs=40)
    assert place[1.0, True] == pytest.approx(place[1.0001, False], abs=5)
    assert place[1.0, True] > 600


def test_large_powers_do_not_overflow():
    """There, ``(positions + 1) ** 40`` overflows int64."""
    pool = TrajectoryPool()
    pool.extend([trajectory(i, 10) for i in range(20)])
    samples = pool.get_training_samples(10, 40)
    assert len(samples) == 10
    assert samples.trajectory.min() >= 15


def test_what_production_asks_for():
    from jaxbuffers.trajectories import latest

    pool = TrajectoryPool()
    pool.extend([trajectory(i, 5, iteration=i // 10, reward=i % 2) for i in range(80)])
    chosen = latest(4) & successful() & ~same_screenshot()
    samples = pool.get_training_samples(60, 2.0, filter=chosen, shuffle=False, seed=0)
    assert (len(samples), samples.eligible) == (60, 4 * 5 * 5)
    assert samples.trajectory.min() >= 40
