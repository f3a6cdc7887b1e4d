"""Arrays on many devices are saved whole, and restored with the sharding that is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxbuffers as jb

from .same import assert_same


def mesh_of(kind):
    return jax.make_mesh((8,), ("data",), axis_types=(kind,))


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_a_sharded_state_comes_back_as_it_lay(tmp_path, kind):
    replay = jb.Replay(32, 8, 2, jb.Transitions(), jb.Prioritized())
    row = jb.Row(jnp.zeros(3), jnp.int32(0), jnp.float32(0), *[jnp.bool_(False)] * 3)
    state, mesh = replay.init(row), mesh_of(kind)

    def spread(leaf):
        axes = [("data" if size == 8 else None) for size in leaf.shape]
        first = axes.index("data") if "data" in axes else None
        return NamedSharding(mesh, P(*("data" if i == first else None for i in range(leaf.ndim))))

    tree = {"replay": state, "key": jax.random.key(1), "weights": jnp.arange(16.0).reshape(8, 2)}
    tree = jax.tree.map(lambda leaf: jax.device_put(leaf, spread(leaf)), tree)
    jb.checkpoint.save(tmp_path / "run", tree)
    found = jb.checkpoint.restore(tmp_path / "run", jax.tree.map(jnp.zeros_like, tree) | {"key": tree["key"]}).tree
    assert_same(found, tree)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert a.sharding.is_equivalent_to(b.sharding, a.ndim)
        assert jax.typeof(a) == jax.typeof(b)
    structs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)
    again = jb.checkpoint.restore(tmp_path / "run", structs).tree
    assert_same(again, tree)
    assert again["weights"].sharding == tree["weights"].sharding
    alone = jb.checkpoint.restore(
        tmp_path / "run", {"replay": state, "key": jax.random.key(0), "weights": jnp.zeros((8, 2))}
    )
    assert_same(alone.tree, tree)
    assert len(alone.tree["weights"].devices()) == 1


def test_what_is_on_another_device_stays_there_and_what_is_free_stays_free(tmp_path):
    there = jax.devices()[3]
    tree = {"there": jax.device_put(jnp.arange(3), there), "free": jnp.arange(3)}
    jb.checkpoint.save(tmp_path / "run", tree)
    found = jb.checkpoint.restore(tmp_path / "run", tree).tree
    assert found["there"].devices() == {there}
    assert (found["there"].committed, found["free"].committed) == (True, False)


def test_a_mesh_of_another_size_takes_it(tmp_path):
    x = jnp.arange(32.0).reshape(8, 4)
    jb.checkpoint.save(tmp_path / "run", jax.device_put(x, NamedSharding(mesh_of(AxisType.Auto), P("data"))))
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("a", "b"))
    like = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, P("b", "a")))
    found = jb.checkpoint.restore(tmp_path / "run", like).tree
    assert found.sharding == like.sharding
    np.testing.assert_array_equal(found, x)


def test_shapes_on_a_mesh_without_devices_are_placed_on_the_mesh_that_is_set(tmp_path):
    mesh = mesh_of(AxisType.Explicit)
    x = jax.device_put(jnp.arange(16.0).reshape(8, 2), NamedSharding(mesh, P("data")))
    jb.checkpoint.save(tmp_path / "run", {"x": x})
    like = {"x": jax.eval_shape(lambda: x * 2)}
    with jax.set_mesh(mesh):
        found = jb.checkpoint.restore(tmp_path / "run", like).tree
    assert_same(found, {"x": x})
    assert found["x"].sharding.is_equivalent_to(x.sharding, 2)
    with pytest.raises(jb.errors.StructureError, match="leaf 'x' of like is sharded over a mesh without devices"):
        jb.checkpoint.restore(tmp_path / "run", like)
