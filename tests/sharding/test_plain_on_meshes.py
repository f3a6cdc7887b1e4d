"""Without jb.Sharded, on Explicit meshes: a replay works replicated, and says what to do where it is sharded."""

import contextlib
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from oracle import quick_jit
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError

from .meshes import mesh_of, needs_devices, over

pytestmark = needs_devices

ENVS = 4
MESH = mesh_of(2, AxisType.Explicit) if len(jax.devices()) > 1 else None
REPLAY = jb.Replay(32, ENVS, 8, jb.Sequences(2), jb.Prioritized())
ROW = {"x": jnp.float32(0), "obs": jnp.zeros((9, 9))}
contexts = pytest.mark.parametrize("set_mesh", long_but([False, True], quick=[1]))


@pytest.fixture
def context(set_mesh):
    with jax.set_mesh(MESH) if set_mesh else contextlib.nullcontext():
        yield


def replicated(tree):
    return jax.device_put(tree, NamedSharding(MESH, P()))


def rows():
    return {"x": jnp.arange(4.0), "obs": jnp.ones((ENVS, 9, 9))}


def by_streams(state):
    """The state as a user would shard it, over its streams."""
    return jax.tree.map(
        lambda x: jax.device_put(x, NamedSharding(MESH, P(*("data" if size == ENVS else None for size in x.shape)))),
        state,
    )


@contexts
def test_a_replicated_replay_works(context):
    @quick_jit
    def turn(state, rows, key):
        state = REPLAY.add(REPLAY.add(state, rows), rows)
        batch = REPLAY.sample(state, key)
        state = jb.fence(state, batch)
        state = REPLAY.update(state, batch.index, priority=batch.probability, rows={"x": batch.data["x"]})
        return state, batch, REPLAY.get(state, batch.index), REPLAY.size(state), jb.stats(state)["rows"]

    state, batch, (got, mask), size, stated = turn(replicated(REPLAY.init(ROW)), replicated(rows()), jax.random.key(0))
    assert (int(size), int(stated)) == (8, 8)
    assert mask.all()
    np.testing.assert_array_equal(got["x"], batch.data["x"])
    np.testing.assert_array_equal(batch.data["x"], batch.index.stream)
    assert len(state.ring.time.sharding.device_set) == 2


def refused(says, verb, right):
    """Whether it is refused with these words. Where JAX knows what to do, as older ones do, the result is right."""
    try:
        got = verb()
    except ConfigurationError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert re.search(says, refusal)
        return True
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(right()), strict=True):
        np.testing.assert_array_equal(one, other)
    return False


@contexts
def test_a_sharded_one_names_jb_sharded(context):
    state = REPLAY.init(ROW)
    sharded, mine = by_streams(state), over(MESH, rows())
    tries = {
        "add": (REPLAY.add, (sharded, mine), (state, rows())),
        "add, sharded rows to a replicated state": (REPLAY.add, (replicated(state), mine), (state, rows())),
        "sample": (REPLAY.sample, (sharded, jax.random.key(0)), (state, jax.random.key(0))),
        "stats": (jb.stats, (sharded,), (state,)),
    }
    found = []
    for name, (verb, given, plain) in tries.items():
        says = "^" + name.split(",")[0] + r": .*sharded over 'data'.* use jb\.Sharded\(replay, mesh"
        for run in budget((verb,), (verb, jax.jit(verb))):  # what is called eagerly is a program too
            found.append(refused(says, partial(run, *given), partial(verb, *plain)))
    assert any(found), "JAX has learned to scatter: say so in docs/many-devices.md"
    assert int(REPLAY.size(sharded)) == 0  # where nothing has to be decided, it works


def test_replicated_arrays_outside_of_jit_are_one_program_too():
    state = REPLAY.add(replicated(REPLAY.init(ROW)), replicated(rows()))
    chex.assert_trees_all_equal(jax.device_get(state), jax.device_get(REPLAY.add(REPLAY.init(ROW), rows())))


def test_replicated_arrays_that_no_program_takes_are_told_where_to_go():
    with jax.disable_jit(), pytest.raises(ConfigurationError, match=r"add: .*Call it under jax.set_mesh\(mesh\)"):
        REPLAY.add(replicated(REPLAY.init(ROW)), replicated(rows()))


