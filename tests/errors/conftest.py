"""A replay, and a state that every mistake must leave as it was."""

import chex
import jax
import numpy as np
import pytest

import jaxbuffers as jb
from errors.mistakes import ENVS, ROW, rows


@pytest.fixture(scope="module")
def replay():
    return jb.Replay(capacity=12, num_envs=ENVS, batch_size=4, view=jb.Transitions())


@pytest.fixture(scope="module")
def filled(replay):
    return jax.jit(replay.add)(replay.init(ROW), rows(3, ENVS))


@pytest.fixture
def state(replay, filled):
    """Every mistake below leaves the state as it was, and good for the next call."""
    before = jax.tree.map(np.asarray, filled)
    yield filled
    chex.assert_trees_all_equal(filled, before)
