"""Random integers for samplers: 64 bits a draw, in arithmetic that fuses into one kernel.

`bits64` computes what ``jax.random.bits(key, (count,), uint64)`` would, bit for bit, without
needing 64-bit types, and six times as fast on CPU, where JAX keeps Threefry's rounds in a loop
(``docs/decisions/0003-random-bits.md``).
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxbuffers.errors import ShapeError

FOR_VIEWS, FOR_KEYS = 2**30, 2**31  # counters that no draw reaches, for what else a key must serve
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def below(key: jax.Array, total: jax.Array, count: int) -> jax.Array:
    """Draw ``count`` independent integers uniform in ``[0, total)``: int32; zeros if ``total`` is 0.

    The integer is ``floor(u * total / 2**64)`` for 64 random bits ``u``, in 32-bit arithmetic, so
    two values differ in probability by less than one part in ``2**33``. The key is consumed.

    Args:
      key: a PRNG key.
      total: int32 ``[]``, not negative.
      count: how many integers to draw, static.
    """
    return fraction_of(total, *bits64(key, count))


def fraction_of(total: jax.Array, high: jax.Array, low: jax.Array) -> jax.Array:
    """Return ``floor(u * total / 2**64)`` for 64 bits ``u`` in two uint32; ``total`` is an int32 from 0 on."""
    total = total.astype(jnp.uint32)
    middle = high * total + _high_product(low, total)
    carry = (middle < high * total).astype(jnp.uint32)
    return (_high_product(high, total) + carry).astype(jnp.int32)


def split(key: jax.Array, count: int) -> list[jax.Array]:
    """Return new keys, independent of each other and of what is drawn with ``key`` here. The key is consumed."""
    _use_up(key)
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return [jax.random.fold_in(key, FOR_KEYS + i) for i in range(count)]
    words = jnp.stack(bits64(key, count, FOR_KEYS), axis=1)
    keys = jax.random.wrap_key_data(words, impl="threefry2x32")
    return [keys[i] if _typed(key) else words[i] for i in range(count)]


def bits64(key: jax.Array, count: int, offset: int = 0) -> tuple[jax.Array, jax.Array]:
    """Return the high and low halves of ``count`` random 64-bit integers: uint32 ``[count]`` each.

    With another ``offset`` a key gives other bits. For Threefry keys these are the words of
    Threefry-2x32 with 20 rounds in counter mode (Salmon et al. 2011); keys of another kind use
    ``jax.random.bits``.
    """
    if jax.random.key_data(key).ndim != 1:
        raise ShapeError(f"one key is needed, got keys of shape {key.shape}; split them off first, or use vmap.")
    if str(jax.random.key_impl(key)) != "threefry2x32":
        high, low = jax.random.bits(jax.random.fold_in(key, offset) if offset else key, (2, count), jnp.uint32)
        return high, low
    if not offset:
        _use_up(key)
    first, second = jax.random.key_data(key)
    keys = (first, second, first ^ second ^ jnp.uint32(0x1BD11BDA))
    x, y = jnp.broadcast_to(keys[0], (count,)), lax.iota(jnp.uint32, count) + jnp.uint32(offset) + keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = (y << jnp.uint32(rotation) | y >> jnp.uint32(32 - rotation)) ^ x
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def _use_up(key: jax.Array) -> None:
    """Tell ``jax_debug_key_reuse``, which sees neither words that are taken of a key nor numbers folded into it."""
    if jax.config.jax_debug_key_reuse:  # type: ignore[attr-defined]
        jax.random.bits(key)


def _typed(key: jax.Array) -> bool:
    return bool(jnp.issubdtype(key.dtype, jax.dtypes.prng_key))


def _high_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the upper 32 bits of the product of two uint32."""
    half = jnp.uint32(16)
    a1, a0, b1, b0 = a >> half, a & 0xFFFF, b >> half, b & 0xFFFF
    middle = a1 * b0 + (a0 * b0 >> half)
    return a1 * b1 + (middle >> half) + ((middle & 0xFFFF) + a0 * b1 >> half)
