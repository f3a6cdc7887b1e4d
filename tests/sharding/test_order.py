"""Entries of an index that lie in the part of another shard write nothing: refused, or counted as dropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb

from .meshes import mesh_of, needs_devices

pytestmark = needs_devices

SAMPLERS = [
    jb.Prioritized(),
    jb.OnlineFirst(jb.Counted(jb.WithoutReplacement())),
    jb.RankBased(),
    jb.Mix((0.5, jb.Uniform()), (0.5, jb.Prioritized())),
]


def filled(sampler):
    sharded = jb.Sharded(jb.Replay(32, 4, 8, sampler=sampler), mesh_of(2))
    state = sharded.init({"x": jnp.float32(0)})
    for time in range(3):
        state = sharded.add(state, {"x": jnp.arange(4.0) + 10 * time})
    return sharded, state, sharded.sample(state, jax.random.key(0))


def flipped(index):
    return jax.tree.map(lambda x: x[::-1], index)


@pytest.mark.parametrize("sampler", long_but(SAMPLERS, quick=[0]), ids=lambda sampler: type(sampler).__name__)
def test_compiled_such_entries_are_dropped(sampler):
    sharded, state, batch = filled(sampler)
    given = {"priority": jnp.full(8, 7.0)} if sampler.takes_priority else {}

    @quick_jit
    def give_back(state, index):
        return sharded.update(state, index, rows={"x": jnp.full(8, -1.0)}, **given), sharded.get(state, index)

    after, (rows, mask) = give_back(state, flipped(batch.index))
    assert not mask.any()
    assert not rows["x"].any()
    assert after.dropped.tolist() == [4, 4]
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), after.ring, state.ring)
    assert all(jax.tree.leaves(same)), "a row has changed"
    drawn = sharded.sample(after, jax.random.key(1))
    np.testing.assert_array_equal(drawn.probability, sharded.sample(state, jax.random.key(1)).probability)
    after, (rows, mask) = give_back(state, batch.index)
    assert mask.all()
    assert after.dropped.tolist() == [0, 0]
    assert (sharded.get(after, batch.index)[0]["x"] == -1).all()


def test_outside_of_jit_they_are_refused():
    sharded, state, batch = filled(jb.Uniform())
    for verb in (sharded.update, sharded.get, sharded.age):
        with pytest.raises(jb.errors.ShapeError, match=r": 8 entries of the index lie in the part of another shard"):
            verb(state, flipped(batch.index))
    # Entries without a row may lie anywhere.
    none = batch.index.replace(time=jnp.full(8, -1, jnp.int32))
    assert sharded.age(state, flipped(none)).tolist() == [-1] * 8
