"""Windows of images, and beside them a plain copy of as many bytes from anywhere in the same ring."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jaxbuffers as jb
from benchmarks.accelerator.cases import Case, Group, Side, nbytes
from benchmarks.accelerator.filling import filled, time_of

ENVS, LENGTH, SHAPE = 16, 64, (64, 64, 3)
PIXELS = 64 * 64 * 3
BATCHES = (16, 128)  # the first is Dreamer's; the second is larger than a cache
GOAL = 0.6


def row() -> jb.Row:
    """One row: an image, a few small leaves."""
    flag = jnp.bool_(False)
    return jb.Row(jnp.zeros(SHAPE, jnp.uint8), jnp.zeros(6), jnp.float32(0), flag, flag, flag)


def rows(time: jax.Array) -> jb.Row:
    """Rows of all environments at some times ``[*N]``: leaves ``[*N, E, ...]``."""
    time = jnp.asarray(time)[..., None]
    value = _value(time, jnp.arange(ENVS))
    shape, ends = value.shape, time % 100 == 99
    return jb.Row(
        jnp.broadcast_to(value[..., None, None, None], (*shape, *SHAPE)),
        jnp.zeros((*shape, 6)),
        value.astype(jnp.float32),
        jnp.broadcast_to(time % 100 == 0, shape),
        jnp.broadcast_to(ends, shape),
        jnp.broadcast_to(ends & (time % 200 == 99), shape),
    )


def _value(time: jax.Array, stream: jax.Array) -> jax.Array:
    return ((time * ENVS + stream) % 251).astype(jnp.uint8)


def groups(sizes: list[int], room: int) -> Iterator[Group]:
    """Yield a group for each size of which a ring fits into ``room`` bytes."""
    for size in sizes:
        capacity = max(size // ENVS, 2 * LENGTH) * ENVS
        replay = jb.Replay(capacity, ENVS, BATCHES[0], jb.Sequences(LENGTH))
        sides: tuple[Side, ...]
        if (needed := replay.nbytes(row())) > room:
            sides, note = (), f"not measured: {needed / 2**30:.1f} GiB of images, where {room / 2**30:.1f} are free"
        else:
            sides, note = (_ours(replay), _copy(capacity)), ""
        yield Group("images", capacity, sides, note)


def _ours(replay: jb.Replay) -> Side:
    def add(state: jb.ReplayState, key: jax.Array) -> tuple:
        return replay.add(state, rows(time_of(state))), ()

    def sampled(batch: int) -> Case:
        def sample(state: jb.ReplayState, key: jax.Array) -> tuple:
            return state, replay.sample(state, key, batch)

        state = jax.eval_shape(lambda: replay.init(row()))
        moved = 2 * nbytes(jax.eval_shape(sample, state, jax.random.key(0))[1])
        return Case(_windows(batch), sample, moved, False, steps=40, goal=GOAL)

    def both(state: jb.ReplayState, key: jax.Array) -> tuple:
        state, _ = add(state, key)
        return state, replay.sample(state, key)

    first, *more = (sampled(batch) for batch in BATCHES)
    written = nbytes(jax.eval_shape(rows, jnp.int32(0)))  # which are made on the way, and not read
    cases = Case("add 16 rows", add, written, True, makes=ENVS * PIXELS), first, *more
    whole = Case(f"add + {_windows(BATCHES[0])}", both, first.moved + written, True, steps=40)
    fill = filled(replay, rows)
    return Side("jaxbuffers", replay.capacity, lambda: replay.init(row()), fill, (*cases, whole), _checked(replay))


def _windows(batch: int) -> str:
    return f"sample {batch} x {LENGTH}"


def _checked(replay: jb.Replay) -> Any:
    @jax.jit
    def wrong(state: jb.ReplayState, key: jax.Array) -> jax.Array:
        batch = replay.sample(state, key)
        want = _value(batch.index.time, batch.index.stream)
        return jnp.sum(batch.data.obs != want[..., None, None, None], dtype=jnp.int32) + ~batch.valid

    def check(state: Any) -> None:
        count = int(wrong(state, jax.random.key(3)))
        assert not count, f"{count} bytes of a sample are not those that were added"

    return check


def _copy(capacity: int) -> Side:
    """A contiguous copy from a ring of the same size: what the same bytes cost at best."""
    count = capacity // ENVS  # of E images each

    def case(batch: int) -> Case:
        taken = min(batch * LENGTH // ENVS, count)

        def copy(state: jax.Array, key: jax.Array) -> tuple:
            start = jax.random.key_data(key)[-1] % jnp.uint32(max(count - taken, 1))
            return state, jax.lax.dynamic_slice_in_dim(state, start.astype(jnp.int32), taken)

        moved = 2 * taken * ENVS * PIXELS
        return Case(_windows(batch), copy, moved, False, steps=40)

    size = PIXELS * ENVS
    return Side(
        "plain copy", capacity, lambda: jnp.zeros((count, size), jnp.uint8), lambda x: x + jnp.uint8(1),
        tuple(case(batch) for batch in BATCHES),
    )  # fmt: skip
