"""Several batches in one call are those of as many calls."""

import jax
import numpy as np
import pytest
from tier import budget

import jaxbuffers as jb
from host.staged import bits
from jaxbuffers.errors import ConfigurationError, EmptyReplayError

ITEMS = jb.Replay(capacity=600, num_envs=None, batch_size=4, view=jb.Items())


def test_several_batches_are_those_of_as_many_calls():
    sampler = budget(jb.Prioritized(), jb.Mix((0.5, jb.Prioritized()), (0.5, jb.Uniform())))
    replay = jb.Replay(capacity=64, num_envs=2, batch_size=6, view=jb.Sequences(3), sampler=sampler)
    one, other = (jb.HostReplay(replay, {"x": np.float32}, seed=3) for _ in range(2))
    for buffer in (one, other):
        buffer.add({"x": np.arange(40, dtype=np.float32).reshape(20, 2)})
    several = one.sample(batches=4)
    each = [other.sample() for _ in range(4)]
    for i, batch in enumerate(each):
        taken = jax.tree.map(lambda leaf, i=i: leaf[i], several)
        assert bits((taken.data, taken.index, taken.mask, taken.valid)) == bits(
            (batch.data, batch.index, batch.mask, batch.valid)
        )
        np.testing.assert_allclose(taken.probability, batch.probability, rtol=1e-6)
    assert several.data["x"].shape == (4, 6, 3)
    assert len({tuple(np.ravel(batch.data["x"])) for batch in each}) == 4
    assert bits(jax.random.key_data(one.key)) == bits(jax.random.key_data(other.key))
    one.update(taken.index, priority=np.ones(6, np.float32))
    assert jax.tree.leaves(one.sample(2, batches=3).data)[0].shape == (3, 2, 3)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_several_batches_are_those_of_as_many_calls_with_any_kind_of_key(impl):
    one, other = (jb.HostReplay(ITEMS, {"x": np.float32}) for _ in range(2))
    for buffer in (one, other):
        buffer.add({"x": np.arange(40, dtype=np.float32)})
        buffer.key = jax.random.key(3, impl=impl)
    assert one.sample(batches=3).data["x"].tolist() == [other.sample().data["x"].tolist() for _ in range(3)]
    assert bits(jax.random.key_data(one.key)) == bits(jax.random.key_data(other.key))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_iterator_of_several_batches_gives_those_of_as_many_calls(prefetch):
    one, other = (jb.HostReplay(ITEMS, {"x": np.float32}, seed=3) for _ in range(2))
    with pytest.raises(ConfigurationError, match="batches must be an int of at least 1"):
        one.batches(batches=0)
    steps = one.batches(3, prefetch=prefetch, batches=2)
    with pytest.raises(EmptyReplayError, match="no legal window"):
        next(steps)
    for buffer in (one, other):
        buffer.add({"x": np.arange(40, dtype=np.float32)})
    found = [batch.data["x"].tolist() for batch in steps]
    assert found == [[other.sample().data["x"].tolist() for _ in range(2)] for _ in range(3)]


def test_several_batches_of_an_empty_replay_and_no_batches_are_refused():
    buffer = jb.HostReplay(ITEMS, {"x": np.float32, "text": jb.text})
    before = bits(jax.random.key_data(buffer.key))
    with pytest.raises(EmptyReplayError, match="no legal window"):
        buffer.sample(batches=2)
    assert bits(jax.random.key_data(buffer.key)) == before
    with pytest.raises(ConfigurationError, match="batches must be an int of at least 1"):
        buffer.sample(batches=0)
    buffer.insert(x=0, text="a")
    assert buffer.sample(2, batches=2).text("text") == [["a", "a"], ["a", "a"]]
