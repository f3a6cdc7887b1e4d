"""When XLA computes what: a vector once, and a write only after the reads that come before it and where they were.

**Once** (`materialize`). XLA fuses a cheap producer into each of its consumers. A gather that reads 30 words of a
row by an address then works out the address 30 times, down to the 16 sums of each level of a tree. On CPU
``optimization_barrier`` is removed before fusion; a scatter is never fused into what follows
(``docs/decisions/0005-sum-tree.md`` has the figures). On GPUs the barrier holds; on TPUs `materialize` does nothing.

**After** (`after`). A buffer is updated in place only if every read of its old content is known to come first.
Within one verb the reads find the places to write, so they do. But the next verb works out its places from counters
that know nothing of those reads, and XLA keeps a copy of the whole buffer for them. So a verb returns its counters
`after` what it has read, and whatever is written later depends on the reads (``docs/decisions/0009-order.md``).
A value with two consumers may be read twice, by two kernels of which only one is waited for: it goes through
`materialize` first.

**In place** (`put`). Inside of a ``lax.cond``, XLA for CPU copies a buffer that is read, written by one scatter and
read again; it does not if another scatter comes in between (``docs/decisions/0011-gates.md``). So what is read again
within a verb is written by `put`: a zero at one of the places first, then all.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def materialize(x: jax.Array) -> jax.Array:
    """Return ``x`` ``[K]``, computed once."""
    return lax.platform_dependent(x, cpu=_stored, cuda=_kept, rocm=_kept, default=lambda x: x)


def materialize_on_cpu(x: jax.Array) -> jax.Array:
    """Return ``x`` ``[K]``, computed once on CPU; a GPU has to start one more kernel for it, and works it out again."""
    return lax.platform_dependent(x, cpu=_stored, default=lambda x: x)


def materialize_pair(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return two float32 arrays ``[K]``, computed once, by one kernel: side by side as complex numbers."""
    return lax.platform_dependent(x, y, cpu=_stored_pair, default=lambda x, y: (x, y))


def after(x: jax.Array, *read: jax.Array) -> jax.Array:
    """Return the integers ``x`` unchanged, but not before every array of ``read`` is known."""
    known = [_first_bits(array) for array in read if array.size]
    if not known:
        return x
    seen = functools.reduce(jnp.bitwise_xor, known)
    # A square is 0 or 1 modulo 4, never 2. The compiler does not know, so it must look at what was read.
    return x + ((seen * seen) & 3 == 2).astype(x.dtype)


def after_small(x: jax.Array, tree: Any) -> jax.Array:
    """Return ``x`` `after` the small leaves of a tree: counters and roots, what a structure works out last."""
    return after(x, *(leaf for leaf in jax.tree.leaves(tree) if leaf.size <= 64))


def put(x: jax.Array, place: jax.Array, value: jax.Array) -> jax.Array:
    """Return ``x`` ``[n]`` with ``value`` ``[K]`` at ``place`` ``[K]``; places beyond the end are dropped."""
    return lax.platform_dependent(x, place, value, cpu=_put_twice, default=_put)


def _kept(x: jax.Array) -> jax.Array:
    return lax.optimization_barrier(x)


def _put(x: jax.Array, place: jax.Array, value: jax.Array) -> jax.Array:
    return x.at[place].set(value, mode="drop")


def _put_twice(x: jax.Array, place: jax.Array, value: jax.Array) -> jax.Array:
    return _put(_put(x, place[:1], jnp.zeros_like(value[:1])), place, value)


def _stored(x: jax.Array) -> jax.Array:
    if len(x) == 1:  # a scatter of one element would be fused after all
        return _stored(jnp.concatenate([x, x]))[:1]
    return jnp.zeros_like(x).at[lax.iota(jnp.uint32, len(x))].set(x, unique_indices=True, mode="promise_in_bounds")


def _stored_pair(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    pair = _stored(lax.complex(x, y))
    return lax.real(pair), lax.imag(pair)


def _first_bits(x: jax.Array) -> jax.Array:
    if jnp.issubdtype(x.dtype, jax.dtypes.extended):
        x = jax.random.key_data(x)
    first = x.reshape(-1)[0]
    if jnp.iscomplexobj(first):
        first = first.real
    if jnp.issubdtype(first.dtype, jnp.floating):
        first = jnp.where(jnp.isfinite(first), first, jnp.zeros_like(first)).astype(jnp.float32)
        return lax.bitcast_convert_type(first, jnp.int32)
    return first.astype(jnp.int32)
