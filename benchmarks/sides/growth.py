"""Each verb by itself, of rings of small rows: how its cost grows with rows and with environments."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.sides import prioritized, rows, uniform
from benchmarks.sides.loops import Scan, shapes_of

WIDTH = {"obs": 2, "action": 1}  # numbers in a row: there are ten million of them


def verb(verb: str, alpha: float | None, envs: int, size: int, steps: int) -> Contest:
    """Time ``add``, ``sample`` or ``update`` in a scan, against flashbax.

    Args:
      verb: which one.
      alpha: the exponent of priorities, or None for uniform replay.
      envs: environments.
      size: rows of all of them.
      steps: iterations of a call.
    """
    capacity = size // envs * envs
    sampler = jb.Uniform() if alpha is None else jb.Prioritized(alpha=alpha)
    updated = verb == "update"  # else all priorities are equal, and so is how often a window is drawn

    def ours() -> Side:
        replay, state = rows.ours(envs, capacity, sampler, **WIDTH)

        def sample(state: Any, key: jax.Array) -> tuple:
            batch = replay.sample(state, key)
            return rows.our_pair(batch), batch.index, batch.probability

        def update(state: Any, index: Any, priority: jax.Array) -> Any:
            return replay.update(state, index, priority=priority)

        add = lambda state, step: replay.add(state, rows.rows(envs, step, **WIDTH))  # noqa: E731
        if not updated:
            shown = uniform.drawn(lambda state, key: sample(state, key)[0], state)
        else:
            state, shown = prioritized.our_draws(replay, state)
        return _timed("jaxbuffers", verb, add, sample, update, state, envs, capacity, steps, shown)

    def theirs() -> Side:
        buffer, state = rows.theirs(envs, capacity, alpha, **WIDTH)

        def sample(state: Any, key: jax.Array) -> tuple:
            batch = buffer.sample(state, key)
            indices = getattr(batch, "indices", jnp.zeros(rows.PAIRS, jnp.int32))
            return rows.their_pair(batch), indices, getattr(batch, "probabilities", jnp.zeros(rows.PAIRS))

        add = lambda state, step: buffer.add(state, rows.item(rows.rows(envs, step, **WIDTH)))  # noqa: E731
        if not updated:
            shown = uniform.drawn(lambda state, key: sample(state, key)[0], state)
        else:
            state, shown = prioritized.their_draws(buffer, state)
        update = buffer.set_priorities if alpha is not None else None
        return _timed("flashbax", verb, add, sample, update, state, envs, capacity, steps, shown)

    same = partial(prioritized.same_draws if updated else uniform.same_draws, envs, capacity // envs)
    return Contest(ours, theirs, same, steps)


def _timed(
    side: str,
    verb: str,
    add: Callable,
    sample: Callable,
    update: Callable | None,
    state: Any,
    envs: int,
    capacity: int,
    steps: int,
    shown: Any,
) -> Side:
    """Return a side that does one verb again and again."""
    least = rows.least(envs, capacity)
    if verb == "add":
        return Scan(side, lambda state, step, _: (add(state, step), ()), state, steps, least).showing(shown)
    if verb == "sample":  # what a learner reads, and the probabilities of prioritized replay

        def iterate(total: jax.Array, key: jax.Array, state: Any) -> jax.Array:
            pair, _, probability = sample(state, key)
            return total + sum(jnp.sum(x) for x in (*pair, probability))

        def loop(state: Any, keys: jax.Array) -> jax.Array:
            return jax.lax.scan(lambda total, key: (iterate(total, key, state), None), jnp.float32(0), keys)[0]

        keys = jax.random.split(jax.random.key(0), steps)
        program = compiled(side, jax.jit(loop), state, keys, least=least, held=state)
        pair, _, probability = jax.eval_shape(sample, state, keys[0])
        return Side(lambda: program(state, keys).block_until_ready(), shown, reads=shapes_of((pair, probability)))
    keys = jax.random.split(jax.random.key(2), steps)
    indices = jax.jit(lambda state: jax.lax.map(lambda key: sample(state, key)[1], keys))(state)

    def change(state: Any, step: jax.Array, key: jax.Array) -> tuple:
        index = jax.tree.map(lambda x: x[step], indices)
        return update(state, index, jax.random.uniform(key, (rows.PAIRS,)) + 0.5), ()

    return Scan(side, change, state, steps, least).showing(shown)
