"""Equal configurations share what was traced and compiled, whoever made them."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import pytest

import jaxbuffers as jb

READS = []


@dataclass(frozen=True)
class Noted(jb.Items):
    """Notes each time that it is traced."""

    def read(self, reader):
        READS.append(reader)
        return super().read(reader)


def made(batch_size=4, sampler=jb.Uniform):
    """Return a new configuration, and a new state of its own, with one row."""
    replay = jb.Replay(8, None, batch_size, Noted(), sampler())
    return replay, replay.add(replay.init(jnp.float32(0)), jnp.float32(1))


@pytest.fixture
def reads():
    """Return the list of traces, empty."""
    READS.clear()
    return READS


@pytest.mark.parametrize("sampler", [jb.Uniform, jb.Prioritized])
def test_equal_configurations_are_traced_once(reads, sampler):
    @partial(jax.jit, static_argnums=0)
    def sample(replay, state, key):
        return replay.sample(state, key)

    for seed in range(3):
        sample(*made(sampler=sampler), jax.random.key(seed))
    assert len(reads) == 1
    sample(*made(5, sampler=sampler), jax.random.key(0))
    assert len(reads) == 2


def test_eager_verbs_of_equal_configurations_are_traced_once(reads):
    for seed in range(3):
        replay, state = made(batch_size=3)
        replay.sample(state, jax.random.key(seed))
    assert len(reads) == 1
    replay, state = made(batch_size=2)
    replay.sample(state, jax.random.key(0))
    assert len(reads) == 2
