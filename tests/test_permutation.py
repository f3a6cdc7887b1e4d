"""Random permutations: each comes with equal probability, and is one."""

from math import factorial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from tier import long_but

from jaxbuffers.numerics import permutation as module
from jaxbuffers.numerics.permutation import permutation


@pytest.mark.parametrize("count", long_but([1, 2, 3, 5, 17, 1000, 40_000, 2**17 + 1], quick=[0, 3, 6]))
def test_every_number_comes_once(count):
    order = permutation(jax.random.key(count), count)
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


@pytest.mark.parametrize("count", long_but([2, 3, 4], quick=[2]))
def test_every_order_is_equally_likely(count):
    """Power: with 24,000 draws of 24 orders a shift of 10% of one order is found with probability above 0.99."""
    keys = jax.random.split(jax.random.key(7), 24_000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, count)))(keys))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == factorial(count)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.long  # high power; quick: every order of four, above
def test_places_of_a_large_one_are_uniform_after_two_rounds():
    """40,000 numbers take two sorts; where each hundredth lands, against a uniform law."""
    keys = jax.random.split(jax.random.key(3), 40)
    place = np.concatenate([np.argsort(permutation(key, 40_000))[::100] for key in keys])
    assert stats.kstest(place / 40_000, "uniform").pvalue > 1e-4


def test_sorting_words_and_pairs_is_the_same():
    """What a CPU does, and what any other device does."""
    high = jnp.array([5, 5, 2**32 - 1, 0, 5], jnp.uint32)
    low = jnp.array([2**32 - 1, 0, 1, 2**31, 7], jnp.uint32)
    want = [2**31, 0, 7, 2**32 - 1, 1]
    assert module._sort_words(high, low).tolist() == want
    assert module._sort_pairs(high, low).tolist() == want
    both = jnp.stack([high, high[::-1]]), jnp.stack([low, low[::-1]])
    for sort in (module._sort_words, module._sort_pairs):
        assert jax.jit(jax.vmap(sort))(*both).tolist() == [want, want]


def test_64_bit_types_stay_off_outside_and_other_keys_work():
    order = jax.jit(lambda key: permutation(key, 6) + 1)(jax.random.key(0, impl="rbg"))
    assert order.dtype == jnp.int32
    assert sorted(order.tolist()) == [1, 2, 3, 4, 5, 6]
    assert jnp.arange(3.0).dtype == (jnp.float64 if jax.config.jax_enable_x64 else jnp.float32)


@pytest.mark.long  # quick: scans and vmap of test_every_sampler.py and of minibatches
def test_an_order_is_the_same_under_every_transformation():
    key = jax.random.key(5)
    want = permutation(key, 10)
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    part = jax.sharding.PartitionSpec("d")
    over = jax.shard_map(lambda keys: permutation(keys[0], 10)[None], mesh=mesh, in_specs=part, out_specs=part)
    keys = jnp.stack([key] * 8)
    cond = jax.jit(lambda p: jax.lax.cond(p, lambda: permutation(key, 10), lambda: jnp.arange(10, dtype=jnp.int32)))
    scan = jax.lax.scan(lambda carry, key: (carry, permutation(key, 10)), 0, keys)[1]
    for got in (cond(True), *jax.jit(over)(keys), *jax.vmap(lambda key: permutation(key, 10))(keys), *scan):
        np.testing.assert_array_equal(got, want)
    legacy = jax.random.PRNGKey(5)
    np.testing.assert_array_equal(permutation(legacy, 10), want)
