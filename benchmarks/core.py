"""The core against flashbax, and image windows against a memcpy of the same bytes."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import flashbax as fbx
import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks.timing import Result, race

PAIRS, OBS, ACTION, STEPS = 256, 17, 6, 300


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one."""
    # Full before anything is timed. The smallest ring fits into the cache of a server, the others do not.
    for envs, length, goal in ((16, 4_096, None), (16, 65_536, 2.0), (1, 2**20, None), (1024, 1_024, None)):
        yield lambda envs=envs, length=length, goal=goal: _scan(envs, envs * length, goal)
    yield lambda: _call(16, 2**20, 3.0)
    yield lambda: _images(in_scan=True)
    yield lambda: _images(in_scan=False)


def _row() -> jb.Row:
    flag = jnp.bool_(False)
    return jb.Row(jnp.zeros(OBS), jnp.zeros(ACTION), jnp.float32(0), flag, flag, flag)


def _rows(envs: int, step: jax.Array) -> jb.Row:
    value = step.astype(jnp.float32)
    return jb.Row(
        jnp.full((envs, OBS), value),
        jnp.full((envs, ACTION), value),
        jnp.full(envs, value),
        jnp.full(envs, step % 100 == 0),
        jnp.full(envs, step % 100 == 99),
        jnp.full(envs, step % 200 == 99),
    )


def _item(rows: jb.Row) -> dict[str, jax.Array]:
    return {"obs": rows.obs, "action": rows.action, "reward": rows.reward, "done": rows.is_terminal}


def _buffers(envs: int, capacity: int) -> tuple[jb.Replay, Any, Any, Any]:
    """Return our replay and state, flashbax's buffer and state, both full."""
    replay = jb.Replay(capacity, envs, PAIRS, jb.Transitions())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = fbx.make_flat_buffer(
            max_length=capacity, min_length=PAIRS, sample_batch_size=PAIRS, add_sequences=False, add_batch_size=envs
        )
    length = capacity // envs

    def fill(add: Callable, state: Any, convert: Callable) -> Any:
        body = lambda i, state: add(state, convert(_rows(envs, i)))  # noqa: E731
        return jax.jit(lambda state: jax.lax.fori_loop(0, length + 7, body, state), donate_argnums=0)(state)

    ours = fill(replay.add, replay.init(_row()), lambda rows: rows)
    theirs = fill(buffer.add, buffer.init(jax.tree.map(lambda x: x[0], _item(_rows(1, jnp.int32(0))))), _item)
    return replay, ours, buffer, theirs


def _scan(envs: int, capacity: int, goal: float | None) -> Result:
    replay, ours, buffer, theirs = _buffers(envs, capacity)

    def loop(add: Callable, sample: Callable, convert: Callable) -> Callable:
        def iterate(carry: tuple, step: jax.Array) -> tuple:
            state, key, total = carry
            state = add(state, convert(_rows(envs, step)))
            key, sample_key = jax.random.split(key)
            # Every output is summed, or XLA would delete the work.
            used = sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(sample(state, sample_key)))
            return (state, key, total + used), None

        def steps(state: Any, key: jax.Array) -> tuple:
            return jax.lax.scan(iterate, (state, key, jnp.float32(0)), jnp.arange(STEPS))[0]

        return jax.jit(steps, donate_argnums=0)

    # What is drawn: pairs of observations, actions, rewards and flags; both as their library returns them.
    ours_loop = _Stateful(loop(replay.add, lambda s, k: replay.sample(s, k).data, lambda rows: rows), ours)
    theirs_loop = _Stateful(loop(buffer.add, lambda s, k: buffer.sample(s, k).experience, _item), theirs)
    name = f"add + sample {PAIRS} pairs in a scan, {envs} envs x {capacity // envs:,} rows"
    return race(name, ours_loop, "flashbax", theirs_loop, rounds=31, per=STEPS, goal=goal)


def _call(envs: int, capacity: int, goal: float) -> Result:
    replay, ours, buffer, theirs = _buffers(envs, capacity)
    key = jax.random.key(0)
    sample, their_sample = jax.jit(replay.sample), jax.jit(buffer.sample)
    name = f"jitted sample of {PAIRS} pairs called from Python, {envs} envs x {capacity // envs:,} rows"
    return race(
        name,
        lambda: jax.block_until_ready(sample(ours, key)),
        "flashbax",
        lambda: jax.block_until_ready(their_sample(theirs, key)),
        rounds=1001,
        goal=goal,
    )


def _images(in_scan: bool) -> Result:
    flag = jnp.bool_(False)
    row = jb.Row(jnp.zeros((64, 64, 3), jnp.uint8), jnp.zeros(ACTION), jnp.float32(0), flag, flag, flag)
    replay = jb.Replay(16 * 2048, 16, 16, jb.Sequences(64))

    def body(step: jax.Array, state: jb.ReplayState) -> jb.ReplayState:
        rows = jax.tree.map(lambda x: jnp.full((16, *x.shape), step).astype(x.dtype), row)
        return replay.add(state, rows)

    state = jax.jit(lambda s: jax.lax.fori_loop(0, 2055, body, s), donate_argnums=0)(replay.init(row))
    sample = jax.jit(replay.sample)
    first = sample(state, jax.random.key(0))
    # The memcpy takes as many bytes from anywhere in a ring of the same size, which no cache holds.
    copy = np.empty(first.data.obs.size, np.uint8)
    ring = np.ones(replay.capacity * copy.size // (16 * 64), np.uint8)
    starts = itertools.cycle(np.random.default_rng(0).integers(0, ring.size - copy.size, 512).tolist())
    if not in_scan:
        keys = itertools.cycle(jax.random.split(jax.random.key(0), 512))

        def into_new() -> None:
            start = next(starts)
            ring[start : start + copy.size].copy()

        ours = lambda: jax.block_until_ready(sample(state, next(keys)))  # noqa: E731
        name = "16 x 64 windows of 64x64x3 uint8, called from Python"
        return race(name, ours, "memcpy into a new array", into_new, 301)

    def into_old() -> None:
        for start in itertools.islice(starts, 20):
            np.copyto(copy, ring[start : start + copy.size])

    # The batch is the loop's carry: every iteration writes all of it, into the same memory.
    loop = jax.jit(lambda batch, keys: jax.lax.scan(lambda _, key: (replay.sample(state, key), None), batch, keys)[0])
    keys = jax.random.split(jax.random.key(0), 20)
    ours = lambda: jax.block_until_ready(loop(first, keys))  # noqa: E731
    name = "16 x 64 windows of 64x64x3 uint8, in a scan"
    return race(name, ours, "memcpy into an old array", into_old, 101, per=20, goal=1 / 1.3)


class _Stateful:
    """A donating loop that keeps its own state between calls."""

    def __init__(self, loop: Callable, state: Any) -> None:
        self.loop, self.state, self.key = loop, state, jax.random.key(0)

    def __call__(self) -> None:
        self.state, self.key, total = self.loop(self.state, self.key)
        jax.block_until_ready((self.key, total))
