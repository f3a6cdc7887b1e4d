"""What the compiled programs of a sharded replay do: nothing is copied, and devices tell each other single numbers."""

import re

import jax
import jax.numpy as jnp
import pytest
from contract.catalog import ROW, VIEWS, rows_for
from jax.sharding import AxisType
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.testing import assert_in_place
from jaxbuffers.testing.compiled_text import computations

from .meshes import mesh_of, needs_devices, over

pytestmark = [needs_devices, pytest.mark.usefixtures("readable")]

COLLECTIVE = re.compile("all-|collective-|reduce-scatter|send|recv")
SAMPLERS = [jb.Uniform(), jb.Prioritized(), jb.WithoutReplacement(), jb.ByEpisode(), jb.OnlineFirst(jb.RankBased())]


def sharded_of(sampler, shards, kind, length=4096):
    replay = jb.Replay(length * shards, shards, 2 * shards, VIEWS[8], sampler)
    return jb.Sharded(replay, mesh_of(shards, kind))


def collectives(fn, *args):
    """The collectives of a compiled program, each with the sizes of what it sends."""
    bodies = computations(jax.jit(fn).lower(*args).compile().as_text())
    made = [each for body in bodies.values() for each in body.values()]
    return [(each.opcode, each.sizes) for each in made if COLLECTIVE.match(each.opcode)]


def learner(sharded):
    """A learner's step: draw, give back, and add rows that do not depend on what was drawn."""

    def step(state, rows, key):
        batch = sharded.sample(state, key)
        priority = 1 + batch.probability if sharded.replay.sampler.takes_priority else None
        state = sharded.update(state, batch.index, priority=priority, rows={"reward": batch.data.reward + 1})
        return sharded.add(sharded.fence(state, batch), rows), batch.data

    return step


CASES = [(sampler, kind, 2) for sampler in SAMPLERS for kind in (AxisType.Explicit, AxisType.Auto)]
CASES += [(jb.Prioritized(), AxisType.Explicit, 8)]


@pytest.mark.parametrize("sampler, kind, shards", long_but(CASES, quick=[0]))
def test_a_step_is_in_place_on_every_shard_and_without_any_collective(sampler, kind, shards):
    sharded = sharded_of(sampler, shards, kind)
    rows = over(sharded.mesh, rows_for(sharded.replay)(0))
    state, key = sharded.init(ROW), jax.random.key(0)
    assert_in_place(learner(sharded), state, rows, key)  # the pointers of each shard, too
    assert collectives(learner(sharded), state, rows, key) == []


def test_what_is_asked_of_all_shards_is_one_number_each():
    sharded = sharded_of(jb.Uniform(), 2, AxisType.Auto, length=16)
    state, key = sharded.init(ROW), jax.random.key(0)
    one = ("all-reduce", (1,))

    def asked(state, key):
        batch = sharded.sample(state, key)
        return batch.valid, sharded.size(state), jb.importance_weights(batch.probability, sharded.count(state), 1.0)

    found = collectives(asked, state, key)
    assert {opcode for opcode, _ in found} == {"all-reduce"}
    assert 1 <= len(found) <= 4  # valid, size, count and the largest weight; XLA may send several together
    assert max(max(sizes) for _, sizes in found) == 1
    assert collectives(lambda state: sharded.count(state), state) == [one]


def test_a_collective_is_found_where_there_is_one():
    mesh = mesh_of(2)
    x = over(mesh, jnp.zeros((4, 8)))
    assert [opcode for opcode, _ in collectives(lambda x: x.sum(), x)] == ["all-reduce"]
