"""Full rings of the same rows, ours and flashbax's, and what a learner takes from a sample of either."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jaxbuffers as jb
from benchmarks.same import ENV, EPISODE, GAMMA, STEP, Pair

PAIRS, OBS, ACTION = 256, 17, 6
FILLED = 64  # rows of each environment that are added at a time, to fill
MORE = 7  # steps added beyond what a ring takes: the head is somewhere in the middle


def least(envs: int, capacity: int) -> int:
    """Return the elements of the smallest array that must not be copied: the parents of a tree's leaves.

    More than batches have, and than an add of so many rows writes or gathers from a tree, 16 children for each leaf
    that begins or ends. What is smaller is told by its exact size.
    """
    return max(capacity // 16, 64 * PAIRS, 33 * envs)


def row(obs: int = OBS, action: int = ACTION) -> jb.Row:
    """One row of one environment, with so many numbers."""
    flag = jnp.bool_(False)
    return jb.Row(jnp.zeros(obs), jnp.zeros(action), jnp.float32(0), flag, flag, flag)


def rows(envs: int, step: jax.Array, obs: int = OBS, action: int = ACTION) -> jb.Row:
    """Rows of all environments, which say whose they are: see `benchmarks.same`."""
    number, env = step.astype(jnp.float32) * STEP, jnp.arange(envs, dtype=jnp.float32) * ENV
    value = (step.astype(jnp.float32) * 0.618034 + jnp.arange(envs, dtype=jnp.float32) * 0.754878) % 1
    return jb.Row(
        jnp.broadcast_to(value[:, None], (envs, obs)).at[:, 0].set(number).at[:, 1].set(env),
        jnp.broadcast_to(value[:, None], (envs, action)).at[:, 0].set(number),
        jnp.full(envs, number),
        jnp.full(envs, step % EPISODE == 0),
        jnp.full(envs, step % EPISODE == EPISODE - 1),
        jnp.full(envs, step % (2 * EPISODE) == EPISODE - 1),
    )


def item(rows: jb.Row) -> dict[str, jax.Array]:
    """The same rows for flashbax."""
    return {"obs": rows.obs, "action": rows.action, "reward": rows.reward, "done": rows.is_terminal}


def our_pair(batch: jb.Batch) -> Pair:
    """Read our batch."""
    data = batch.data
    return Pair(data.obs, data.action, data.reward, data.discount, data.next_obs)


def their_pair(batch: Any) -> Pair:
    """Read flashbax's; what is not used of it costs nothing, since XLA leaves it out."""
    first, second = batch.experience
    return Pair(first["obs"], first["action"], second["reward"], GAMMA * (1.0 - second["done"]), second["obs"])


def ours(envs: int, capacity: int, sampler: jb.Sampler, **width: int) -> tuple[jb.Replay, jb.ReplayState]:
    """Return our replay and its full state, filled with many rows at a time: some have ten million."""
    replay = jb.Replay(capacity, envs, PAIRS, jb.Transitions(gamma=GAMMA), sampler)
    state = replay.init(row(**width))
    last, block = replay.length + MORE, min(FILLED, replay.length)
    first = last - math.ceil(last / block) * block  # or earlier than any step there is

    def add(i: jax.Array, state: jb.ReplayState) -> jb.ReplayState:
        step = first + i * block + jnp.arange(block)
        written = jnp.broadcast_to((step >= 0)[:, None], (block, envs))
        return replay.add(state, jax.vmap(lambda step: rows(envs, step, **width))(step), written)

    state = jax.jit(lambda s: jax.lax.fori_loop(0, (last - first) // block, add, s), donate_argnums=0)(state)
    assert int(replay.size(state)) == capacity
    return replay, state


def theirs(envs: int, capacity: int, alpha: float | None, **width: int) -> tuple[Any, Any]:
    """Return flashbax's flat buffer, prioritized if ``alpha`` is given, and its full state."""
    import flashbax as fbx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same = {"max_length": capacity, "min_length": PAIRS, "sample_batch_size": PAIRS, "add_batch_size": envs}
        if alpha is None:
            buffer = fbx.make_flat_buffer(**same, add_sequences=False)
        else:  # which of its two ways to change a tree is faster depends on the device; it wants to be told
            device = jax.default_backend()
            buffer = fbx.make_prioritised_flat_buffer(**same, priority_exponent=alpha, device=device)
    state = buffer.init(jax.tree.map(lambda x: x[0], item(rows(1, jnp.int32(0), **width))))
    state = fill(lambda state, step: buffer.add(state, item(rows(envs, step, **width))), state, capacity // envs)
    assert bool(state.is_full)
    return buffer, state


def fill(add: Callable[[Any, jax.Array], Any], state: Any, length: int) -> Any:
    """Add a little more than a ring takes, so that every slot is written and the head is somewhere in the middle."""
    loop = jax.jit(lambda s: jax.lax.fori_loop(0, length + MORE, lambda i, s: add(s, i), s), donate_argnums=0)
    return loop(state)


def keys() -> Iterator[jax.Array]:
    """Yield keys for ever, all made beforehand: other rows are drawn every time, and only the draw is timed."""
    return itertools.cycle(list(jax.random.split(jax.random.key(0), 512)))
