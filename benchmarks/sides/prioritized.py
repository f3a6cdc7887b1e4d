"""Prioritized replay against flashbax in a scan and cpprb's C++ from Python, and its cost at two capacities.

Each side does what its learner does: weights from the probabilities, errors from the rows, a step of gradient
descent, priorities from the errors. It matters what the priorities depend on. Where they are made of the rows alone,
nothing in the program says that the probabilities are to be read before the tree is written, and XLA for CPU copies
flashbax's whole tree twice a step, a cost that disappears once the priorities contain the weights. That row is
published beside the others, under its name: it is what flashbax's own example of a prioritized DQN does.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks import same
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.same import EPISODE, Drawn, Pair, priority_of
from benchmarks.sides import rows
from benchmarks.sides.loops import Call, Scan
from benchmarks.sides.rows import ACTION, OBS, PAIRS

ALPHA, BETA, EPS, RATE = 0.6, 0.4, 1e-6, 1e-3
DRAWS = 8  # batches that get priorities, and as many that show their probabilities


def scan(envs: int, length: int, steps: int, weighted: bool = True) -> Contest:
    """Add, sample, learn and update in a scan, against flashbax.

    Args:
      envs: environments.
      length: rows of each.
      steps: iterations of a call.
      weighted: whether the priorities contain the importance weights.
    """
    return Contest(partial(_our_scan, envs, length, steps, weighted), partial(_their_scan, envs, length, steps,
                   weighted), partial(same_draws, envs, length), steps)  # fmt: skip


def call(envs: int, length: int) -> Contest:
    """Call a jitted sample from Python, of rings whose priorities differ, against flashbax."""

    def ours() -> Side:
        replay, state = rows.ours(envs, envs * length, jb.Prioritized(alpha=ALPHA))
        state, shown = our_draws(replay, state)
        return Call("jaxbuffers", replay.sample, state, rows.keys(), least=envs * length // 16).showing(shown)

    def theirs() -> Side:
        buffer, state = rows.theirs(envs, envs * length, alpha=ALPHA)
        state, shown = their_draws(buffer, state)
        return Call("flashbax", buffer.sample, state, rows.keys(), least=envs * length // 16).showing(shown)

    return Contest(ours, theirs, partial(same_draws, envs, length))


def our_draws(replay: jb.Replay, state: jb.ReplayState) -> tuple[jb.ReplayState, Drawn]:
    """Give some windows of ours known priorities, and draw."""

    def sample(state: jb.ReplayState, key: jax.Array) -> tuple:
        batch = replay.sample(state, key)
        return rows.our_pair(batch), batch.probability, batch.index

    return _draws(sample, lambda state, index, priority: replay.update(state, index, priority=priority), state)


def their_draws(buffer: Any, state: Any) -> tuple[Any, Drawn]:
    """Do the same with flashbax's."""

    def sample(state: Any, key: jax.Array) -> tuple:
        batch = buffer.sample(state, key)
        return rows.their_pair(batch), batch.probabilities, batch.indices

    return _draws(sample, buffer.set_priorities, state)


def _draws(sample: Callable, update: Callable, state: Any) -> tuple[Any, Drawn]:
    def give(state: Any, key: jax.Array) -> tuple:
        pair, probability, index = sample(state, key)
        # Times a number that is 1, so that the tree is read before it is written; see the module's docstring.
        return update(state, index, priority_of(pair.obs) * (probability > -1)), pair

    def both(state: Any, keys: jax.Array) -> tuple:
        state, updated = jax.lax.scan(give, state, keys[:DRAWS])
        pair, probability = jax.lax.map(lambda key: sample(state, key)[:2], keys[DRAWS:])
        return state, Drawn(pair, probability, updated)

    state, drawn = jax.jit(both, donate_argnums=0)(state, jax.random.split(jax.random.key(1), 2 * DRAWS))
    return state, jax.tree.map(np.asarray, drawn)


def same_draws(envs: int, length: int, ours: Drawn, theirs: Drawn) -> None:
    """Raise unless both draw pairs that are there, and say how likely each was after some got priorities."""
    first, last = rows.MORE, length + rows.MORE - 1
    steps = np.arange(first, last)
    for side, drawn, episodes in (("jaxbuffers", ours, True), ("flashbax", theirs, False)):
        same.pairs(side, drawn.pair, envs, first, last, episodes)
        same.uniform(side, drawn.pair, envs, first, last, episodes)  # but for the few windows that got a priority
        windows = envs * (np.sum((steps + 1) % EPISODE != 0) if episodes else len(steps))
        same.probabilities(side, drawn, int(windows), ALPHA)


