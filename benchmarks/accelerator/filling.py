"""Full rings in few steps: blocks of rows, a little more than a ring takes, so that the head is in the middle."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jaxbuffers as jb


def time_of(state: jb.ReplayState) -> jax.Array:
    """The time of the next row, of every stream: int32 ``[]``."""
    return state.ring.time[0]


def filled(replay: jb.Replay, rows: Callable[[jax.Array], Any], block: int = 64) -> Callable[[Any], Any]:
    """Return a function that fills a replay with ``rows(time)``, blocks ``[N, E, ...]`` for times ``[N]``."""
    size = min(replay.length, block)

    def fill(state: jb.ReplayState) -> jb.ReplayState:
        def body(_: jax.Array, state: jb.ReplayState) -> jb.ReplayState:
            return replay.add(state, rows(time_of(state) + jnp.arange(size, dtype=jnp.int32)))

        return jax.lax.fori_loop(0, replay.length // size + 2, body, state)

    return fill
