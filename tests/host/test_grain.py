"""Grain takes the datasets as sources."""

import pytest

import jaxbuffers as jb
from host.shells import shell

grain = pytest.importorskip("grain")


def source(count=10):
    buffer = shell(capacity=16)
    for i in range(count):
        buffer.insert(mission=f"m{i}", notes=["x"] * (i % 3), reward=i)
    return jb.WindowDataset(buffer)


def test_every_window_once_an_epoch_in_random_order():
    dataset = grain.MapDataset.source(source()).shuffle(seed=1)
    assert len(dataset) == 10
    missions = [dataset[i]["mission"] for i in range(10)]
    assert sorted(missions) == [f"m{i}" for i in range(10)] != missions
    assert [item["mission"] for item in dataset] == missions


def test_batches_with_our_collate():
    dataset = grain.MapDataset.source(source()).shuffle(seed=1).batch(4, batch_fn=jb.collate)
    batches = list(dataset)
    assert [len(batch.texts["mission"]) for batch in batches] == [4, 4, 2]
    for batch in batches:
        assert batch.texts["mission"] == [f"m{i:.0f}" for i in batch.arrays["reward"]]
    assert sorted(i for batch in batches for i in batch.arrays["reward"].tolist()) == list(range(10))


def test_two_epochs_of_sampled_batches():
    buffer = shell(capacity=16)
    for i in range(6):
        buffer.insert(mission=f"m{i}", notes=[], reward=i)
    dataset = grain.MapDataset.source(jb.BatchDataset(list(buffer.batches(3, batch_size=4)))).repeat(2)
    items = list(dataset)
    assert len(items) == 6
    for item, again in zip(items[:3], items[3:], strict=True):
        assert item["mission"] == again["mission"] == [f"m{i:.0f}" for i in item["reward"]]
