"""Behaviour cloning from an expert's screens and texts: insert, sample, load, train, each as its page has it."""

import numpy as np
import pytest

import jaxbuffers as jb

SIZE = 8  # of the features of a screen
MODES = pytest.mark.parametrize("independent", [False, True], ids=["trajectories", "independent"])


def screen(number):
    return np.full(SIZE, number, np.float32)


def expert_trajectories(count=3, steps=4):
    """Transitions whose numbers are arrays without axes, in float64, as converting Python numbers makes them."""
    return [
        [
            {
                "observation": f"page {10 * k + i}",
                "action": f"click({i})",
                "image_features": screen(10 * k + i),
                "next_image_features": screen(10 * k + i + 1),
                "reward": np.array(float(i == steps - 1)),
                "next_observation": f"page {10 * k + i + 1}",
                "done": np.array(i == steps - 1),
                "mc_return": np.array(0.9 ** (steps - 1 - i)),
            }
            for i in range(steps)
        ]
        for k in range(count)
    ]


def check(fields, size):
    """The fields of one batch fit together, row by row."""
    number = [int(text.split()[1]) for text in fields["observation"]]
    assert len(number) == size
    assert fields["next_observation"] == [f"page {i + 1}" for i in number]
    assert fields["action"] == [f"click({i % 10})" for i in number]
    np.testing.assert_array_equal(np.asarray(fields["image_features"])[:, 0], number)
    np.testing.assert_array_equal(np.asarray(fields["next_image_features"])[:, 0], np.array(number) + 1)
    last = np.array([i % 10 == 3 for i in number])
    np.testing.assert_array_equal(fields["done"], last)
    np.testing.assert_array_equal(fields["reward"], last.astype(np.float32))
    np.testing.assert_array_equal(fields["mc_return"], np.float32([0.9 ** (3 - i % 10) for i in number]))


def empty(independent):
    return jb.Demonstrations(batch_size=32, capacity=100_000, image_features=(SIZE,), independent=independent)


def filled(independent):
    buffer = empty(independent)
    for trajectory in expert_trajectories():
        for transition in trajectory:
            buffer.insert(**transition)
    return buffer


@MODES
def test_the_example_of_insert(independent):
    buffer = empty(independent)
    buffer.insert(
        observation="a page that asks who you are",
        action="type(name)",
        image_features=screen(1),
        next_image_features=screen(2),
        reward=1.0,
        next_observation="a page that asks for a password",
        done=False,
        mc_return=5.2,
    )
    if not independent:
        with pytest.raises(jb.errors.EmptyReplayError, match=r"finish\(\)"):
            buffer.sample()
        buffer.finish()
    batch = buffer.sample()
    assert batch["observation"] == ["a page that asks who you are"] * 32
    assert batch["next_observation"] == ["a page that asks for a password"] * 32
    np.testing.assert_array_equal(batch["mc_return"], np.full(32, 5.2, np.float32))
    assert not batch["done"].any()


@MODES
def test_collection_and_a_batch_for_training(independent):
    replay_buffer = filled(independent)
    assert len(replay_buffer) == 12
    batch = replay_buffer.sample(batch_size=16)
    dataset = jb.BatchDataset([batch])
    assert len(dataset) == 1
    check(dataset[0], 16)


@MODES
def test_a_batch_in_a_loader(independent):
    torch = pytest.importorskip("torch")
    batch = filled(independent).sample(batch_size=16)
    dataloader = torch.utils.data.DataLoader(jb.BatchDataset([batch]), batch_size=1, shuffle=False)
    (batch_data,) = dataloader
    texts = {name: [text for (text,) in batch_data[name]] for name in ("observation", "action", "next_observation")}
    check({name: x[0].numpy() for name, x in batch_data.items() if name not in texts} | texts, 16)


class Trainer:
    def actor_loss(self, observation, action, image_features, mc_return, **rest):
        check({"observation": observation, "action": action, "image_features": image_features, **rest,
               "mc_return": mc_return}, 64)  # fmt: skip
        return float(mc_return.mean())


@MODES
def test_cloning(independent, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(expert_trajectories(), tmp_path / "demonstrations.pt")
    trajectories = torch.load(tmp_path / "demonstrations.pt", weights_only=False)
    buffer = empty(independent)
    for trajectory in trajectories:
        for transition in trajectory:
            buffer.insert(**transition)
    training_data = buffer.sample(batch_size=64)
    assert 0.9**3 < Trainer().actor_loss(**training_data) < 1


@MODES
def test_numbers_become_arrays_without_axes_and_others_are_refused(independent):
    buffer = filled(independent)
    (item, *_) = buffer.dataset()
    assert {np.shape(item[name]) for name in ("reward", "done", "mc_return")} == {()}
    transition = expert_trajectories(1)[0][0]
    for name in ("reward", "done", "mc_return"):
        with pytest.raises((jb.errors.ShapeError, jb.errors.DtypeError), match=f"'{name}'"):
            buffer.insert(**transition | {name: np.ones(1)})
    assert (len(buffer), buffer.open_steps) == (12, 0)


def test_transitions_of_many_environments_come_interleaved():
    buffer = empty(independent=True)
    for together in zip(*expert_trajectories(), strict=True):
        for transition in together:
            buffer.insert(**transition)
    batch = buffer.sample(64)
    check(batch, 64)
    assert len(buffer.dataset()) == 12


def test_the_oldest_are_overwritten():
    buffer = jb.Demonstrations(batch_size=2, capacity=5, image_features=(SIZE,), independent=True)
    for trajectory in expert_trajectories():
        for transition in trajectory:
            buffer.insert(**transition)
    assert len(buffer) == 5
    assert [item["observation"] for item in buffer.dataset()] == [f"page {i}" for i in (13, 20, 21, 22, 23)]