def test_other_errors_stay_what_they_are():
    def of_a_shard(windows):
        return windows.rows["shard"]  # which is not there

    replay = jb.Replay(32, ENVS, 8, sampler=jb.Weighted(of_a_shard))
    with pytest.raises(KeyError, match="shard"):
        replay.sample(replicated(replay.init(ROW)), jax.random.key(0))
    with pytest.raises(jb.errors.ShapeError, match="leaf 'x'"):
        REPLAY.add(replicated(REPLAY.init(ROW)), replicated({"x": jnp.zeros((4, 2)), "obs": jnp.zeros((4, 9, 9))}))
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        REPLAY.add(replicated(REPLAY.init(ROW)))


@contexts
def test_a_rollout_sharded_like_its_data_works_and_others_say_how(context):
    rollout, data = jb.Rollout(2, ENVS), over(MESH, jnp.arange(4.0))
    state = rollout.init(x=jnp.float32(0))
    placed = state.replace(data=over(MESH, state.data, axis=1))

    @quick_jit
    def both(state, data):
        for step in range(2):
            state = rollout.update(state, "x", jnp.int32(step), data + step)
        state = rollout.register(state, "advantage")
        return rollout.batch_update(state, "advantage", state.data["x"] * 2)

    done = both(placed, data)
    assert np.asarray(done.data["advantage"]).tolist() == [[0, 2, 4, 6], [2, 4, 6, 8]]
    assert done.data["x"].sharding.spec[1] == "data"
    assert np.asarray(rollout.flatten(done).data["x"]).tolist() == [0, 1, 1, 2, 2, 3, 3, 4]
    says = r"update: .* Shard the state like the data, state\.replace\(data="
    refused(says, lambda: rollout.update(state, "x", 0, data), lambda: rollout.update(state, "x", 0, jnp.arange(4.0)))
    says, alone = "Cut minibatches on each device by jax.shard_map", jax.tree.map(np.asarray, done)
    batch_of = partial(rollout.minibatches, key=jax.random.key(0), batch_size=4)
    refused(says, lambda: batch_of(done)[0], lambda: batch_of(jax.tree.map(jnp.asarray, alone))[0])


@pytest.mark.skipif(jax.__version_info__ < (0, 9), reason="this JAX puts the mapped axis of a sharded array first")
@pytest.mark.parametrize("name", ["gae", "n_step_returns"])
def test_returns_of_environments_that_are_sharded(name):
    function = getattr(jb.returns, name)
    values = {"value": jnp.ones((5, 4))} if name == "gae" else {}
    steps = {"reward": jnp.arange(20.0).reshape(5, 4), "next_value": jnp.ones((5, 4)), **values}
    steps |= {"terminated": jnp.eye(5, 4, dtype=bool), "truncated": jnp.zeros((5, 4), bool)}
    numbers = {"gamma": 0.5} | ({"lam": 0.5} if values else {"n_step": 2})

    @quick_jit
    def of_each(steps):
        return jax.vmap(lambda steps: function(**steps, **numbers), in_axes=1, out_axes=1)(steps)

    got, alone = of_each(over(MESH, steps, axis=1)), of_each(steps)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.sharding.spec[1] == "data"


@contexts
@pytest.mark.parametrize("mode", long_but(["next_step", "same_step", "disabled"], quick=[0]))
def test_a_recorder_records_environments_that_are_sharded(context, mode):
    recorder, obs = jb.Recorder(mode), over(MESH, jnp.arange(8.0).reshape(4, 2))
    flags = over(MESH, jnp.array([True, False, False, True]))
    given = {"obs": obs + 1, "reward": over(MESH, jnp.ones(4)), "terminated": flags, "truncated": flags & False}

    def run(obs, flags, given):
        rec = recorder.init(obs)
        rec, rows, mask = recorder.step(rec, action=jnp.zeros_like(flags), **given)
        _, last, _ = recorder.finish(recorder.reset(rec, obs, flags), jnp.zeros_like(flags))
        return rec, rows, mask, last

    rec, *got = run(obs, flags, given)
    # Flags that are the same for all may be replicated: XLA decides where constants of a program are.
    assert all(leaf.sharding.spec[:1] in ((), ("data",)) for leaf in jax.tree.leaves(rec))
    assert {leaf.sharding.spec[0] for leaf in (*jax.tree.leaves(rec.obs), rec.reward)} == {"data"}
    assert all(leaf.sharding.device_set == {*MESH.devices.flat} for leaf in jax.tree.leaves(rec))
    alone = run(*jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), (obs, flags, given)))
    for one, other in zip(jax.tree.leaves((rec, *got)), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(one, other)
    # What it gives goes into a sharded replay as it is.
    sharded = jb.Sharded(jb.Replay(32, ENVS, 4), MESH)
    state = sharded.add(sharded.init(recorder.row(rec, flags)), got[0], got[1])
    assert int(sharded.size(state)) == int(np.asarray(got[1]).sum())
