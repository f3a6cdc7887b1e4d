"""Meshes of fake devices, and what a sharded state is made of."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

TYPES = [AxisType.Auto, AxisType.Explicit]
needs_devices = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices, or 8 fake ones on CPU")


def mesh_of(shards, kind=AxisType.Auto, other=1):
    """A mesh of one axis, "data", or of another one, too."""
    shape, names = ((shards, other), ("data", "model")) if other > 1 else ((shards,), ("data",))
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(shape), devices=jax.devices()[: shards * other])


def part(tree, like, shards, shard):
    """What a shard has of the states of all, as NumPy arrays: a state ``like`` that of a plain replay."""
    return jax.tree.map(lambda x, one: np.split(np.asarray(x), shards)[shard].reshape(one.shape), tree, like)


def over(mesh, tree, axis=0):
    """Arrays sharded over "data" along one of their axes."""
    return jax.device_put(tree, NamedSharding(mesh, P(*(None,) * axis, "data")))


def same(got, expected):
    """Compare two trees bit by bit."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    pairs = zip(jax.tree_util.tree_flatten_with_path(got)[0], jax.tree.leaves(expected), strict=True)
    for (path, a), b in pairs:
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), jax.tree_util.keystr(path)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))
