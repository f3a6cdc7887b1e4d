"""PyTorch's DataLoader takes the datasets as they are."""

import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from host.experts import demonstrations, trajectory
from host.shells import shell

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402


def filled(count=10):
    fields = {"mission": jb.text, "notes": jb.text[2], "image": np.zeros(3, np.float32), "reward": np.float32}
    buffer = shell(capacity=16, fields=fields)
    for i in range(count):
        buffer.insert(mission=f"m{i}", notes=["x", f"n{i}"], image=np.full(3, i, np.float32), reward=i)
    return buffer


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", long_but([1, 4, 10], quick=[1]))
def test_windows_with_the_default_collate(batch_size, shuffle):
    torch.manual_seed(0)
    rewards = []
    for batch in DataLoader(jb.WindowDataset(filled()), batch_size=batch_size, shuffle=shuffle):
        rewards += batch["reward"].tolist()
        size = len(batch["reward"])
        assert batch["image"].shape == (size, 3)
        assert batch["image"].dtype == batch["reward"].dtype == torch.float32
        assert (batch["image"] == batch["reward"][:, None]).all()
        assert batch["mission"] == [f"m{i:.0f}" for i in rewards[-size:]]
    assert sorted(rewards) == list(range(10))
    assert (rewards != sorted(rewards)) == shuffle


@pytest.mark.parametrize("shuffle", [False, True])
def test_windows_with_our_collate(shuffle):
    torch.manual_seed(0)
    rewards = []
    for batch in DataLoader(jb.WindowDataset(filled()), batch_size=4, shuffle=shuffle, collate_fn=jb.collate):
        rewards += batch.arrays["reward"].tolist()
        assert batch.texts["mission"] == [f"m{i:.0f}" for i in batch.arrays["reward"]]
        assert batch.texts["notes"] == [["x", f"n{i:.0f}"] for i in batch.arrays["reward"]]
        assert torch.from_numpy(batch.arrays["image"]).shape == (len(batch.texts["mission"]), 3)
    assert sorted(rewards) == list(range(10))
    assert (rewards != sorted(rewards)) == shuffle


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_last_batch(drop_last):
    loader = DataLoader(jb.WindowDataset(filled()), batch_size=4, drop_last=drop_last, collate_fn=jb.collate)
    assert [len(batch.texts["mission"]) for batch in loader] == ([4, 4] if drop_last else [4, 4, 2])


def test_one_sampled_batch_as_a_dataset():
    batch = filled().sample(8)
    for loaded in DataLoader(jb.BatchDataset([batch]), batch_size=1, shuffle=False):
        np.testing.assert_array_equal(loaded["reward"], np.asarray(batch.data["reward"])[None])
        assert loaded["image"].shape == (1, 8, 3)
        assert [text for (text,) in loaded["mission"]] == batch.text("mission")
    for arrays, texts in DataLoader(jb.BatchDataset([batch]), batch_size=1, shuffle=False, collate_fn=jb.collate):
        np.testing.assert_array_equal(arrays["image"], np.asarray(batch.data["image"])[None])
        assert texts["mission"] == [batch.text("mission")]


def test_batches_without_another_axis():
    batches = list(filled().batches(3, batch_size=5))
    loader = DataLoader(jb.BatchDataset(batches), batch_size=None)
    for loaded, batch in zip(loader, batches, strict=True):
        assert torch.is_tensor(loaded["reward"])
        np.testing.assert_array_equal(loaded["reward"], batch.data["reward"])
        assert loaded["mission"] == batch.text("mission")


def test_demonstrations():
    demos = demonstrations()
    demos.insert_trajectory(trajectory(5))
    loader = DataLoader(jb.BatchDataset([demos.sample(6) for _ in range(2)]), batch_size=1, shuffle=True)
    for loaded in loader:
        assert loaded["done"].dtype == torch.bool
        assert [text for (text,) in loaded["action"]] == [f"a{i:.0f}" for i in loaded["image_features"][0, :, 0]]
