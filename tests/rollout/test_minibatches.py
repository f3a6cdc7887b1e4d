"""An epoch is a permutation: every row once, whatever the sizes."""

import collections

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget, long_but

import jaxbuffers as jb

KEY = jax.random.key(0)


@given(
    rows=st.integers(1, 30),
    batch=st.integers(1, 35),
    remainder=st.sampled_from(["error", "drop", "pad", "wrap"]),
    shuffle=st.booleans(),
)
@settings(max_examples=budget(3, 50), deadline=None)
def test_each_row_comes_exactly_once_an_epoch(rows, batch, remainder, shuffle):
    data = {"x": jnp.arange(rows), "y": jnp.arange(rows * 2.0).reshape(rows, 2)}
    over = rows % batch
    if (remainder == "error" and over) or (remainder == "drop" and rows < batch):
        with pytest.raises(jb.errors.ConfigurationError, match=str(rows)):
            jb.minibatches(KEY, data, batch, shuffle, remainder)
        return
    batches = jb.minibatches(KEY, data, batch, shuffle, remainder)
    seen, real = [], 0
    for i, each in enumerate(batches):
        assert each.data["x"].shape == each.mask.shape == (batch,)
        np.testing.assert_array_equal(each.data["y"][:, 0], np.asarray(each.data["x"]) * 2.0)
        np.testing.assert_array_equal(each.data["x"][~each.mask], np.zeros(int((~each.mask).sum())))
        seen += each.data["x"][each.mask].tolist()
        real += int(each.mask.sum())
        np.testing.assert_array_equal(batches[i].index, each.index)
    counts = collections.Counter(seen)
    number = {"drop": rows // batch}.get(remainder, -(-rows // batch))
    assert len(batches) == batches.num_batches == number == i + 1
    if remainder == "drop":
        assert max(counts.values()) == 1
        assert real == number * batch
    elif remainder == "wrap":
        assert set(counts) == set(range(rows))
        assert real == number * batch
        assert max(counts.values()) - min(counts.values()) <= 1
    else:
        assert counts == collections.Counter(range(rows))
        assert real == rows
    if not shuffle:
        assert seen == [i % rows for i in range(real)]


def test_a_python_loop_ends_and_can_be_run_again():
    batches = jb.minibatches(KEY, jnp.arange(6), 2)
    assert [len(batch.index) for batch in batches] == [2, 2, 2] == [len(batch.index) for batch in batches]
    for outside in (3, -4, np.int64(3)):
        with pytest.raises(IndexError):
            batches[outside]


def test_a_traced_number_of_a_batch_outside_gives_a_mask_of_false():
    batches = jb.minibatches(KEY, jnp.arange(1, 7), 2)
    at = jax.jit(lambda i: batches[i])
    for i in (-3, -1, 0, 2):
        chex.assert_trees_all_equal(at(i), batches[i])
    for i in (-4, 3, 2**31 - 1):
        assert not at(i).mask.any()
        assert not at(i).data.any()


def test_arrays_of_numpy_are_copied_and_can_be_scanned():
    data = np.zeros((16, 64), np.float32)
    batches = jb.minibatches(KEY, data, 4)
    data[:] = 1
    _, rows = jax.lax.scan(lambda carry, at: (carry, batches.take(*at).data), 0, (batches.index, batches.mask))
    assert rows.shape == (4, 4, 64)
    assert not rows.any()


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="64-bit types are on")
def test_what_jax_would_cut_to_32_bits_is_refused():
    with pytest.raises(jb.errors.DtypeError, match="leaf 'x' has dtype int64"):
        jb.minibatches(KEY, {"x": np.arange(4) + 2**40}, 2)


