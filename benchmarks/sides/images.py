"""Windows of images against a memcpy of as many bytes, which is what NumPy can do at best."""

import itertools
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks import same
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.sides import rows
from benchmarks.sides.loops import Call

ENVS, BATCH, LENGTH, IMAGE = 16, 16, 64, (64, 64, 3)
BYTES = BATCH * LENGTH * int(np.prod(IMAGE))


def scan(length: int, steps: int) -> Contest:
    """Sample in a scan, into the same memory every time, against a memcpy into an old array."""

    def ours() -> Side:
        replay, state = _ring(length)
        first = jax.jit(replay.sample)(state, jax.random.key(0))
        # The batch is the loop's carry: every iteration writes all of it.
        keys = jax.random.split(jax.random.key(0), steps)
        jitted = jax.jit(
            lambda state, batch, keys: jax.lax.scan(lambda _, key: (replay.sample(state, key), None), batch, keys)[0]
        )
        loop = compiled("jaxbuffers", jitted, state, first, keys, least=replay.capacity, batch=first)
        return Side(lambda: jax.block_until_ready(loop(state, first, keys)), np.asarray(first.data.obs))

    def theirs() -> Side:
        ring, starts = _memory(length)
        copy = np.empty(BYTES, np.uint8)

        def run() -> None:
            for start in itertools.islice(starts, steps):
                np.copyto(copy, ring[start : start + BYTES])

        run()
        return Side(run, copy)

    return Contest(ours, theirs, partial(_same, length), steps)


def call(length: int) -> Contest:
    """Call a jitted sample from Python, against a memcpy into a new array."""

    def ours() -> Side:
        replay, state = _ring(length)
        shown = np.asarray(jax.jit(replay.sample)(state, jax.random.key(0)).data.obs)
        return Call("jaxbuffers", replay.sample, state, rows.keys(), least=replay.capacity).showing(shown)

    def theirs() -> Side:
        ring, starts = _memory(length)

        def run() -> np.ndarray:
            start = next(starts)
            return ring[start : start + BYTES].copy()

        return Side(run, run())

    return Contest(ours, theirs, partial(_same, length))


def _ring(length: int) -> tuple[jb.Replay, jb.ReplayState]:
    """A full ring of images; the first two bytes of each say when it was added."""
    flag = jnp.bool_(False)
    row = jb.Row(jnp.zeros(IMAGE, jnp.uint8), jnp.zeros(6), jnp.float32(0), flag, flag, flag)
    replay = jb.Replay(ENVS * length, ENVS, BATCH, jb.Sequences(LENGTH))

    def add(state: jb.ReplayState, step: jax.Array) -> jb.ReplayState:
        added = jax.tree.map(lambda x: jnp.full((ENVS, *x.shape), step).astype(x.dtype), row)
        obs = added.obs.at[:, 0, 0, 0].set((step % 251).astype(jnp.uint8))
        return replay.add(state, added.replace(obs=obs.at[:, 0, 0, 1].set((step // 251 % 251).astype(jnp.uint8))))

    state = rows.fill(add, replay.init(row), length)
    assert int(replay.size(state)) == replay.capacity
    return replay, state


def _memory(length: int) -> tuple[np.ndarray, Iterator[int]]:
    """As many bytes as the ring has, which no cache holds, and places to copy from for ever."""
    ring = np.ones(ENVS * length * int(np.prod(IMAGE)), np.uint8)
    return ring, itertools.cycle(np.random.default_rng(0).integers(0, ring.size - BYTES, 512).tolist())


def _same(length: int, ours: np.ndarray, theirs: np.ndarray) -> None:
    """The memcpy means nothing but as many bytes; ours are windows of images that are in the ring."""
    same.require(ours.nbytes == theirs.nbytes, "memcpy", "other bytes")
    step = ours[:, :, 0, 0, 0] + 251 * ours[:, :, 0, 0, 1].astype(int)
    same.require(np.diff(step, axis=1) == 1, "jaxbuffers", "images that do not follow each other")
    same.require((step >= rows.MORE) & (step < length + rows.MORE), "jaxbuffers", "images that are not in the ring")
    rest = ours.reshape(BATCH, LENGTH, -1)[..., 2:]
    same.require(rest == (step % 256)[..., None], "jaxbuffers", "pixels of other images")
