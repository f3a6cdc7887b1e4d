"""Trajectories of an expert, numbered throughout."""

import numpy as np

import jaxbuffers as jb

FEATURES = 4


def screen(number, size=FEATURES):
    return np.full(size, number, np.float32)


def trajectory(steps, first=0, reward=lambda i: 1.0, done=True, size=FEATURES, **more):
    """Transitions from observation ``first`` to ``first + steps``."""
    return [
        {
            "observation": f"o{i}",
            "action": f"a{i}",
            "image_features": screen(i, size),
            "next_image_features": screen(i + 1, size),
            "reward": reward(i - first),
            "next_observation": f"o{i + 1}",
            "done": done and i == first + steps - 1,
            **{name: value(i - first) for name, value in more.items()},
        }
        for i in range(first, first + steps)
    ]


def demonstrations(capacity=16, gamma=0.5, size=FEATURES, **options):
    return jb.Demonstrations(capacity, screen(0, size), batch_size=256, gamma=gamma, **options)


def transitions(demos, names=("reward", "done", "mc_return")):
    """What can be sampled: number of the transition to its numbers, after checking that the rest fits."""
    found, batch = {}, demos.sample()
    texts = [batch.text(name) for name in ("observation", "action", "next_observation")]
    data = {name: np.asarray(leaf) for name, leaf in batch.data.items()}
    for j, each in enumerate(zip(*texts, strict=True)):
        number = int(each[0][1:])
        assert each == (f"o{number}", f"a{number}", f"o{number + 1}")
        assert set(data["image_features"][j].tolist()) == {number}
        assert set(data["next_image_features"][j].tolist()) == {number + 1}
        value = tuple(data[name][j].item() for name in names)
        assert found.setdefault(number, value) == value
    assert len(found) == len(demos)  # 256 draws of at most 15
    return found


def seen(demos):
    """Everything that a failed call must leave as it was."""
    import jax

    buffer = demos.buffer
    state = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(buffer._state)]
    return state, list(buffer.table._store.items()), len(demos), demos.open_steps


def without_features(steps):
    return [{name: value for name, value in step.items() if "features" not in name} for step in steps]
