"""The core against flashbax, and image windows against a memcpy of the same bytes."""

import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks import rings
from benchmarks.compiled import compiled
from benchmarks.loops import Sample, Scan, against_flashbax
from benchmarks.rings import PAIRS
from benchmarks.timing import Result, race

STEPS = 300


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one."""
    # Full before anything is timed. The smallest ring fits into the cache of a server, the others do not.
    for envs, length, goal in ((16, 4_096, None), (16, 65_536, 2.0), (1, 2**20, None), (1024, 1_024, None)):
        yield lambda envs=envs, length=length, goal=goal: _scan(envs, envs * length, goal)
    yield lambda: _call(16, 2**20, 3.0)
    yield lambda: _images(in_scan=True)
    yield lambda: _images(in_scan=False)


def _scan(envs: int, capacity: int, goal: float | None) -> Result:
    replay, our_state = rings.ours(envs, capacity, jb.Uniform())
    buffer, their_state = rings.theirs(envs, capacity, alpha=None)

    def ours(state: jb.ReplayState, step: jax.Array, key: jax.Array) -> tuple:
        state = replay.add(state, rings.rows(envs, step))
        return state, rings.our_pair(replay.sample(state, key))

    def theirs(state: object, step: jax.Array, key: jax.Array) -> tuple:
        state = buffer.add(state, rings.item(rings.rows(envs, step)))
        return state, rings.their_pair(buffer.sample(state, key))

    sides = (
        Scan("jaxbuffers", ours, our_state, STEPS, least=capacity),
        Scan("flashbax", theirs, their_state, STEPS, least=capacity),
    )
    name = f"add + sample {PAIRS} pairs in a scan, {envs} envs x {capacity // envs:,} rows"
    return against_flashbax(name, *sides, rounds=31, per=STEPS, goal=goal)


def _call(envs: int, capacity: int, goal: float) -> Result:
    replay, our_state = rings.ours(envs, capacity, jb.Uniform())
    buffer, their_state = rings.theirs(envs, capacity, alpha=None)
    sides = (
        Sample("jaxbuffers", replay.sample, our_state, rings.keys(), least=capacity),
        Sample("flashbax", buffer.sample, their_state, rings.keys(), least=capacity),
    )
    name = f"jitted sample of {PAIRS} pairs called from Python, {envs} envs x {capacity // envs:,} rows"
    return against_flashbax(name, *sides, rounds=1001, goal=goal)


def _images(in_scan: bool) -> Result:
    flag = jnp.bool_(False)
    row = jb.Row(jnp.zeros((64, 64, 3), jnp.uint8), jnp.zeros(6), jnp.float32(0), flag, flag, flag)
    replay = jb.Replay(16 * 2048, 16, 16, jb.Sequences(64))

    def body(step: jax.Array, state: jb.ReplayState) -> jb.ReplayState:
        rows = jax.tree.map(lambda x: jnp.full((16, *x.shape), step).astype(x.dtype), row)
        return replay.add(state, rows)

    state = jax.jit(lambda s: jax.lax.fori_loop(0, 2055, body, s), donate_argnums=0)(replay.init(row))
    assert int(replay.size(state)) == replay.capacity
    first = jax.jit(replay.sample)(state, jax.random.key(0))
    # The memcpy takes as many bytes from anywhere in a ring of the same size, which no cache holds.
    copy = np.empty(first.data.obs.size, np.uint8)
    ring = np.ones(replay.capacity * copy.size // (16 * 64), np.uint8)
    starts = itertools.cycle(np.random.default_rng(0).integers(0, ring.size - copy.size, 512).tolist())
    if not in_scan:

        def into_new() -> None:
            start = next(starts)
            ring[start : start + copy.size].copy()

        ours = Sample("jaxbuffers", replay.sample, state, rings.keys(), least=replay.capacity)
        name = "16 x 64 windows of 64x64x3 uint8, called from Python"
        result = race(name, ours, "memcpy into a new array", into_new, 301)
        ours.check()
        return result

    def into_old() -> None:
        for start in itertools.islice(starts, 20):
            np.copyto(copy, ring[start : start + copy.size])

    # The batch is the loop's carry: every iteration writes all of it, into the same memory.
    keys = jax.random.split(jax.random.key(0), 20)
    jitted = jax.jit(
        lambda state, batch, keys: jax.lax.scan(lambda _, key: (replay.sample(state, key), None), batch, keys)[0]
    )
    loop = compiled("jaxbuffers", jitted, state, first, keys, least=replay.capacity, batch=first)
    ours = lambda: jax.block_until_ready(loop(state, first, keys))  # noqa: E731
    name = "16 x 64 windows of 64x64x3 uint8, in a scan"
    return race(name, ours, "memcpy into an old array", into_old, 101, per=20, goal=1 / 1.3)
