"""Numbers over all streams: which stream, and which within it; searches of several steps."""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

T = TypeVar("T")

FEW = 64  # streams, with which every number is compared at once


def running(count: jax.Array) -> jax.Array:
    """Return the sums of int32 ``[E]`` up to each number, itself included."""
    few = _masked_sums if len(count) <= FEW else _running
    return lax.platform_dependent(count, cuda=few, rocm=few, default=_running)


def locate(ends: jax.Array, number: jax.Array) -> jax.Array:
    """Find for each number the first of the rising ``ends`` ``[E]`` above it, or the last one: int32.

    Compares with all ends, or first with every ``width``-th where there are many: on CPU several
    times as fast as a binary search, whose steps XLA runs one by one.
    """
    if len(ends) == 1:  # a gather by it then needs no numbers
        return jnp.zeros(number.shape, jnp.int32)
    width = len(ends) if len(ends) <= FEW else math.isqrt(len(ends) - 1) + 1
    blocks = -(-len(ends) // width)
    table = jnp.pad(ends, (0, blocks * width - len(ends)), mode="edge").reshape(blocks, width)
    block = jnp.zeros(number.shape, jnp.int32)
    if blocks > 1:
        block = jnp.sum(number[:, None] >= table[None, :-1, -1], axis=1, dtype=jnp.int32)
    inside = jnp.sum(number[:, None] >= table[block], axis=1, dtype=jnp.int32)
    return jnp.minimum(block * width + inside, len(ends) - 1)


def repeat(steps: int, step: Callable[[Any, T], T], first: T) -> T:
    """Take so many steps of a search, each of which reads where the one before has led: a loop on CPU.

    There, XLA fuses steps that follow one another into kernels that work out all earlier ones anew, and LLVM may take
    minutes for those (``docs/decisions/0024-searches.md``). Elsewhere each turn of a loop is one more kernel to start.
    """
    loop = functools.partial(lax.fori_loop, 0, steps, step)
    return lax.platform_dependent(first, cpu=loop, default=functools.partial(loop, unroll=True))


def _running(count: jax.Array) -> jax.Array:
    return jnp.cumsum(count, dtype=jnp.int32)


def _masked_sums(count: jax.Array) -> jax.Array:
    """On a GPU each thread of a running sum adds up one result, number by number, and works out each of them anew."""
    number = jnp.arange(len(count))
    return jnp.sum(jnp.where(number[:, None] >= number[None], count[None], 0), axis=1, dtype=jnp.int32)
