"""What cannot be is refused in the numbers of the whole replay, with what to do."""

import copy
import pickle
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError

from .meshes import TYPES, mesh_of, needs_devices, over

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


@dataclass(frozen=True)
class Lists(jb.Items):
    """A view that cannot be hashed."""

    names: list = field(default_factory=list)


def test_parts_that_cannot_be_looked_up():
    with pytest.raises(ConfigurationError, match=r"must be hashable: .*'list'. Keep tuples in them"):
        jb.Sharded(jb.Replay(8, 4, 4, Lists()), mesh_of(2))
    with pytest.raises(ConfigurationError, match="has a Manual axis"):
        jb.Sharded(jb.Replay(8, 4, 4), mesh_of(2, AxisType.Manual))


@pytest.mark.parametrize("kind", TYPES)
def test_another_mesh_that_is_set(kind):
    sharded = jb.Sharded(jb.Replay(32, 4, 8), mesh_of(2, kind))
    state = sharded.init({"x": jnp.float32(0)})
    with jax.set_mesh(mesh_of(2, *(other for other in TYPES if other != kind))):
        for size in (sharded.size, jax.jit(sharded.size)):
            with pytest.raises(
                ConfigurationError, match=rf"'data': 2 {kind.name}\), but jax.set_mesh has set \('data': 2"
            ):
                size(state)
    part = P("data")
    inside = jax.shard_map(lambda x: sharded.init({"x": x[0]}), mesh=sharded.mesh, in_specs=part, out_specs=part)
    with pytest.raises(ConfigurationError, match=r"does not work within jax\.shard_map; use a plain jb\.Replay"):
        inside(over(sharded.mesh, jnp.zeros(2)))


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


def test_what_is_said_of_one_shard_says_so():
    sharded = sharded_of(sampler=jb.Weighted(even))
    with pytest.raises(ShapeError, match=r"8 different windows cannot be drawn from a ring of 16") as error:
        sharded.can_sample(sharded.init({"x": jnp.float32(0)}), 36)
    assert "one of the 2 shards: Replay(capacity=16, num_envs=2, batch_size=4" in "".join(error.value.__notes__)


def even(windows):
    return jnp.zeros(windows.age.shape)


def test_an_index_of_another_replay_is_refused_as_a_plain_one_does():
    sharded = sharded_of()
    state = sharded.add(sharded.init({"x": jnp.float32(0)}), {"x": jnp.arange(4.0)})
    for stream, time in (([0, 1, 99, 3], [0] * 4), ([0, -1, 2, 3], [0] * 4), ([0, 1, 2, 3], [0, 0, 0, 2**30])):
        index = jb.Index(jnp.int32(stream), jnp.int32(time))
        with pytest.raises(ShapeError, match=r"^1 entries .* streams 0 to 3. The index comes from another replay"):
            sharded.update(state, index, rows={"x": jnp.zeros(4)})
        assert sharded.get(state, index)[1].sum() == 3  # elsewhere they are no rows, as for a plain replay
        assert sorted(sharded.age(state, index).tolist()) == [-1, 0, 0, 0]


def test_states_and_batches_of_others_are_refused():
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
    for wrong in (None, batch.data, batch.replace(data=batch.data["x"])):
        with pytest.raises(StructureError, match="the structure in which sample"):
            sharded.fence(state, wrong)
    with pytest.raises(ShapeError, match=r"an array of shape \(3,\); its axis 0 must divide into 2 parts"):
        sharded.fence(state, jax.tree.map(lambda x: x[:3] if x.ndim else x, batch))
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
