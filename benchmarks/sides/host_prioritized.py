"""Prioritized replay called from Python, against cpprb's C++."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks import same
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.same import Drawn, Pair
from benchmarks.sides.host import BLOCK, numbered
from benchmarks.sides.prioritized import ALPHA, BETA
from benchmarks.sides.rows import PAIRS


def step(capacity: int) -> Contest:
    """Sample and update from Python: a jitted step of ours, cpprb's two calls with NumPy between them."""
    return Contest(partial(_our_step, capacity), partial(_cpprb_step, capacity), partial(_same_draws, capacity))


def _our_step(capacity: int) -> Side:
    columns = numbered(0, capacity, False)
    replay = jb.Replay(capacity, None, PAIRS, jb.Items(), jb.Prioritized(alpha=ALPHA))
    fields = {name: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for name, x in columns.items()}
    state = jax.jit(replay.add, donate_argnums=0)(replay.init(fields), columns)

    def one(state: jb.ReplayState, key: jax.Array, known: bool = False) -> tuple:
        key, now = jax.random.split(key)
        batch = replay.sample(state, now)
        weight = jb.importance_weights(batch.probability, replay.count(state), BETA)
        priority = same.priority_of(batch.data["obs"]) if known else jnp.abs(weight * batch.data["rew"])
        priority = priority * (batch.probability > -1)
        return replay.update(state, batch.index, priority=priority), key, batch

    jitted = jax.jit(one, donate_argnums=(0, 1), static_argnums=2)
    held = [state, jax.random.key(0)]
    compiled("jaxbuffers", jitted, *held, False, least=capacity // 16)

    def run(known: bool = False) -> Any:
        held[0], held[1], batch = jitted(held[0], held[1], known)
        return jax.block_until_ready((batch, held[0].sampler.highest))[0]

    batches = [run(known=True) for _ in range(4)]
    seen = [(np.asarray(each.data["obs"]), np.asarray(each.probability)) for each in batches]
    return Side(run, _drawn(seen))


def _cpprb_step(capacity: int) -> Side:
    import cpprb

    columns = numbered(0, capacity, False)
    buffer = cpprb.PrioritizedReplayBuffer(
        capacity, {n: {"shape": x.shape[1:] or 1, "dtype": x.dtype} for n, x in columns.items()}, alpha=ALPHA, eps=0.0
    )
    for first in range(0, capacity, BLOCK):
        buffer.add(**{name: x[first : first + BLOCK] for name, x in columns.items()})

    def run() -> None:
        batch = buffer.sample(PAIRS, beta=BETA)
        buffer.update_priorities(batch["indexes"], np.abs(batch["weights"] * batch["rew"][:, 0]))

    seen = []
    for _ in range(4):
        batch = buffer.sample(PAIRS, beta=1.0)
        # Weights of beta 1 are the smallest probability by each one's own, whatever was drawn.
        seen.append((batch["obs"], 1 / batch["weights"]))
        buffer.update_priorities(batch["indexes"], same.priority_of(np.float64(batch["obs"])))
    return Side(run, _drawn(seen))


def _drawn(seen: list[tuple[np.ndarray, np.ndarray]]) -> Drawn:
    pairs = [Pair(obs, None, None, None, None) for obs, _ in seen]
    last = pairs[-1]
    return Drawn(last, seen[-1][1], Pair(np.concatenate([each.obs for each in pairs[:-1]]), None, None, None, None))


def _same_draws(capacity: int, mine: Drawn, other: Drawn) -> None:
    same.probabilities("jaxbuffers", mine, capacity, ALPHA)
    same.probabilities("cpprb", other, capacity, ALPHA, relative=True)