def learn(params: jax.Array, pair: Pair, weight: jax.Array, weighted: bool) -> tuple[jax.Array, jax.Array]:
    """Take one step of TD(0) with a linear value; return the parameters and the priorities."""

    def loss(params: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = pair.obs @ params[:OBS] + pair.action @ params[OBS:]
        target = pair.reward + pair.discount * (pair.next_obs @ params[:OBS])
        error = jax.lax.stop_gradient(target) - value
        return jnp.mean(weight * error**2), jnp.abs(weight * error if weighted else error) + EPS

    gradient, priority = jax.grad(loss, has_aux=True)(params)
    return params - RATE * gradient, priority


def _our_scan(envs: int, length: int, steps: int, weighted: bool) -> Side:
    replay, state = rows.ours(envs, envs * length, jb.Prioritized(alpha=ALPHA))
    state, shown = our_draws(replay, state)

    def iterate(carry: tuple, step: jax.Array, key: jax.Array) -> tuple:
        state, params = carry
        state = replay.add(state, rows.rows(envs, step))
        batch = replay.sample(state, key)
        weight = jb.importance_weights(batch.probability, replay.count(state), BETA)
        params, priority = learn(params, rows.our_pair(batch), weight, weighted)
        return (replay.update(state, batch.index, priority=priority), params), params

    begin = state, jnp.zeros(OBS + ACTION)
    return Scan("jaxbuffers", iterate, begin, steps, rows.least(envs, envs * length)).showing(shown)


def _their_scan(envs: int, length: int, steps: int, weighted: bool) -> Side:
    buffer, state = rows.theirs(envs, envs * length, alpha=ALPHA)
    state, shown = their_draws(buffer, state)

    def iterate(carry: tuple, step: jax.Array, key: jax.Array) -> tuple:
        state, params = carry
        state = buffer.add(state, rows.item(rows.rows(envs, step)))
        batch = buffer.sample(state, key)
        weight = (1 / batch.probabilities) ** BETA
        params, priority = learn(params, rows.their_pair(batch), weight / jnp.max(weight), weighted)
        return (buffer.set_priorities(state, batch.indices, priority), params), params

    begin = state, jnp.zeros(OBS + ACTION)
    copies = 0 if weighted or jax.default_backend() != "cpu" else 2
    return Scan("flashbax", iterate, begin, steps, rows.least(envs, envs * length), documented=copies).showing(shown)


def capacity(small: int, large: int, steps: int) -> Contest:
    """The same draws from a hundred times as many rows: the ratio of the small ring's time to the large one's."""

    def equal(ours: np.ndarray, theirs: np.ndarray) -> None:
        for shares in (ours, theirs):
            same.require(np.isclose(shares, 1, 1e-3), "jaxbuffers", "probability times windows is not 1")

    return Contest(*(partial(_of_size, size, steps) for size in (large, small)), equal, steps)


def _of_size(size: int, steps: int) -> Side:
    # Rows of one number: what is measured is the sampler, not the memory of the rows.
    replay = jb.Replay(size, 16, PAIRS, jb.Items(), jb.Prioritized(alpha=ALPHA))
    state = rows.fill(lambda s, i: replay.add(s, jnp.full(16, i, jnp.int32)), replay.init(jnp.int32(0)), replay.length)
    shown = jax.jit(replay.sample)(state, jax.random.key(0)).probability * size

    def spread(state: jb.ReplayState, key: jax.Array) -> tuple:
        batch = replay.sample(state, key, 4096)
        priority = jax.random.exponential(key, (4096,)) * (batch.probability > -1)
        return replay.update(state, batch.index, priority=priority), None

    keys = jax.random.split(jax.random.key(0), steps)
    state = jax.jit(lambda state: jax.lax.scan(spread, state, keys[:20])[0], donate_argnums=0)(state)

    def draw(total: jax.Array, state: jb.ReplayState, key: jax.Array) -> jax.Array:
        return total + sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(replay.sample(state, key)))

    jitted = jax.jit(lambda state, keys: jax.lax.scan(lambda t, k: (draw(t, state, k), None), jnp.float32(0), keys)[0])
    program = compiled(f"{size:,} rows", jitted, state, keys, least=size // 16)
    return Side(lambda: jax.block_until_ready(program(state, keys)), np.asarray(shown))
