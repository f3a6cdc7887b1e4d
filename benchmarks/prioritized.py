"""Prioritized replay against flashbax in a scan and cpprb's C++ from Python, and its cost at two capacities."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import cpprb
import flashbax as fbx
import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks.core import ACTION, OBS, PAIRS, _item, _row, _rows, _Stateful
from benchmarks.timing import Result, race

STEPS = 100


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one."""
    for envs, goal in ((16, 2.0), (1024, 5.0)):
        yield lambda envs=envs, goal=goal: _scan(envs, 2**20, goal)
    yield lambda: _call(2**20, 1.0)
    yield lambda: _capacity(small=100_000, large=10_000_000, goal=1 / 1.5)


def _filled(replay: jb.Replay) -> jb.ReplayState:
    body = lambda i, state: replay.add(state, _rows(replay.num_streams, i))  # noqa: E731
    loop = lambda state: jax.lax.fori_loop(0, replay.length + 7, body, state)  # noqa: E731
    return jax.jit(loop, donate_argnums=0)(replay.init(_row()))


def _scan(envs: int, capacity: int, goal: float) -> Result:
    replay = jb.Replay(capacity, envs, PAIRS, jb.Transitions(), jb.Prioritized(alpha=0.6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = fbx.make_prioritised_flat_buffer(
            max_length=capacity, min_length=PAIRS, sample_batch_size=PAIRS, add_batch_size=envs, priority_exponent=0.6
        )
    body = lambda i, state: buffer.add(state, _item(_rows(envs, i)))  # noqa: E731
    fill = jax.jit(lambda state: jax.lax.fori_loop(0, capacity // envs + 7, body, state), donate_argnums=0)
    theirs = fill(buffer.init(jax.tree.map(lambda x: x[0], _item(_rows(1, jnp.int32(0))))))

    def our_step(state: Any, step: jax.Array, key: jax.Array) -> tuple:
        state = replay.add(state, _rows(envs, step))
        batch = replay.sample(state, key)
        return replay.update(state, batch.index, priority=_priority(batch.data.obs)), (batch.data, batch.probability)

    def their_step(state: Any, step: jax.Array, key: jax.Array) -> tuple:
        state = buffer.add(state, _item(_rows(envs, step)))
        batch = buffer.sample(state, key)
        state = buffer.set_priorities(state, batch.indices, _priority(batch.experience.first["obs"]))
        return state, (batch.experience, batch.probabilities)

    def loop(advance: Callable) -> Callable:
        def iterate(carry: tuple, step: jax.Array) -> tuple:
            state, key, total = carry
            key, sample_key = jax.random.split(key)
            state, out = advance(state, step, sample_key)
            # Every output is summed, or XLA would delete the work.
            return (state, key, total + sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(out))), None

        scan = lambda state, key: jax.lax.scan(iterate, (state, key, jnp.float32(0)), jnp.arange(STEPS))[0]  # noqa: E731
        return jax.jit(scan, donate_argnums=0)

    ours, other = _Stateful(loop(our_step), _filled(replay)), _Stateful(loop(their_step), theirs)
    name = f"prioritized add + sample {PAIRS} + update in a scan, {envs} envs x {capacity // envs:,} rows"
    return race(name, ours, "flashbax", other, rounds=31, per=STEPS, goal=goal)


def _priority(obs: jax.Array) -> jax.Array:
    return obs[:, 0] % 7 + 1


def _call(capacity: int, goal: float) -> Result:
    """Sample and update called from Python, as a learner does: both take and return arrays of their own kind."""
    replay = jb.Replay(capacity, 16, PAIRS, jb.Transitions(), jb.Prioritized(alpha=0.6))

    def step(state: jb.ReplayState, key: jax.Array, priority: jax.Array) -> tuple:
        key, sample_key = jax.random.split(key)
        batch = replay.sample(state, sample_key)
        return replay.update(state, batch.index, priority=priority), key, batch

    compiled, held = jax.jit(step, donate_argnums=(0, 1)), [_filled(replay), jax.random.key(0)]
    priorities = jnp.asarray(np.random.default_rng(0).random(PAIRS, np.float32) + 1)

    def ours() -> None:
        held[0], held[1], batch = compiled(held[0], held[1], priorities)
        jax.block_until_ready((batch, held[0].sampler.highest))

    shapes = {"obs": OBS, "act": ACTION, "rew": 1, "next_obs": OBS, "done": 1}
    buffer = cpprb.PrioritizedReplayBuffer(
        capacity, {name: {"shape": size, "dtype": np.float32} for name, size in shapes.items()}, alpha=0.6
    )
    block = {name: np.ones((4096, size), np.float32) for name, size in shapes.items()}
    for _ in range(capacity // 4096):
        buffer.add(**block)
    weights = np.asarray(priorities)

    def theirs() -> None:
        batch = buffer.sample(PAIRS, beta=0.4)
        buffer.update_priorities(batch["indexes"], weights)

    name = f"prioritized sample {PAIRS} + update called from Python, {capacity:,} rows"
    return race(name, ours, "cpprb (C++)", theirs, rounds=501, goal=goal)


def _capacity(small: int, large: int, goal: float) -> Result:
    """The same draws from a hundred times as many rows: the ratio of the small ring's time to the large one's."""

    def loop(capacity: int) -> Callable[[], None]:
        # Rows of one number: what is measured is the sampler, not the memory of the rows.
        replay = jb.Replay(capacity, 16, PAIRS, jb.Items(), jb.Prioritized(alpha=0.6))
        body = lambda i, state: replay.add(state, jnp.full(16, i, jnp.int32))  # noqa: E731
        fill = jax.jit(lambda s: jax.lax.fori_loop(0, replay.length, body, s), donate_argnums=0)
        state = fill(replay.init(jnp.int32(0)))
        # Priorities that differ, so that draws are spread over the whole tree.
        spread = jax.jit(lambda s, k: _spread(replay, s, k), donate_argnums=0)
        for key in jax.random.split(jax.random.key(1), 20):
            state = spread(state, key)

        def iterate(total: jax.Array, key: jax.Array) -> tuple:
            batch = replay.sample(state, key)
            used = jnp.sum(batch.data.astype(jnp.float32)) + jnp.sum(batch.probability)
            return total + used + jnp.sum(batch.index.time.astype(jnp.float32)), None

        scan = jax.jit(lambda keys: jax.lax.scan(iterate, jnp.float32(0), keys)[0])
        keys = jax.random.split(jax.random.key(0), STEPS)
        return lambda: jax.block_until_ready(scan(keys))

    name = f"prioritized sample {PAIRS} in a scan, {large:,} rows against {small:,}"
    return race(name, loop(large), f"{small:,} rows", loop(small), rounds=51, per=STEPS, goal=goal)


def _spread(replay: jb.Replay, state: jb.ReplayState, key: jax.Array) -> jb.ReplayState:
    batch = replace(replay, batch_size=4096).sample(state, key)
    return replay.update(state, batch.index, priority=jax.random.exponential(key, (4096,)))
