"""Gymnasium's spaces as fields of a row: every sample of a space goes into a store that has them."""

import gymnasium as gym
import jax
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.datasets import space_fields

SPACES = gym.spaces
EVERY = SPACES.Dict(
    image=SPACES.Box(0, 255, (4, 5, 3), np.uint8),
    place=SPACES.Tuple((SPACES.Box(-1, 1, (2,), np.float32), SPACES.Discrete(7))),
    doors=SPACES.MultiBinary((2, 2)),
    dials=SPACES.MultiDiscrete([3, 4]),
    mission=SPACES.Text(20),
)


def test_samples_of_every_space_come_back_from_a_store():
    fields = space_fields(EVERY, narrow=True)
    store = jb.EpisodeStore(row={"obs": fields})
    EVERY.seed(0)
    samples = [EVERY.sample() for _ in range(5)]
    wide = jax.tree.map(lambda like, *x: list(x) if like is jb.text else np.stack(x), fields, *samples)
    rows = jax.tree.map(lambda like, x: x if like is jb.text else x.astype(like.dtype), fields, wide,
                        is_leaf=lambda x: isinstance(x, list))  # fmt: skip
    held = store[store.add_episode({"obs": rows})].rows["obs"]
    assert store.texts.lookup(held.pop("mission")) == [sample["mission"] for sample in samples]
    for sample, t in zip(samples, range(5), strict=True):
        del sample["mission"]
        jax.tree.map(lambda x, y, t=t: np.testing.assert_array_equal(x[t], y), held, sample)


def test_64_bits_and_spaces_without_a_shape_are_named():
    if not jax.config.jax_enable_x64:
        with pytest.raises(jb.errors.DtypeError, match=r"'space\.place\.1' is int64"):
            space_fields(EVERY)
    for space in (SPACES.Sequence(SPACES.Discrete(2)), SPACES.Graph(SPACES.Discrete(2), None)):
        with pytest.raises(jb.errors.ConfigurationError, match=r"space\.x is a (Sequence|Graph)"):
            space_fields(SPACES.Dict(x=space))
    with pytest.raises(jb.errors.ConfigurationError, match="str"):
        space_fields("Box")
