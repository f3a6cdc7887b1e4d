"""Random configurations in random lives, step by step against the model: what is legal, drawn, shown and remembered.

``JAXBUFFERS_RANDOM_CASES=500`` tries so many, ``JAXBUFFERS_RANDOM_CASES=17:18`` that of number 17 alone.
"""

import functools
import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit

from .cases import LIVES, ROW, case
from .following import Follower, time_major

FIRST, _, LAST = os.environ.get("JAXBUFFERS_RANDOM_CASES", "20").rpartition(":")
NUMBERS = range(int(FIRST or 0), int(LAST))


def live(replay, writes, rows, mask, priority, group, clock):
    """Live one life: return what was seen after each step."""

    def step(state, inputs):
        number, rows, mask, priority, group = inputs
        if replay.num_envs is None:
            rows, mask = jax.tree.map(lambda x: x[:, 0], (rows, mask))
        state = replay.add(state, rows, mask)
        batch = replay.sample(state, jax.random.key(number))
        seen = {"batch": batch, "can": replay.can_sample(state), "can_one": replay.can_sample(state, 1)}
        seen |= {"count": replay.count(state), "size": replay.size(state)}
        shape = batch.mask.shape
        spread = jnp.expand_dims(group, 0 if time_major(replay) else 1) if len(shape) == 2 else group
        values = {"extras": {"group": jnp.broadcast_to(spread, shape)}} if writes else None
        state = replay.update(
            state, batch.index, priority=priority if replay.sampler.takes_priority else None, rows=values
        )
        return state, seen | {"sampler": state.sampler, "dropped": state.dropped}

    state = replay.init(ROW)
    state = replace(state, ring=replace(state.ring, time=jnp.full_like(state.ring.time, clock)))
    return jax.lax.scan(step, state, (jnp.arange(len(mask), dtype=jnp.int32), rows, mask, priority, group))[1]


@pytest.mark.long
@pytest.mark.parametrize("number", NUMBERS)
def test_a_replay_holds_draws_shows_and_remembers_what_the_model_says(number):
    tried = case(number)
    print(f"case {number}: {tried.replay}")
    inputs = (tried.rows, tried.mask, tried.priority, tried.group, tried.clock)
    run = quick_jit(jax.vmap(functools.partial(live, tried.replay, tried.writes)))
    seen = jax.tree.map(np.asarray, run(*inputs))
    for life in range(LIVES):
        follower = Follower(tried, life)
        for step in range(tried.mask.shape[1]):
            try:
                follower.follow(step, jax.tree.map(lambda x, at=(life, step): x[at], seen))
            except AssertionError as error:
                raise AssertionError(
                    f"case {number}, life {life}, step {step} of {tried.replay}, clock {follower.clock}: {error}\n"
                    f"again: JAXBUFFERS_RANDOM_CASES={number}:{number + 1}"
                ) from error
