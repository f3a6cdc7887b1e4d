"""What cannot be is refused in the numbers of the whole replay, with what to do."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError

from .meshes import TYPES, mesh_of, needs_devices

pytestmark = needs_devices


def sharded_of(shards=2, envs=4, batch=8, **given):
    return jb.Sharded(jb.Replay(8 * envs, envs, batch, **given), mesh_of(shards))


def test_it_is_a_value():
    sharded = sharded_of()
    assert sharded == sharded_of()
    assert hash(sharded) == hash(sharded_of())
    assert sharded != sharded_of(batch=4)
    assert sharded != jb.Sharded(sharded.replay, mesh_of(4))
    assert copy.copy(sharded) == sharded
    assert pickle.loads(pickle.dumps(sharded.replay)) == sharded.replay
    assert sharded.local == jb.Replay(16, 2, 4)


@pytest.mark.parametrize(
    "replay, says",
    [
        (jb.Replay(48, 6, 8), "num_envs=6 does not divide into the 4 shards of the mesh axis 'data'; .* 4 or 8"),
        (jb.Replay(48, 4, 6), "batch_size=6 does not divide into the 4 shards of the mesh axis 'data'; .* 4 or 8"),
        (jb.Replay(8, 2, 8), "num_envs=2 does not divide into the 4 shards .* the nearest sizes are 4"),
        (jb.Replay(8, None, 8), "num_envs=None is one stream, .* Give num_envs=4 or a multiple"),
        ("a replay", "replay must be a Replay instance"),
    ],
)
def test_numbers_that_do_not_divide(replay, says):
    with pytest.raises(ConfigurationError, match=says):
        jb.Sharded(replay, mesh_of(4))


def test_meshes_that_will_not_do():
    with pytest.raises(ConfigurationError, match="no axis 'env'; it has 'data'"):
        jb.Sharded(jb.Replay(8, 4, 4), mesh_of(2), "env")
    with pytest.raises(ConfigurationError, match=r"must be a jax.sharding.Mesh, such as jax.make_mesh"):
        jb.Sharded(jb.Replay(8, 4, 4), jax.devices())


def test_what_a_verb_is_given_is_refused_in_whole_numbers():
    sharded = sharded_of()
    state = sharded.init({"x": jnp.float32(0)})
    with pytest.raises(ShapeError, match=r"\[4, ...\] or \[N, 4, ...\] for num_envs=4; got leading axes \(2,\)"):
        sharded.add(state, {"x": jnp.zeros(2)})
    with pytest.raises(ShapeError, match=r"9 rows a stream do not fit in 8 \(capacity 32 over 4 streams\)"):
        sharded.add(state, {"x": jnp.zeros((9, 4))})
    with pytest.raises(DtypeError, match="leaf 'x' has dtype int32"):
        sharded.add(state, {"x": jnp.zeros(4, jnp.int32)})
    with pytest.raises(ShapeError, match=r"mask must be a bool array of shape \[4\]"):
        sharded.add(state, {"x": jnp.zeros(4)}, jnp.ones(2, bool))
    with pytest.raises(ConfigurationError, match="batch_size=5 does not divide"):
        sharded.sample(state, jax.random.key(0), 5)
    with pytest.raises(DtypeError, match="key must be a PRNG key"):
        sharded.sample(state, 0)
    index = jb.Index(jnp.zeros(8, jnp.int32), jnp.full(8, -1, jnp.int32))
    with pytest.raises(ShapeError, match=r"priority has shape \(4,\), expected \(8,\)"):
        sharded.update(state, index, priority=jnp.ones(4))
    with pytest.raises(ShapeError, match=r"leading axes \(4,\), expected \(8,\)"):
        sharded.update(state, index, rows={"x": jnp.ones(4)})
    with pytest.raises(ConfigurationError, match=r"Uniform\(\) takes no priority"):
        sharded.update(state, index, priority=jnp.ones(8))
    with pytest.raises(ShapeError, match=r"get: the index has shape \(3,\); its axis 0 must divide into 2 parts"):
        sharded.get(state, jax.tree.map(lambda x: x[:3], index))
    with pytest.raises(ShapeError, match=r"age: the index has shape \(\)"):
        sharded.age(state, jax.tree.map(lambda x: x[0], index))


def test_states_of_others_are_refused():
    sharded = sharded_of()
    state, row = sharded.init({"x": jnp.float32(0)}), {"x": jnp.float32(0)}
    with pytest.raises(ShapeError, match="of a plain Replay"):
        sharded.size(sharded.replay.init(row))
    with pytest.raises(ConfigurationError, match="it has 2 shards, the mesh axis 'data' has 4"):
        sharded_of(4).size(state)
    with pytest.raises(ShapeError, match="through jax"):
        sharded.size(jax.tree.map(lambda x: x[None], state))
    with pytest.raises(ConfigurationError, match="another configuration"):
        sharded_of(sampler=jb.Prioritized()).size(state)
    with pytest.raises(StructureError, match="must be a jb"):
        sharded.size(None)
    batch = sharded.sample(state, jax.random.key(0))
    verbs = (sharded.replay.size, jb.stats, lambda state: jb.fence(state, batch))
    for verb in (*verbs, lambda state: sharded_of(1).replay.size(sharded_of(1).init(row))):
        with pytest.raises(ShapeError, match=r"to the jb\.Sharded that made it"):
            verb(state)


def test_debug_checks_look_into_shards_where_they_can():
    from jax.experimental import checkify

    for kind in TYPES:
        sharded = jb.Sharded(jb.Replay(32, 4, 8), mesh_of(2, kind))
        state = sharded.init({"x": jnp.float32(0)})
        with jb.debug_checks():
            checked = checkify.checkify(lambda sharded=sharded, state=state: sharded.sample(state, jax.random.key(0)))
            if kind == TYPES[1]:
                with pytest.raises(ConfigurationError, match="to debug"):
                    checked()
            else:
                assert "no legal window" in checked()[0].get()


def test_bytes_are_those_of_all_shards():
    sharded, row = sharded_of(sampler=jb.Prioritized()), {"x": jnp.zeros((100, 3))}
    state = sharded.init(row)
    assert sharded.nbytes(row) == sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    held = {each.data.shape for each in state.ring.blocks[0].addressable_shards}
    assert held == {(8, 2, 1, 300)}, "a device does not hold the half"
    assert np.shape(state.adds) == (2,)
