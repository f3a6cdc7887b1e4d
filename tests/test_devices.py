"""With the stream axis sharded over 8 devices, every verb gives what it gives on one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.testing import assert_in_place

ENVS, LENGTH = 16, 8
ROW = {
    "obs": jnp.zeros((11, 100), jnp.uint8),
    "action": jnp.int32(0),
    "reward": jnp.float32(0),
    **dict.fromkeys(("is_first", "is_last", "is_terminal"), jnp.bool_(False)),
}
VIEWS = [jb.Items(), jb.Transitions(n_step=2), jb.Sequences(3, "within", burn_in=1)]
views = pytest.mark.parametrize("view", long_but(VIEWS, quick=[2]), ids=lambda view: repr(view).replace(" ", ""))

pytestmark = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices, or 8 fake ones on CPU")


def replay_of(view, envs=ENVS, length=LENGTH):
    return jb.Replay(capacity=length * envs, num_envs=envs, batch_size=16, view=view)


def mesh():
    return Mesh(np.array(jax.devices()[:8]), ("streams",))


def specs(state):
    """The stream axis of every leaf, told by its size."""
    return jax.tree.map(lambda leaf: P(*(("streams" if size == ENVS else None) for size in leaf.shape)), state)


def part_of(state, device):
    mine = np.arange(ENVS // 8) + ENVS // 8 * device
    return jax.tree.map(
        lambda leaf: jnp.take(leaf, mine, leaf.shape.index(ENVS)) if ENVS in leaf.shape else leaf, state
    )


def shard(state):
    return jax.device_put(state, jax.tree.map(lambda spec: NamedSharding(mesh(), spec), specs(state)))


def random_rows(seed, count=5):
    rng, lead = np.random.default_rng(seed), (count, ENVS)
    rows = {
        "obs": rng.integers(0, 256, (*lead, 11, 100), np.uint8),
        "action": rng.integers(0, 9, lead).astype(np.int32),
        "reward": rng.integers(0, 9, lead).astype(np.float32),
        "is_first": rng.random(lead) < 0.1,
        "is_last": rng.random(lead) < 0.1,
        "is_terminal": rng.random(lead) < 0.1,
    }
    return jax.tree.map(jnp.asarray, rows), jnp.asarray(rng.random(lead) < 0.8)


@views
def test_every_verb_on_a_sharded_state_equals_the_verb_on_one_device(view):
    replay = replay_of(view)
    alone = replay.init(ROW)
    sharded = shard(alone)
    add, sample, get = jax.jit(replay.add), jax.jit(replay.sample), jax.jit(replay.get)
    update = jax.jit(lambda state, index, rows: replay.update(state, index, rows=rows))
    for turn in range(4):
        rows, mask = random_rows(turn)
        alone, sharded = add(alone, rows, mask), add(sharded, rows, mask)
        assert len(sharded.ring.words.addressable_shards[0].data[0]) == ENVS // 8, "the rows are not sharded anymore"
        chex.assert_trees_all_equal(jax.device_get(sharded), jax.device_get(alone))
        batch, expected = sample(sharded, jax.random.key(turn)), sample(alone, jax.random.key(turn))
        chex.assert_trees_all_close(jax.device_get(batch), jax.device_get(expected), rtol=1e-6)
        chex.assert_trees_all_equal(jax.device_get(batch.index), jax.device_get(expected.index))
        chex.assert_trees_all_equal(*(jax.device_get(get(state, expected.index)) for state in (sharded, alone)))
        new = {"action": jnp.arange(expected.mask.size, dtype=jnp.int32).reshape(expected.mask.shape)}
        alone, sharded = update(alone, expected.index, new), update(sharded, expected.index, new)
        assert int(replay.size(sharded)) == int(replay.size(alone))
        assert bool(replay.can_sample(sharded))
    assert batch.valid


@pytest.mark.long  # quick: sharding/test_equal.py
@views
def test_each_device_can_run_its_own_streams_under_shard_map(view):
    """The part of a state that a device holds is a state of its own, for a replay of its streams."""
    whole, part = replay_of(view), replay_of(view, envs=ENVS // 8)
    alone = whole.init(ROW)
    axes = specs(alone)
    sharded = shard(alone)

    def local_sample(state, keys):
        batch = part.sample(state, keys[0])
        return jax.tree.map(lambda leaf: leaf[None], batch)

    add = jax.jit(
        jax.shard_map(part.add, mesh=mesh(), in_specs=(axes, P(None, "streams"), P(None, "streams")), out_specs=axes)
    )
    sample = jax.jit(jax.shard_map(local_sample, mesh=mesh(), in_specs=(axes, P("streams")), out_specs=P("streams")))
    for turn in range(3):
        rows, mask = random_rows(turn)
        alone, sharded = jax.jit(whole.add)(alone, rows, mask), add(sharded, rows, mask)
        chex.assert_trees_all_equal(jax.device_get(sharded), jax.device_get(alone))
    keys = jax.random.split(jax.random.key(0), 8)
    batches = sample(sharded, keys)
    one = jax.jit(part.sample)
    for device in range(8):
        expected = one(part_of(alone, device), keys[device])
        got = jax.tree.map(lambda leaf, device=device: leaf[device], jax.device_get(batches))
        chex.assert_trees_all_close(got, jax.device_get(expected), rtol=1e-6)


@pytest.mark.long  # quick: sharding/test_programs.py
@pytest.mark.usefixtures("readable")
def test_a_sharded_state_is_added_to_in_place():
    replay = replay_of(jb.Sequences(3, "within"), length=4096)
    rows, mask = random_rows(0, count=1)
    assert_in_place(replay.add, shard(replay.init(ROW)), rows, mask)
