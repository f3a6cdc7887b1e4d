"""A sharded replay inside of scan, cond and vmap, and in checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb

from .meshes import TYPES, mesh_of, needs_devices, same

pytestmark = needs_devices


def sharded_of(kind=TYPES[0], shards=2):
    return jb.Sharded(jb.Replay(32, 4, 8, jb.Sequences(2)), mesh_of(shards, kind))


def whole(key, shape):
    """Random numbers that no program rounds in its own way."""
    return jax.random.randint(key, shape, -99, 99).astype(jnp.float32)


def train(sharded, state, keys):
    """A loop that adds in every step and learns in some."""

    def learn(state, key):
        batch = sharded.sample(state, key)
        return sharded.update(state, batch.index, rows={"x": batch.data["x"] + 1}), batch.data["x"].sum()

    def skip(state, key):
        return state, jnp.float32(0)

    def step(carry, key):
        state, step = carry
        state = sharded.add(state, {"x": whole(key, (4,))})
        state, total = jax.lax.cond((step >= 2) & (step % 2 == 0), learn, skip, state, key)
        return (state, step + 1), total

    (state, _), totals = jax.lax.scan(step, (state, 0), keys)
    return state, totals


@pytest.mark.parametrize("kind", long_but(TYPES, quick=[0]))
def test_scan_and_cond_of_the_user(kind):
    sharded, keys = sharded_of(kind), jax.random.split(jax.random.key(0), 6)
    looped, totals = quick_jit(lambda state, keys: train(sharded, state, keys))(
        sharded.init({"x": jnp.float32(0)}), keys
    )
    state, by_hand = sharded.init({"x": jnp.float32(0)}), []
    for step, key in enumerate(keys):
        state = sharded.add(state, {"x": whole(key, (4,))})
        by_hand.append(0.0)
        if step >= 2 and step % 2 == 0:
            batch = sharded.sample(state, key)
            state = sharded.update(state, batch.index, rows={"x": batch.data["x"] + 1})
            by_hand[-1] = float(batch.data["x"].sum())
    np.testing.assert_allclose(totals, by_hand, rtol=1e-5)
    same(jax.device_get(looped), jax.device_get(state))


def test_seeds_outside():
    sharded, keys = sharded_of(), jax.random.split(jax.random.key(0), 3)
    row = {"x": jnp.float32(0)}

    def run(key):
        state = sharded.add(sharded.init(row), {"x": whole(key, (3, 4))})
        return state, sharded.sample(state, key)

    found = jax.device_get(quick_jit(jax.vmap(run))(keys))
    for i, key in enumerate(keys):
        expected = jax.device_get(run(key))
        for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(got[i] if np.ndim(got) > np.ndim(wanted) else got, wanted)


@pytest.mark.parametrize("kind", long_but(TYPES, quick=[0]))
def test_a_checkpoint_holds_all_shards_and_each_goes_back_to_its_device(kind, tmp_path):
    sharded = sharded_of(kind, shards=4)
    state = sharded.add(sharded.init({"x": jnp.float32(0)}), {"x": jnp.arange(12.0).reshape(3, 4)})
    jb.checkpoint.save(tmp_path / "run", state)
    restored = jb.checkpoint.restore(tmp_path / "run", sharded.init({"x": jnp.float32(0)})).tree
    same(jax.device_get(restored), jax.device_get(state))
    for got, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert got.sharding.is_equivalent_to(wanted.sharding, got.ndim)
    one, other = (sharded.sample(each, jax.random.key(0)) for each in (restored, state))
    same(jax.device_get(one), jax.device_get(other))
    with pytest.raises((jb.errors.ShapeError, jb.errors.ConfigurationError)):
        jb.checkpoint.restore(tmp_path / "run", sharded_of(kind).init({"x": jnp.float32(0)}))


@pytest.mark.parametrize("kind", long_but(TYPES, quick=[1]))
def test_arrays_that_lie_in_another_order_or_elsewhere_are_moved(kind):
    sharded, other = sharded_of(kind), Mesh(np.array(jax.devices())[[1, 0]], ("data",), axis_types=(kind,))
    state = sharded.add(sharded.init({"x": jnp.float32(0)}), {"x": jnp.arange(12.0).reshape(3, 4)})
    expected = jax.device_get(sharded.sample(state, jax.random.key(0)))
    places = NamedSharding(other, P("data")), NamedSharding(sharded.mesh, P()), jax.devices()[1], jax.devices()[7]
    for place in places:
        same(jax.device_get(sharded.sample(jax.device_put(state, place), jax.random.key(0))), expected)
    rows = jax.device_put({"x": jnp.arange(4.0)}, places[0])
    assert int(sharded.size(sharded.add(state, rows))) == 16


def test_arrays_of_numpy_go_to_their_devices():
    sharded = sharded_of()
    state = sharded.add(sharded.init({"x": jnp.float32(0)}), {"x": np.arange(12, dtype=np.float32).reshape(3, 4)})
    assert int(sharded.size(jax.tree.map(np.asarray, state))) == 12
    again = sharded.add(jax.tree.map(np.asarray, state), {"x": np.zeros(4, np.float32)})
    assert len(again.ring.time.sharding.device_set) == 2
    committed = jax.device_put({"x": jnp.zeros(4)}, jax.devices()[5])
    assert int(sharded.size(sharded.add(state, committed))) == 16
