"""Batch sizes, empty replays, and what `update` refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from tier import long_but

import jaxbuffers as jb
from errors.mistakes import ENVS, ROW, rows, says, zeros


@pytest.mark.parametrize("size", long_but([0, -1, True, 2.0], quick=[0, 3]))
def test_a_bad_batch_size_is_refused(replay, state, size):
    with pytest.raises(jb.errors.ConfigurationError, match="batch_size must be an int of at least 1"):
        replay.sample(state, jax.random.key(0), size)


@pytest.mark.parametrize("added", long_but([0, 1, 3], quick=[2]))
@pytest.mark.parametrize(
    "view",
    long_but([jb.Sequences(4), jb.Sequences(4, "within"), jb.Transitions(), jb.Items()], quick=[1, 2]),
    ids=repr,
)
def test_too_few_rows_give_an_invalid_batch_of_zeros_and_raise_under_debug_checks(view, added):
    replay = jb.Replay(capacity=12, num_envs=ENVS, batch_size=4, view=view)
    state = replay.init(ROW)
    for _ in range(added):
        state = jax.jit(replay.add)(state, jax.tree.map(jnp.ones_like, rows(ENVS)) | {"is_first": zeros(ENVS, bool)})
    enough = added >= view.required and not (
        isinstance(view, jb.Transitions | jb.Sequences) and view.within and added > 1
    )
    batch = jax.jit(replay.sample)(state, jax.random.key(0))
    with jb.debug_checks():
        error, _ = jax.jit(checkify.checkify(replay.sample))(state, jax.random.key(0))
    assert bool(batch.valid) == enough == bool(replay.can_sample(state))
    if enough:
        error.throw()
        return
    assert not batch.mask.any()
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves((batch.data, batch.probability)))
    with pytest.raises(checkify.JaxRuntimeError, match=r"no legal window to draw.*; see can_sample\(\)"):
        error.throw()


INDEX = jb.Index(zeros(4, jnp.int32), zeros(4, jnp.int32))


@pytest.mark.parametrize(
    "new, error, parts",
    [
        ({"rewards": zeros(4)}, jb.errors.StructureError, ("'rewards'", "obs.image", "reward")),
        ({"obs": {"picture": zeros(4)}}, jb.errors.StructureError, ("'obs.picture'",)),
        ({"obs": zeros(4)}, jb.errors.StructureError, ("'obs'",)),
        (zeros(4), jb.errors.StructureError, ("the only leaf",)),
        ({}, jb.errors.StructureError, ("no leaves",)),
        ({"obs": {"s": zeros((4, 1))}}, jb.errors.ShapeError, ("'obs.s'", "(3,)")),
        ({"reward": zeros(3)}, jb.errors.ShapeError, ("'reward'", "(3,)", "(4,)", "batch.mask")),
        ({"reward": zeros(())}, jb.errors.ShapeError, ("'reward'", "()", "(4,)")),
        ({"reward": zeros((4, 1))}, jb.errors.ShapeError, ("'reward'", "(4, 1)", "(4,)")),
        ({"reward": zeros(4, jnp.float16)}, jb.errors.DtypeError, ("'reward'", "float16", "float32")),
        ({"action": 1}, jb.errors.DtypeError, ("'action'",)),
    ],
)
def test_bad_rows_to_write_back_are_refused_by_name(replay, state, new, error, parts):
    with pytest.raises(error) as caught:
        replay.update(state, INDEX, rows=new)
    says(caught, *parts)


def test_a_priority_for_a_sampler_that_takes_none_is_refused(replay, state):
    with pytest.raises(jb.errors.ConfigurationError, match=r"Uniform\(\) takes no priority; leave it out"):
        replay.update(state, INDEX, priority=jnp.ones(4))
