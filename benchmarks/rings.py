"""Full rings of the same rows, ours and flashbax's, and what a learner takes from a sample of either."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxbuffers as jb

PAIRS, OBS, ACTION, GAMMA = 256, 17, 6, 0.99


class Pair(NamedTuple):
    """What a learner reads of a pair of rows: each leaf ``[B, ...]``."""

    obs: jax.Array
    action: jax.Array
    reward: jax.Array
    discount: jax.Array
    next_obs: jax.Array


def row() -> jb.Row:
    """One row of one environment."""
    flag = jnp.bool_(False)
    return jb.Row(jnp.zeros(OBS), jnp.zeros(ACTION), jnp.float32(0), flag, flag, flag)


def rows(envs: int, step: jax.Array) -> jb.Row:
    """Rows of all environments; numbers below 1, other ones in each row, episodes of 100."""
    value = (step.astype(jnp.float32) * 0.618034 + jnp.arange(envs, dtype=jnp.float32) * 0.754878) % 1
    return jb.Row(
        jnp.broadcast_to(value[:, None], (envs, OBS)),
        jnp.broadcast_to(value[:, None], (envs, ACTION)),
        value,
        jnp.full(envs, step % 100 == 0),
        jnp.full(envs, step % 100 == 99),
        jnp.full(envs, step % 200 == 99),
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


def ours(envs: int, capacity: int, sampler: jb.Sampler) -> tuple[jb.Replay, jb.ReplayState]:
    """Return our replay and its full state."""
    replay = jb.Replay(capacity, envs, PAIRS, jb.Transitions(gamma=GAMMA), sampler)
    state = _fill(replay.add, replay.init(row()), envs, replay.length)
    assert int(replay.size(state)) == capacity
    return replay, state


def theirs(envs: int, capacity: int, alpha: float | None) -> tuple[Any, Any]:
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
    state = buffer.init(jax.tree.map(lambda x: x[0], item(rows(1, jnp.int32(0)))))
    state = _fill(lambda state, rows: buffer.add(state, item(rows)), state, envs, capacity // envs)
    assert bool(state.is_full)
    return buffer, state


def _fill(add: Callable, state: Any, envs: int, length: int) -> Any:
    """Add a little more than a ring takes, so that every slot is written and the head is somewhere in the middle."""
    loop = jax.jit(lambda s: jax.lax.fori_loop(0, length + 7, lambda i, s: add(s, rows(envs, i)), s), donate_argnums=0)
    return loop(state)


def keys() -> Iterator[jax.Array]:
    """Yield keys for ever, all made beforehand: other rows are drawn every time, and only the draw is timed."""
    return itertools.cycle(list(jax.random.split(jax.random.key(0), 512)))
