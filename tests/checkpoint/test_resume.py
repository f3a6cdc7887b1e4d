"""A small loop with every sampler, interrupted at three places and resumed: all leaves as without, steps later."""

from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.catalog import EVERYTHING, ROW, SAMPLERS, replay_of, rows_for
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb

from .same import assert_same, differ

CHUNK, CHUNKS, PLACES = 5, 8, (1, 3, 6)


def loop_of(replay):
    """Some steps of acting, learning and writing back: what happens depends on all that happened before."""

    def step(run, row):
        keys = jax.random.split(run["key"])
        state = replay.add(run["replay"], row)
        batch = replay.sample(state, keys[1])
        weights = run["weights"] + jnp.sum(batch.data.reward + batch.probability) * 0.01
        priority = jnp.abs(batch.data.reward) + 0.1 if replay.sampler.takes_priority else None
        state = replay.update(state, batch.index, priority=priority)
        return {"replay": state, "weights": weights, "key": keys[0]}, None

    return quick_jit(lambda run, rows: jax.lax.scan(step, run, rows)[0], donate_argnums=0)


@pytest.mark.parametrize("sampler", long_but([*SAMPLERS, EVERYTHING], quick=[1]))
def test_a_loop_that_is_resumed_equals_the_uninterrupted_one(tmp_path, sampler):
    replay = replay_of(jb.Transitions(), sampler)
    make, loop = rows_for(replay), loop_of(replay)
    rows = jax.tree.map(lambda *leaves: np.stack(leaves), *map(make, range(CHUNK * CHUNKS)))

    def fresh():
        return {"replay": replay.init(ROW), "weights": jnp.float32(0), "key": jax.random.key(0)}

    def go(run, first, manager):
        for chunk in range(first, CHUNKS):
            run = loop(run, jax.tree.map(itemgetter(slice(chunk * CHUNK, (chunk + 1) * CHUNK)), rows))
            if manager is not None and chunk + 1 in PLACES:
                manager.save(chunk + 1, run, background=True)  # and donated by the next chunk
        return run

    with jb.checkpoint.Manager(tmp_path, keep=None) as manager:
        whole = go(fresh(), 0, manager)
        for place in PLACES:
            run = manager.restore(jax.eval_shape(fresh), place).tree
            assert differ(run, whole)
            assert_same(go(run, place, None), whole)
