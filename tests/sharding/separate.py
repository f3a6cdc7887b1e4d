"""Separate replays, one for each shard, against which a sharded one is compared."""

import functools
from collections import deque

import chex
import jax
import jax.numpy as jnp
import numpy as np
from contract.catalog import ROW, rows_for
from oracle import quick_jit

import jaxbuffers as jb

from .meshes import part, same

ENVS, LENGTH, BATCH = 4, 9, 8


def whole_of(view, sampler, envs=ENVS):
    return jb.Replay(capacity=LENGTH * envs, num_envs=envs, batch_size=BATCH // ENVS * envs, view=view, sampler=sampler)


def everything(replay, fence, shards=1):
    """All verbs in one program, with all that a learner gives back."""
    takes_priority = getattr(replay, "replay", replay).sampler.takes_priority

    def turn(state, rows, mask, key):
        state = replay.add(state, rows, mask)
        batch = replay.sample(state, key)
        said = {
            "batch": batch,
            "get": replay.get(state, batch.index),
            "age": replay.age(state, batch.index),
            "size": replay.size(state),
            "count": replay.count(state),
            "can": replay.can_sample(state),
        }
        given = {"priority": 1 + shards * batch.probability} if takes_priority else {}  # that of one shard
        given["rows"] = {"action": jnp.broadcast_to(jnp.int32(-1), batch.mask.shape)}
        return replay.update(fence(state, batch), batch.index, **given), said

    return turn


@functools.cache
def of_all(sharded):
    return quick_jit(everything(sharded, sharded.fence, sharded.shards.count))


@functools.cache
def of_one(replay):
    turn = everything(replay, jb.fence)
    return quick_jit(lambda state, rows, mask, key, i: turn(state, rows, mask, jax.random.fold_in(key, i)))


@functools.cache
def giving_back(replay):
    """A learner that comes late: it gives back a batch some of whose rows may be gone."""
    whole = getattr(replay, "replay", replay)

    def late(state, index):
        given = {"priority": jnp.full(whole.batch_size, 0.5)} if whole.sampler.takes_priority else {}
        return replay.update(state, index, rows={"action": jnp.full(index.time.shape, -2, jnp.int32)}, **given)

    return quick_jit(late)


class Separate:
    """As many plain replays as there are shards, with keys folded by the number of each."""

    def __init__(self, sharded):
        self.replay, self.shards = sharded.local, sharded.mesh.shape[sharded.axis]
        self.axis = 1 if getattr(sharded.replay.view, "time_major", False) else 0
        self.turn = of_one(self.replay)
        self.states = [self.replay.init(ROW)] * self.shards

    def step(self, rows, mask, key):
        envs, said = self.replay.num_envs, []
        for i in range(self.shards):
            mine = slice(i * envs, (i + 1) * envs)
            take = jax.tree.map(lambda x, mine=mine: x[mine], (rows, mask))
            self.states[i], heard = self.turn(self.states[i], *take, key, i)
            said.append(jax.tree.map(np.asarray, heard))
        return said

    def give_back(self, said):
        late = giving_back(self.replay)
        self.states = [late(state, one["batch"].index) for state, one in zip(self.states, said, strict=True)]

    def compare(self, state, said, expected):
        """Everything a sharded replay says and remembers against the separate ones."""
        envs, windows = self.replay.num_envs, self.replay.batch_size
        for i, one in enumerate(expected):
            mine, alone = part(state, self.states[i], self.shards, i), jax.tree.map(np.asarray, self.states[i])
            # Priorities are made of probabilities here, of which two programs may round the last bit differently (Mix).
            chex.assert_trees_all_close(mine.sampler, alone.sampler, rtol=1e-6)
            same(mine.replace(sampler=()), alone.replace(sampler=()))
            batch = one["batch"]
            index = batch.index.replace(stream=batch.index.stream + np.int32(i * envs))
            scaled = (batch.probability / np.float32(self.shards)).astype(np.float32)
            wanted = batch.replace(index=index, probability=scaled)
            mine = jax.tree.map(lambda x, i=i: _windows(x, i * windows, windows, self.axis), said["batch"])
            same((mine.data, mine.index), (wanted.data, wanted.index))
            of_shard = np.asarray(said["batch"].probability)[i * windows : (i + 1) * windows]
            np.testing.assert_allclose(of_shard, scaled, rtol=2e-7)
            for name in ("get", "age"):
                same(jax.tree.map(lambda x, i=i: _windows(x, i * windows, windows, self.axis), said[name]), one[name])
        assert int(said["size"]) == sum(int(one["size"]) for one in expected)
        assert int(said["count"]) == sum(int(one["count"]) for one in expected)
        assert bool(said["can"]) == all(bool(one["can"]) for one in expected)
        assert bool(said["batch"].valid) == all(bool(one["batch"].valid) for one in expected)


def _windows(x, first, count, axis):
    x = np.asarray(x)
    axis = axis if x.ndim > axis else 0
    return x.take(range(first, first + count), axis) if x.ndim else x


def agree(sharded, turns=12, seed=0, rows_at=None, mask_at=None, lag=0):
    """Run a sharded replay and separate ones side by side for more than a lap.

    With a lag each batch is given back once more that many turns later, when some of its rows are gone.
    """
    rng = np.random.default_rng(seed)
    rows_at = rows_at or rows_for(sharded.replay)
    separate = Separate(sharded)
    turn, state, held = of_all(sharded), sharded.init(ROW), deque()
    for step in range(turns):
        rows, key = jax.tree.map(np.asarray, rows_at(step)), jax.random.key(seed * 1000 + step)
        mask = rng.random(sharded.replay.num_envs) < 0.85 if mask_at is None else mask_at(step)
        state, said = turn(state, rows, mask, key)
        expected = separate.step(rows, mask, key)
        separate.compare(state, said, expected)
        held.append((said["batch"].index, expected))
        if lag and len(held) > lag:
            index, alone = held.popleft()
            state = giving_back(sharded)(state, index)
            separate.give_back(alone)
    return state