def test_another_key_gives_another_order_and_the_same_key_the_same():
    orders = [jb.minibatches(jax.random.key(i), jnp.arange(64), 8).index for i in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()


def test_every_order_of_a_few_rows_is_equally_likely():
    keys = jax.random.split(KEY, 24_000)
    orders = jax.jit(jax.vmap(lambda key: jb.minibatches(key, jnp.arange(4), 2).index.reshape(-1)))(keys)
    counts = np.array(list(collections.Counter(map(tuple, np.asarray(orders).tolist())).values()))
    assert len(counts) == 24
    # 24 cells of 1,000 expected: a chi-square of 23 degrees of freedom exceeds 78 once in 10 million times, and
    # reaches it almost surely where one order comes 1.3 times as often as it should, at another's expense.
    assert np.sum((counts - 1000) ** 2 / 1000) < 78


def test_a_scan_over_the_indices_is_the_same_epoch():
    batches = jb.minibatches(KEY, {"x": jnp.arange(10.0)}, 4, remainder="pad")

    def body(carry, at):
        batch = batches.take(*at)
        return carry, (batch.data["x"], batch.mask)

    _, (x, mask) = jax.jit(lambda: jax.lax.scan(body, 0, (batches.index, batches.mask)))()
    for i, batch in enumerate(batches):
        np.testing.assert_array_equal(x[i], batch.data["x"])
        np.testing.assert_array_equal(mask[i], batch.mask)


def test_shorter_leaves_are_repeated_only_when_asked():
    data = {"long": jnp.arange(6), "short": jnp.arange(4)}
    with pytest.raises(jb.errors.ShapeError, match="leaf 'short' has 4 rows"):
        jb.minibatches(KEY, data, 2)
    for batch in jb.minibatches(KEY, data, 2, shorter="modulo"):
        np.testing.assert_array_equal(batch.data["short"], batch.data["long"] % 4)


@pytest.mark.parametrize(
    "change, error",
    [
        ({"batch_size": 0}, jb.errors.ConfigurationError),
        ({"batch_size": 2.0}, jb.errors.ConfigurationError),
        ({"shuffle": "drop"}, jb.errors.ConfigurationError),
        ({"batch_size": 2**30 + 1, "remainder": "pad"}, jb.errors.ConfigurationError),
        ({"data": {"x": 1.0}}, jb.errors.DtypeError),
        ({"data": {"x": np.array(["a", "b"])}}, jb.errors.DtypeError),
        ({"remainder": "keep"}, jb.errors.ConfigurationError),
        ({"shorter": "pad"}, jb.errors.ConfigurationError),
        ({"data": {}}, jb.errors.ShapeError),
        ({"data": {"x": jnp.float32(1)}}, jb.errors.ShapeError),
        ({"data": {"x": jnp.zeros((0, 2))}}, jb.errors.ShapeError),
    ],
)
def test_mistakes_are_named(change, error):
    with pytest.raises(error):
        jb.minibatches(**({"key": KEY, "data": {"x": jnp.arange(4)}, "batch_size": 2} | change))


def test_rows_keep_every_bit():
    odd = jnp.array([np.nan, -0.0, np.inf, 1.0], jnp.float32)
    bits = np.concatenate([np.asarray(b.data).view(np.uint32) for b in jb.minibatches(KEY, odd, 2, shuffle=False)])
    np.testing.assert_array_equal(bits, np.asarray(odd).view(np.uint32))


@pytest.mark.parametrize("shuffle", long_but([True, False], quick=[0]))
@pytest.mark.parametrize("remainder", long_but(["drop", "pad", "wrap"], quick=[1]))
def test_minibatches_of_a_rollout_are_those_of_the_flat_one(shuffle, remainder):
    rollout = jb.Rollout(num_steps=5, num_envs=3)
    state = rollout.init(x=jax.ShapeDtypeStruct((2,), jnp.float32), y=jax.ShapeDtypeStruct((), jnp.bfloat16))
    values = np.arange(15, dtype=np.float32).reshape(5, 3)
    state = rollout.batch_update(state, "x", np.stack([values, -values], -1))
    state = rollout.batch_update(state, "y", jnp.asarray(values, jnp.bfloat16))
    assert rollout.minibatches(state, KEY, 5).longest == 15
    for seed in range(budget(1, 3)):
        key = jax.random.key(seed)
        flat = jb.minibatches(key, rollout.flatten(state).data, 4, shuffle, remainder)
        for make in (rollout.minibatches, jax.jit(rollout.minibatches, static_argnums=(2, 3, 4))):
            for got, want in zip(make(state, key, 4, shuffle, remainder), flat, strict=True):
                chex.assert_trees_all_equal(got, want, strict=True)


def test_minibatches_of_an_incomplete_rollout_raise_and_mask_the_rows_under_jit():
    rollout = jb.Rollout(num_steps=2, num_envs=2)
    state = rollout.init(x=jax.ShapeDtypeStruct((), jnp.float32), y=jax.ShapeDtypeStruct((), jnp.float32))
    state = rollout.batch_update(state, "x", np.ones((2, 2), np.float32))
    state = rollout.update(state, "y", 1, np.ones(2, np.float32))
    with pytest.raises(jb.errors.IncompleteError, match=r"'y': \[0\]"):
        rollout.minibatches(state, jax.random.key(0), 2)
    batches = jax.jit(lambda s: rollout.minibatches(s, jax.random.key(0), 4, shuffle=False))(state)
    np.testing.assert_array_equal(batches.mask, [[False, True, False, True]])
    np.testing.assert_array_equal(batches[0].data["x"], [0, 1, 0, 1])
    with pytest.raises(jb.errors.ShapeError, match="no keys"):
        rollout.minibatches(rollout.init(), jax.random.key(0), 4)
