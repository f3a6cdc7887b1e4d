"""Uniform replay: ours against flashbax, which keeps rows as we do, and brax, which keeps whole pairs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks import same
from benchmarks.case import Contest, Side
from benchmarks.same import GAMMA, Pair
from benchmarks.sides import rows
from benchmarks.sides.loops import Call, Scan

DRAWS = 16  # batches that are shown
_ROLLS = 2  # arrays as large as the ring in brax's program: it rolls a full ring at every insert, in a branch


def scan(envs: int, length: int, steps: int) -> Contest:
    """Add and sample in a scan, against flashbax."""
    return Contest(partial(_our_scan, envs, length, steps), partial(_their_scan, envs, length, steps),
                   partial(same_draws, envs, length), steps)  # fmt: skip


def call(envs: int, length: int) -> Contest:
    """Call a jitted sample from Python, against flashbax."""

    def ours() -> Side:
        replay, state = rows.ours(envs, envs * length, jb.Uniform())
        shown = drawn(lambda state, key: rows.our_pair(replay.sample(state, key)), state)
        return Call("jaxbuffers", replay.sample, state, rows.keys(), least=envs * length).showing(shown)

    def theirs() -> Side:
        buffer, state = rows.theirs(envs, envs * length, alpha=None)
        shown = drawn(lambda state, key: rows.their_pair(buffer.sample(state, key)), state)
        return Call("flashbax", buffer.sample, state, rows.keys(), least=envs * length).showing(shown)

    return Contest(ours, theirs, partial(same_draws, envs, length))


def brax(length: int, steps: int) -> Contest:
    """Add and sample in a scan with one environment, against brax."""
    return Contest(partial(_our_scan, 1, length, steps), partial(_brax_scan, length, steps),
                   partial(same_draws, 1, length), steps)  # fmt: skip


def drawn(read: Callable[[Any, jax.Array], Any], state: Any, draws: int = DRAWS) -> Any:
    """Draw some batches; return what a learner reads of them, leaves ``[K, B, ...]``, as NumPy arrays."""
    keys = jax.random.split(jax.random.key(1), draws)
    return jax.tree.map(np.asarray, jax.jit(lambda state: jax.lax.map(lambda key: read(state, key), keys))(state))


def same_draws(envs: int, length: int, ours: Pair, theirs: Pair) -> None:
    """Raise unless both draw pairs that are there, each as likely as the others."""
    first, last = rows.MORE, length + rows.MORE - 1
    for side, pair, episodes in (("jaxbuffers", ours, True), ("the peer", theirs, False)):
        same.pairs(side, pair, envs, first, last, episodes)
        same.uniform(side, pair, envs, first, last, episodes)


def _our_scan(envs: int, length: int, steps: int) -> Side:
    replay, state = rows.ours(envs, envs * length, jb.Uniform())
    shown = drawn(lambda state, key: rows.our_pair(replay.sample(state, key)), state)

    def iterate(state: jb.ReplayState, step: jax.Array, key: jax.Array) -> tuple:
        state = replay.add(state, rows.rows(envs, step))
        return state, rows.our_pair(replay.sample(state, key))

    return Scan("jaxbuffers", iterate, state, steps, least=envs * length).showing(shown)


def _their_scan(envs: int, length: int, steps: int) -> Side:
    buffer, state = rows.theirs(envs, envs * length, alpha=None)
    shown = drawn(lambda state, key: rows.their_pair(buffer.sample(state, key)), state)

    def iterate(state: Any, step: jax.Array, key: jax.Array) -> tuple:
        state = buffer.add(state, rows.item(rows.rows(envs, step)))
        return state, rows.their_pair(buffer.sample(state, key))

    return Scan("flashbax", iterate, state, steps, least=envs * length).showing(shown)


def _brax_scan(length: int, steps: int) -> Side:
    from brax.training.replay_buffers import UniformSamplingQueue

    def item(step: jax.Array) -> Pair:
        """A pair as an item: brax knows no order of rows, so each observation is stored twice."""
        first, second = rows.rows(1, step), rows.rows(1, step + 1)
        return Pair(first.obs, first.action, second.reward, GAMMA * (1.0 - second.is_terminal), second.obs)

    like = jax.tree.map(lambda x: x[0], item(jnp.int32(0)))
    queue = UniformSamplingQueue(length - 1, like, rows.PAIRS)  # as many pairs as our ring has
    # Filled in one piece: it rolls itself at every insert once it is full.
    steps_kept = jnp.arange(rows.MORE, length + rows.MORE - 1)
    items = jax.tree.map(lambda x: x[:, 0], jax.jit(jax.vmap(item))(steps_kept))
    state = jax.jit(queue.insert_internal, donate_argnums=0)(queue.init(jax.random.key(2)), items)

    def iterate(state: Any, step: jax.Array, _: jax.Array) -> tuple:
        return queue.sample_internal(queue.insert_internal(state, item(step)))

    shown = drawn(lambda state, key: queue.sample_internal(state.replace(key=key))[1], state)
    return Scan("brax", iterate, state, steps, least=length, documented=_ROLLS).showing(shown)
