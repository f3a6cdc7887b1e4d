"""Prioritized replay against flashbax in a scan and cpprb's C++ from Python, and its cost at two capacities.

Each side does what its learner does: weights from the probabilities, errors from the rows, a step of gradient
descent, priorities from the errors. It matters what the priorities depend on. Where they are made of the rows alone,
nothing in the program says that the probabilities are to be read before the tree is written, and XLA for CPU copies
flashbax's whole tree twice a step, a cost that disappears once the priorities contain the weights. That row is
published beside the others, under its name: it is what flashbax's own example of a prioritized DQN does.
"""

from collections.abc import Callable, Iterator
from typing import Any

import cpprb
import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks import rings
from benchmarks.compiled import compiled
from benchmarks.loops import Sample, Scan, against_flashbax
from benchmarks.rings import ACTION, OBS, PAIRS, Pair
from benchmarks.timing import Result, race

STEPS, ALPHA, BETA, EPS, RATE = 100, 0.6, 0.4, 1e-6, 1e-3


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one."""
    for envs, goal in ((1, None), (16, 2.0), (1024, 5.0)):
        yield lambda envs=envs, goal=goal: _scan(envs, 2**20, goal)
    yield lambda: _scan(16, 2**20, None, weighted=False)
    yield lambda: _sample(16, 2**20)
    yield lambda: _call(2**20, 1.0)
    yield lambda: _capacity(small=100_000, large=10_000_000, goal=1 / 1.5)


def _learn(params: jax.Array, pair: Pair, weight: jax.Array, weighted: bool) -> tuple[jax.Array, jax.Array]:
    """Take one step of TD(0) with a linear value; return the parameters and the priorities."""

    def loss(params: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = pair.obs @ params[:OBS] + pair.action @ params[OBS:]
        target = pair.reward + pair.discount * (pair.next_obs @ params[:OBS])
        error = jax.lax.stop_gradient(target) - value
        return jnp.mean(weight * error**2), jnp.abs(weight * error if weighted else error) + EPS

    gradient, priority = jax.grad(loss, has_aux=True)(params)
    return params - RATE * gradient, priority


def _scan(envs: int, capacity: int, goal: float | None, weighted: bool = True) -> Result:
    replay, our_state = rings.ours(envs, capacity, jb.Prioritized(alpha=ALPHA))
    buffer, their_state = rings.theirs(envs, capacity, alpha=ALPHA)
    params = jnp.zeros(OBS + ACTION)

    def ours(carry: tuple, step: jax.Array, key: jax.Array) -> tuple:
        state, params = carry
        state = replay.add(state, rings.rows(envs, step))
        batch = replay.sample(state, key)
        weight = jb.importance_weights(batch.probability, replay.count(state), BETA)
        params, priority = _learn(params, rings.our_pair(batch), weight, weighted)
        return (replay.update(state, batch.index, priority=priority), params), params

    def theirs(carry: tuple, step: jax.Array, key: jax.Array) -> tuple:
        state, params = carry
        state = buffer.add(state, rings.item(rings.rows(envs, step)))
        batch = buffer.sample(state, key)
        weight = (1 / batch.probabilities) ** BETA
        params, priority = _learn(params, rings.their_pair(batch), weight / jnp.max(weight), weighted)
        return (buffer.set_priorities(state, batch.indices, priority), params), params

    copies = 0 if weighted or jax.default_backend() != "cpu" else 2
    sides = (
        Scan("jaxbuffers", ours, (our_state, params), STEPS, least=capacity // 16),
        Scan("flashbax", theirs, (their_state, jnp.copy(params)), STEPS, capacity // 16, documented=copies),
    )
    name = f"prioritized add + sample {PAIRS} + TD step + update in a scan, {envs} envs x {capacity // envs:,} rows"
    if not weighted:
        name += f" (priorities without the weights: XLA copies flashbax's tree {copies} times a step)"
    return against_flashbax(name, *sides, rounds=31, per=STEPS, goal=goal)


def _sample(envs: int, capacity: int) -> Result:
    """A jitted sample called from Python, of rings whose priorities differ."""
    replay, our_state = rings.ours(envs, capacity, jb.Prioritized(alpha=ALPHA))
    buffer, their_state = rings.theirs(envs, capacity, alpha=ALPHA)

    def theirs_spread(state: Any, key: jax.Array) -> Any:
        indices = jax.random.randint(key, (4096,), 0, capacity)
        return buffer.set_priorities(state, indices, jax.random.exponential(key, (4096,)))

    our_state = _apply(lambda state, key: _spread(replay, state, key), our_state)
    their_state = _apply(theirs_spread, their_state)
    sides = (
        Sample("jaxbuffers", replay.sample, our_state, rings.keys(), least=capacity // 16),
        Sample("flashbax", buffer.sample, their_state, rings.keys(), least=capacity // 16),
    )
    name = f"jitted prioritized sample of {PAIRS} pairs called from Python, {envs} envs x {capacity // envs:,} rows"
    return against_flashbax(name, *sides, rounds=1001)


def _call(capacity: int, goal: float) -> Result:
    """Sample and update called from Python: a jitted step of ours, cpprb's two calls with NumPy between them."""
    replay, state = rings.ours(16, capacity, jb.Prioritized(alpha=ALPHA))

    def step(state: jb.ReplayState, key: jax.Array) -> tuple:
        key, now = jax.random.split(key)
        batch = replay.sample(state, now)
        weight = jb.importance_weights(batch.probability, replay.count(state), BETA)
        return replay.update(state, batch.index, priority=jnp.abs(weight * batch.data.reward)), key, batch

    held = [state, jax.random.key(0)]
    jitted = jax.jit(step, donate_argnums=(0, 1))
    compiled("jaxbuffers", jitted, *held, least=capacity // 16)

    def ours() -> None:
        held[0], held[1], batch = jitted(held[0], held[1])
        jax.block_until_ready((batch, held[0].sampler.highest))

    shapes = {"obs": OBS, "act": ACTION, "rew": 1, "next_obs": OBS, "done": 1}
    buffer = cpprb.PrioritizedReplayBuffer(
        capacity, {name: {"shape": size, "dtype": np.float32} for name, size in shapes.items()}, alpha=ALPHA
    )
    draw = np.random.default_rng(0).random
    for _ in range(capacity // 4096):
        buffer.add(**{name: draw((4096, size), np.float32) for name, size in shapes.items()})
    assert buffer.get_stored_size() == capacity

    def theirs() -> None:
        batch = buffer.sample(PAIRS, beta=BETA)
        buffer.update_priorities(batch["indexes"], np.abs(batch["weights"] * batch["rew"][:, 0]))

    name = f"prioritized sample {PAIRS} + update called from Python, {capacity:,} rows"
    result = race(name, ours, "cpprb (C++)", theirs, rounds=501, goal=goal)
    assert jitted._cache_size() == 1, "a second trace was timed"
    return result


def _capacity(small: int, large: int, goal: float) -> Result:
    """The same draws from a hundred times as many rows: the ratio of the small ring's time to the large one's."""

    def loop(capacity: int) -> Callable[[], None]:
        # Rows of one number: what is measured is the sampler, not the memory of the rows.
        replay = jb.Replay(capacity, 16, PAIRS, jb.Items(), jb.Prioritized(alpha=ALPHA))
        body = lambda i, state: replay.add(state, jnp.full(16, i, jnp.int32))  # noqa: E731
        fill = jax.jit(lambda s: jax.lax.fori_loop(0, replay.length, body, s), donate_argnums=0)
        state = _apply(lambda state, key: _spread(replay, state, key), fill(replay.init(jnp.int32(0))))

        def iterate(state: jb.ReplayState, total: jax.Array, key: jax.Array) -> tuple:
            used = (jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(replay.sample(state, key)))
            return total + sum(used), None

        jitted = jax.jit(lambda state, keys: jax.lax.scan(lambda t, k: iterate(state, t, k), jnp.float32(0), keys)[0])
        keys = jax.random.split(jax.random.key(0), STEPS)
        scan = compiled(f"{capacity:,} rows", jitted, state, keys, least=capacity // 16)
        return lambda: jax.block_until_ready(scan(state, keys))

    name = f"prioritized sample {PAIRS} in a scan, {large:,} rows against {small:,}"
    return race(name, loop(large), f"{small:,} rows", loop(small), rounds=51, per=STEPS, goal=goal)


def _apply(change: Callable, state: Any) -> Any:
    """Change a state twenty times, in place."""
    jitted = jax.jit(change, donate_argnums=0)
    for key in jax.random.split(jax.random.key(1), 20):
        state = jitted(state, key)
    return state


def _spread(replay: jb.Replay, state: jb.ReplayState, key: jax.Array) -> jb.ReplayState:
    """Give 4,096 windows priorities that differ, so that draws are not alike."""
    batch = replay.sample(state, key, 4096)
    return replay.update(state, batch.index, priority=jax.random.exponential(key, (4096,)))
