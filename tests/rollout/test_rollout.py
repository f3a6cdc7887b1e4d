"""A rollout knows which steps of which keys were written, and lays them out environment by environment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget

import jaxbuffers as jb
from jaxbuffers.testing import assert_in_place

F32 = jax.ShapeDtypeStruct((), jnp.float32)


def written(steps, rollout=None):
    """The state after writing these steps of "x", one after the other; the value says step and environment."""
    rollout = rollout or jb.Rollout(4, 2)
    state = rollout.init(x=F32)
    for step in steps:
        state = rollout.update(state, "x", step, step * 10 + jnp.arange(2, dtype=jnp.float32))
    return rollout, state


@given(steps=st.lists(st.integers(0, 3), max_size=8))
@settings(max_examples=budget(12, 60), deadline=None)
def test_any_order_of_writes_gets_the_right_verdict(steps):
    rollout, state = written(steps)
    missing = sorted(set(range(4)) - set(steps))
    assert rollout.missing(state) == ({"x": missing} if missing else {})
    assert bool(rollout.complete(state)) == (not missing)
    assert int(state.rewritten["x"]) == len(steps) - len(set(steps))
    if missing:
        with pytest.raises(jb.errors.IncompleteError, match="'x'"):
            rollout.flatten(state)
    else:
        want = [t * 10 + e for e in range(2) for t in range(4)]
        np.testing.assert_array_equal(rollout.flatten(state).data["x"], want)


def test_steps_whose_sum_is_that_of_a_complete_rollout_are_not_complete():
    rollout, state = written([0, 0, 1, 1, 3])
    assert sum(step + 1 for step in [0, 0, 1, 1, 3]) == rollout.total_sum() == 10
    assert rollout.missing(state) == {"x": [2]}
    with pytest.raises(jb.errors.IncompleteError, match=r"\[2\]"):
        rollout.make_dict(state)


def test_under_jit_an_incomplete_rollout_is_flagged_and_zero_where_nothing_was_written():
    rollout, state = written([0, 3])
    state = rollout.reset(state)  # the memory still holds steps 0 and 3
    state = rollout.update(state, "x", 1, np.float32([7, 8]))
    flat = jax.jit(rollout.flatten)(state)
    assert not flat.valid
    np.testing.assert_array_equal(flat.data["x"], [0, 7, 0, 0, 0, 8, 0, 0])
    assert jax.jit(rollout.flatten)(written(range(4))[1]).valid


def test_the_documented_use_with_1024_environments_and_16_steps():
    rollout = jb.Rollout(num_steps=16, num_envs=1024)
    state = rollout.register(rollout.init(), "obs", shape=(128,))
    observations = np.random.default_rng(0).normal(size=(16, 1024, 128)).astype(np.float32)
    update = jax.jit(rollout.update, static_argnums=1, donate_argnums=0)
    for t in range(16):
        state = update(state, "obs", t, observations[t])
    data = rollout.get_dict(state)
    assert data["obs"].shape == (16 * 1024, 128)
    np.testing.assert_array_equal(data["obs"], np.concatenate([observations[:, e] for e in range(1024)]))


def test_a_traced_step_outside_is_dropped_and_counted_and_an_int_raises():
    rollout, state = written([0, 1])
    update = jax.jit(rollout.update, static_argnums=1)
    for step in (-1, 4, 2**31 - 1, -(2**31)):
        after = update(state, "x", step, jnp.full(2, 9, jnp.float32))
        np.testing.assert_array_equal(after.data["x"], state.data["x"])
        np.testing.assert_array_equal(after.written["x"], state.written["x"])
        assert (int(after.dropped["x"]), int(after.rewritten["x"])) == (1, 0)
        with pytest.raises(jb.errors.ShapeError, match="outside"):
            rollout.update(state, "x", step, jnp.zeros(2, jnp.float32))


def test_late_keys_are_registered_after_the_rollout():
    rollout, state = written(range(4))
    state = rollout.register(state, "advantage")
    assert rollout.missing(state) == {"advantage": [0, 1, 2, 3]}
    state = rollout.batch_update(state, "advantage", jnp.arange(8, dtype=jnp.float32).reshape(4, 2))
    np.testing.assert_array_equal(rollout.flatten(state).data["advantage"], [0, 2, 4, 6, 1, 3, 5, 7])


MISTAKES = [
    (lambda r, s: r.register(s, "x"), jb.errors.ConfigurationError, "registered already"),
    (lambda r, s: r.register(s, ""), jb.errors.ConfigurationError, "string"),
    (lambda r, s: r.update(s, "y", 0, jnp.zeros(2, jnp.float32)), jb.errors.MissingFieldError, "'y'"),
    (lambda r, s: r.update(s, "x", 0, jnp.zeros(1, jnp.float32)), jb.errors.ShapeError, "'x'"),
    (lambda r, s: r.update(s, "x", 0, jnp.zeros((2, 1), jnp.float32)), jb.errors.ShapeError, "'x'"),
    (lambda r, s: r.update(s, "x", 0, jnp.zeros(2, jnp.int32)), jb.errors.DtypeError, "'x'"),
    (lambda r, s: r.update(s, "x", 0.5, jnp.zeros(2, jnp.float32)), jb.errors.ShapeError, "step"),
    (lambda r, s: r.update(s, "x", jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.float32)), jb.errors.ShapeError, "step"),
    (lambda r, s: r.batch_update(s, "x", jnp.zeros((2, 4), jnp.float32)), jb.errors.ShapeError, "'x'"),
    (lambda r, s: r.update(s, "x", None, jnp.zeros(2, jnp.float32)), jb.errors.ShapeError, "step .* None"),
    (lambda r, s: r.update(s, "x", np.array(4), jnp.zeros(2, jnp.float32)), jb.errors.ShapeError, "step=4"),
    (lambda r, s: r.init(x=(3,)), jb.errors.ShapeError, "'x'"),
    (lambda r, s: r.init(y=jax.random.key(0)), jb.errors.DtypeError, "'y'"),
    (lambda r, s: r.init(y=np.array("text")), jb.errors.DtypeError, "'y'"),
    (lambda r, s: r.register(s, "y", 3), jb.errors.ShapeError, "'y'"),
    (lambda r, s: r.register(s, "y", (-1,)), jb.errors.ShapeError, "'y'"),
    (lambda r, s: jb.Rollout(5, 2).update(s, "x", 4, jnp.zeros(2, jnp.float32)), jb.errors.ShapeError, "'x'"),
    (lambda r, s: jb.Rollout(4, 3).flatten(s), jb.errors.ShapeError, "'x'"),
    (lambda r, s: jb.Rollout(4, 3).minibatches(s, jax.random.key(0), 2), jb.errors.ShapeError, "'x'"),
    (lambda r, s: jb.Rollout(0, 2), jb.errors.ConfigurationError, "num_steps"),
    (lambda r, s: jb.Rollout(2, 1.5), jb.errors.ConfigurationError, "num_envs"),
]


@pytest.mark.parametrize("mistake, error, words", MISTAKES)
def test_mistakes_raise_and_name_what_is_wrong(mistake, error, words):
    rollout, state = written([0])
    before = jax.tree.map(np.asarray, state)
    with pytest.raises(error, match=words):
        mistake(rollout, state)
    jax.tree.map(np.testing.assert_array_equal, state, before)


@pytest.mark.usefixtures("readable")
def test_a_scan_fills_it_in_place_and_vmap_keeps_seeds_apart():
    rollout = jb.Rollout(64, 8)
    state = rollout.init(obs=jax.ShapeDtypeStruct((64,), jnp.float32), action=jax.ShapeDtypeStruct((), jnp.int32))

    def fill(state, offset):
        def step(state, t):
            state = rollout.update(state, "obs", t, jnp.full((8, 64), offset + t.astype(jnp.float32)))
            return rollout.update(state, "action", t, jnp.full(8, t, jnp.int32)), None

        return jax.lax.scan(step, state, jnp.arange(64, dtype=jnp.int32))[0]

    assert_in_place(fill, state, jnp.float32(0))
    assert_in_place(lambda s, x: rollout.update(s, "obs", 3, x), state, jnp.ones((8, 64), jnp.float32))
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    filled = jax.jit(jax.vmap(fill))(stacked, np.float32([0, 100]))
    flat = jax.vmap(rollout.flatten)(filled)
    assert flat.valid.all()
    np.testing.assert_array_equal(flat.data["obs"][:, :64, 0], np.arange(64) + np.array([[0.0], [100.0]]))


def test_what_flatten_returns_shares_no_memory_with_the_state():
    rollout, state = written(range(4))
    flat = rollout.flatten(state)
    kept = np.array(flat.data["x"])
    state = jax.jit(rollout.update, static_argnums=1, donate_argnums=0)(state, "x", 0, jnp.full(2, -1, jnp.float32))
    np.testing.assert_array_equal(flat.data["x"], kept)


def test_environments_can_be_sharded():
    mesh = jax.make_mesh((4,), ("env",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "env"))
    rollout = jb.Rollout(4, 8)
    state = rollout.init(x=F32)
    state = state.replace(data={"x": jax.device_put(state.data["x"], sharding)})
    update = jax.jit(rollout.update, static_argnums=1)
    for t in range(4):
        state = update(state, "x", t, t * 10 + jnp.arange(8, dtype=jnp.float32))
    want = [t * 10 + e for e in range(8) for t in range(4)]
    np.testing.assert_array_equal(rollout.flatten(state).data["x"], want)
    assert state.data["x"].sharding.is_equivalent_to(sharding, 2)


@given(steps=st.integers(1, 5), envs=st.integers(1, 5), shape=st.sampled_from([(), (3,), (2, 2)]))
@settings(max_examples=budget(4, 40), deadline=None)
def test_unflatten_undoes_flatten(steps, envs, shape):
    tree = {"a": np.random.default_rng(0).normal(size=(steps, envs, *shape)), "b": np.arange(steps * envs)}
    tree = jax.tree.map(jnp.asarray, {"a": tree["a"].astype(np.float32), "b": tree["b"].reshape(steps, envs)})
    flat = jb.swap_and_flatten01(tree)
    for e in range(envs):
        for t in range(steps):
            np.testing.assert_array_equal(flat["a"][e * steps + t], tree["a"][t, e])
    jax.tree.map(np.testing.assert_array_equal, jb.unflatten_and_swap01(flat, envs), tree)


def test_flattening_names_the_leaf_that_does_not_fit():
    with pytest.raises(jb.errors.ShapeError, match="leaf 'b'"):
        jb.swap_and_flatten01({"a": jnp.zeros((2, 2)), "b": jnp.zeros(2)})
    with pytest.raises(jb.errors.ShapeError, match="leaf 'b'"):
        jb.unflatten_and_swap01({"a": jnp.zeros(4), "b": jnp.zeros(3)}, num_envs=2)
    with pytest.raises(jb.errors.ConfigurationError, match="num_envs"):
        jb.unflatten_and_swap01(jnp.zeros(4), num_envs=2.0)


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="64-bit types are on")
def test_what_jax_would_cut_to_32_bits_is_refused():
    rollout = jb.Rollout(4, 2)
    for dtype in (np.int64, np.float64, np.uint64):
        with pytest.raises(jb.errors.DtypeError, match="'x'"):
            rollout.init(x=np.zeros(3, dtype))
    with pytest.raises(jb.errors.DtypeError, match="float64"):
        jb.swap_and_flatten01({"a": np.zeros((2, 2))})


@pytest.mark.skipif(not jax.config.jax_enable_x64, reason="64-bit types are off")
def test_a_wide_step_outside_does_not_wrap_to_one_inside():
    rollout, state = written([])
    for step in (2**32, 2**32 + 1, -(2**32), 2**62):
        after = rollout.update(state, "x", jnp.asarray(step), jnp.ones(2, jnp.float32))
        assert (int(after.dropped["x"]), bool(after.written["x"].any())) == (1, False)


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_axes_without_entries_go_through(shape):
    rollout = jb.Rollout(3, 2)
    state = rollout.init(x=jax.ShapeDtypeStruct(shape, jnp.float32), y=F32)
    state = rollout.batch_update(state, "x", jnp.zeros((3, 2, *shape), jnp.float32))
    state = rollout.batch_update(state, "y", jnp.zeros((3, 2), jnp.float32))
    flat = rollout.flatten(state).data
    assert flat["x"].shape == (6, *shape)
    assert jb.unflatten_and_swap01(flat, 2)["x"].shape == (3, 2, *shape)
    assert [batch.data["x"].shape for batch in rollout.minibatches(state, jax.random.key(0), 3)] == [(3, *shape)] * 2


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_a_step_keeps_every_bit(dtype, jit):
    dtype = np.dtype(jnp.dtype(dtype))
    bits = np.arange(2 ** (8 * dtype.itemsize)).astype(f"uint{8 * dtype.itemsize}").reshape(2, 2, -1)
    rollout = jb.Rollout(2, 2)
    state = rollout.init(x=jax.ShapeDtypeStruct(bits.shape[2:], dtype))
    update = jax.jit(rollout.update, static_argnums=1) if jit else rollout.update
    for t in range(2):
        state = update(state, "x", t, bits[t].view(dtype))
    np.testing.assert_array_equal(np.asarray(state.data["x"]).view(bits.dtype), bits)


def test_what_was_written_is_the_rollouts_own():
    rollout = jb.Rollout(16, 64)
    for _ in range(8):  # JAX takes over the memory of a NumPy array where it happens to be aligned
        data = np.zeros((16, 64, 16), np.float32)
        state = rollout.init(x=jax.ShapeDtypeStruct((16,), jnp.float32))
        state = rollout.batch_update(state, "x", data)
        data[:] = 1
        assert not state.data["x"].any()
    state = rollout.register(state, "y", (16,))
    mine = jnp.asarray(data)
    state = rollout.batch_update(rollout.batch_update(state, "x", mine), "y", mine)
    jax.jit(rollout.update, static_argnums=1, donate_argnums=0)(state, "x", 0, jnp.zeros((64, 16), jnp.float32))
    assert not mine.is_deleted()
