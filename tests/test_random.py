"""The random bits behind every draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbuffers.numerics.random_bits import FOR_VIEWS, bits64, split


@pytest.mark.parametrize("seed", [0, 1, 2**31 + 5])
@pytest.mark.parametrize("count", [1, 2, 255, 4096])
def test_threefry_bits_are_those_of_jax(seed, count):
    key = jax.random.key(seed, impl="threefry2x32")
    high, low = jax.jit(bits64, static_argnums=1)(key, count)
    with jax.enable_x64(True):
        theirs = np.asarray(jax.random.bits(key, (count,), jnp.uint64))
    ours = (np.asarray(high).astype(np.uint64) << np.uint64(32)) | np.asarray(low).astype(np.uint64)
    np.testing.assert_array_equal(ours, theirs)


def test_raw_keys_draw_what_typed_keys_draw():
    raw, typed = jax.random.PRNGKey(7), jax.random.key(7)
    for ours, theirs in zip(bits64(raw, 64), bits64(typed, 64), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_bits_do_not_depend_on_how_jax_shards_its_random_numbers():
    key = jax.random.key(3)
    with jax.threefry_partitionable(False):
        before = bits64(key, 32)
    with jax.threefry_partitionable(True):
        after = bits64(key, 32)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_keys_draw_uniform_bits_of_their_own_kind(impl):
    high, low = bits64(jax.random.key(0, impl=impl), 4096)
    for half in (high, low):
        ones = np.unpackbits(np.asarray(half).view(np.uint8)).mean()
        assert abs(ones - 0.5) < 0.01  # 131,072 bits: seven standard deviations
    assert not np.array_equal(high, low)


def test_vmapped_keys_draw_what_each_key_draws():
    keys = jax.random.split(jax.random.key(0), 5)
    high, low = jax.vmap(lambda key: bits64(key, 16))(keys)
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(high[i], bits64(key, 16)[0])
        np.testing.assert_array_equal(low[i], bits64(key, 16)[1])


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("use", [bits64, split])
def test_a_key_may_serve_a_sampler_once_and_a_view_beside_it(impl, use):
    key, other = jax.random.key(0, impl=impl), jax.random.key(1, impl=impl)
    with jax.debug_key_reuse(True):
        jax.jit(lambda key: (use(key, 2), bits64(key, 2, FOR_VIEWS)))(key)
        with pytest.raises(jax.errors.KeyReuseError):
            jax.jit(lambda key: (use(key, 2), use(key, 2)))(other)
