"""Samples are what was asked for, in the order that was asked for, everywhere; and a dataset for loaders."""

import pickle

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError, StructureError
from jaxbuffers.trajectories import TrajectoryPool, same_screenshot, successful
from trajectories.made import trajectory


@pytest.fixture
def pool():
    made = TrajectoryPool()
    made.extend(
        [
            trajectory(0, 3, still=[0], iteration=1, process=0),
            trajectory(1, 2, reward=0, iteration=0, process=1),
            trajectory(2, 2, reward=1, iteration=0, process=1),
            trajectory(3, 2, reward=-1, iteration=0, process=0),
            trajectory(4, 2, reward=1, iteration=0, process=0),
            trajectory(5, 2, reward=1, iteration=None),
        ]
    )
    return made


ORDER = [(5, 0), (5, 1), (4, 0), (4, 1), (2, 0), (2, 1), (0, 1), (0, 2)]  # iteration, process, order of saving, step


def of(samples):
    return list(zip(samples.trajectory.tolist(), samples.step.tolist(), strict=True))


def test_all_come_in_order_where_none_or_too_many_are_asked_for(pool):
    for count in (None, 8, 9, 10**9):
        samples = pool.get_training_samples(count)
        assert of(samples) == ORDER
        assert (len(samples), samples.eligible) == (8, 8)
    assert list(samples)[6] == {
        "message": trajectory(0).steps[1].response.raw_prompt,
        "action": "Action: click(0, 1)",
        "trajectory_reward": 1.0,
        "same_as_next_screenshot": False,
    }
    assert len(pool.get_training_samples(0)) == 0
    assert len(TrajectoryPool().get_training_samples()) == 0
    assert len(TrajectoryPool().get_training_samples(3, 2.0)) == 0


def test_the_same_seed_draws_the_same_and_draws_differ_otherwise(pool):
    drawn = [of(pool.get_training_samples(4, 2.0)) for _ in range(8)]
    assert all(each == sorted(each, key=ORDER.index) and len(set(each)) == 4 for each in drawn)
    assert len(set(map(tuple, drawn))) > 1
    again = [of(pool.get_training_samples(4, 2.0, seed=5)) for _ in range(3)]
    assert again[0] == again[1] == again[2]


def test_rewards_and_order_are_as_asked_for_everywhere(pool):
    assert set(pool.get_training_samples(3, include_reward_in_sample=False)[0]) == {"message", "action"}
    assert set(pool.get_training_samples(3, tokens=None)[0]) == {
        "message",
        "action",
        "trajectory_reward",
        "same_as_next_screenshot",
    }
    orders = {
        tuple(of(pool.get_training_samples(count, shuffle=True, seed=i))) for i in range(9) for count in (None, 8)
    }
    assert len(orders) > 5
    assert all(sorted(order) == sorted(ORDER) for order in orders)
    other = TrajectoryPool(include_reward_in_sample=False, shuffle=True, filter=successful(0.0))
    other.extend(pool)
    samples = other.get_training_samples(seed=1)
    assert set(samples[0]) == {"message", "action"}
    assert len(samples) == 11  # of failures too, and of the step that shows the same as the next
    assert of(samples) != of(other.get_training_samples(seed=1, shuffle=False))
    assert set(other.get_training_samples(include_reward_in_sample=True)[0]) > {"trajectory_reward"}


def test_pending_judgements_are_never_eligible_unless_asked_for(pool):
    everything = successful(-5) | ~successful(-5)
    assert 3 not in pool.get_training_samples(filter=everything).trajectory
    assert 3 not in pool.get_training_samples(filter=~successful(1.0)).trajectory
    assert set(pool.get_training_samples(filter=~successful(1.0), pending=True).trajectory.tolist()) == {1, 3}


def test_switching_one_filter_leaves_the_others(pool):
    both = pool.get_training_samples()
    assert both.eligible == 8
    assert (0, 0) not in of(both)
    assert (0, 0) in of(pool.get_training_samples(filter=successful()))
    assert of(pool.get_training_samples(filter=~same_screenshot()))[-2:] == [(0, 1), (0, 2)]
    assert pool.get_training_samples(filter=~same_screenshot()).eligible == 10


def test_samples_are_a_dataset(pool):
    samples = pool.get_training_samples()
    assert len(samples) == 8
    assert samples[-1] == samples[7] == list(samples)[7]
    assert samples[2:4] == [samples[2], samples[3]]
    assert samples[np.int64(3)] == samples[3]
    for wrong in (8, -9, "a", 1.0, True):
        with pytest.raises(IndexError):
            samples[wrong]
    before = list(samples)
    pool.store.evict(6)
    assert list(samples) == before  # a copy
    assert list(pickle.loads(pickle.dumps(samples))) == before
    shards = [samples.shard(i, 3) for i in range(3)]
    assert sorted(place for shard in shards for place in of(shard)) == sorted(ORDER)
    assert [len(shard) for shard in shards] == [3, 3, 2]
    assert list(shards[1]) == before[1::3]
    with pytest.raises(ConfigurationError, match="number=3 must be below count=3"):
        samples.shard(3, 3)


def test_loaders_take_samples_as_they_are(pool):
    torch = pytest.importorskip("torch")
    samples = pool.get_training_samples()
    loader = torch.utils.data.DataLoader(samples, batch_size=3, collate_fn=list)
    assert [each for batch in loader for each in batch] == list(samples)


def test_grain_takes_samples_as_they_are(pool):
    grain = pytest.importorskip("grain")
    samples = pool.get_training_samples()
    assert list(grain.MapDataset.source(samples)) == list(samples)


def test_tokens_come_with_the_samples_where_they_are_asked_for(pool):
    words = {}
    tokens = jb.Tokens(pool.texts, lambda text: [words.setdefault(w, len(words) + 1) for w in text.split()], max_len=64)
    sample = pool.get_training_samples(tokens=tokens)[0]
    names = {number: word for word, number in words.items()}
    assert " ".join(names[t] for t in sample["action_tokens"].tolist()) == sample["action"]
    assert len(sample["message_tokens"]) == len(sample["message"])
    assert sample["message_tokens"][0].dtype == np.int32
    samples = pool.get_training_samples(tokens=tokens)
    samples[0]["action_tokens"][:] = 0
    samples[0]["message_tokens"][0][:] = 0
    np.testing.assert_equal(samples[0], sample)
    with pytest.raises(ConfigurationError, match="has more than max_len=1 tokens"):
        pool.get_training_samples(tokens=jb.Tokens(pool.texts, lambda text: [1, 2], max_len=1))
    with pytest.raises(StructureError, match="view of the pool's own texts"):
        pool.get_training_samples(tokens=jb.Tokens(jb.TextTable(), lambda text: [1], max_len=1))


def test_wrong_arguments_are_refused(pool):
    for wrong in (
        {"num_samples": -1}, {"num_samples": 1.5}, {"recency_bias_power": "2"}, {"rank_by": "age"}, {"seed": -1},
        {"filter": successful}, {"shuffle": 1}, {"include_reward_in_sample": "no"},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            pool.get_training_samples(**{"num_samples": 2} | wrong)
