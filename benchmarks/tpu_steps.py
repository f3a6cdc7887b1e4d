"""Whole steps compiled for TPU v5e: prioritized, a queue view under ``scan``, and sharded over a 2x2 topology.

What is looked for in their compiled text: arrays of the size of the ring, of the queue or of the tree that are made
anew, and what devices send each other. What is asked of all shards (here the number of windows and the largest weight)
may be sent, as single numbers; nothing else may.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import jaxbuffers as jb
from benchmarks.compiled import large_arrays
from jaxbuffers.testing.compiled_text import computations

ENVS, PAIRS, SHARDS, STEPS = 16, 256, 4, 8
SMALL = 2**18  # rows; and four times as many
# XLA keeps the tree in vector memory, and counts every gather and scatter in a level as if it went through all of it:
# so often a step, at most.
TREE_READS = 12
COLLECTIVE = re.compile("all-|collective-|reduce-scatter|send|recv")


@dataclass(frozen=True)
class Step:
    """One step at one size.

    Attributes:
      name: what it does.
      rows: the capacity.
      shards: over how many devices it goes.
      ring: bytes of the stored rows, on each device.
      tree: bytes of the sampler's tree, on each device.
      function: from the donated state, rows and a key.
      args: their shapes, with their places.
      asked: whether it asks something of all shards.
    """

    name: str
    rows: int
    shards: int
    ring: int
    tree: int
    function: Callable
    args: tuple
    asked: bool = False


@dataclass(frozen=True)
class Compiled:
    """What XLA made of a step; bytes are those of one device."""

    accessed: float
    temporary: int
    aliased: int
    copies: list[str]
    moves: int
    collectives: list[tuple[str, tuple[int, ...]]]


def steps(rows: int, devices: list[Any], row: Any) -> Iterator[Step]:
    """Yield every step, with a ring of so many rows on each device."""
    flat = jb.Replay(rows, ENVS, PAIRS, jb.Transitions(gamma=0.99), jb.Prioritized(), layout="tiled")
    queue = jb.Replay(rows, ENVS, ENVS, jb.Sequences(64, "within"), layout="tiled")
    one = SingleDeviceSharding(devices[0])
    yield _step("prioritized add + sample + update", flat, flat, row, _learner(flat, True), one, one)
    yield _step(f"{STEPS} steps in a scan, within", queue, queue, row, _scanned(queue), one, one, (STEPS,))
    many = jb.Replay(SHARDS * rows, ENVS, PAIRS, jb.Transitions(gamma=0.99), jb.Prioritized(), layout="tiled")
    for kind, asked in ((AxisType.Auto, False), (AxisType.Explicit, False), (AxisType.Auto, True)):
        mesh = Mesh(np.array(devices[:SHARDS]), ("data",), axis_types=(kind,))
        whole, parts = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
        sharded = jb.Sharded(many, mesh)
        name = f"sharded on a 2x2 {kind.name} mesh{', weights of all' if asked else ''}"
        yield _step(name, sharded, many, row, _learner(sharded, asked), parts, whole, asked=asked)


def _step(
    name: str, verbs: Any, replay: jb.Replay, row: Any, function: Callable, place: Any, key_place: Any,
    lead: tuple[int, ...] = (), asked: bool = False,
) -> Step:  # fmt: skip
    def at(tree: Any, place: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    state, key = jax.eval_shape(lambda: verbs.init(row)), jax.eval_shape(lambda: jax.random.key(0))
    shards = SHARDS if isinstance(verbs, jb.Sharded) else 1
    rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*lead, ENVS, *x.shape), x.dtype), row)
    ring, tree = (
        sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(each)) // shards
        for each in ((state.ring.words, state.ring.blocks), state.sampler)
    )
    args = (at(state, place), at(rows, place), at(key, key_place))
    return Step(name, replay.capacity, shards, ring, tree, function, args, asked)


def _learner(replay: Any, asked: bool) -> Callable:
    """Add, sample, give priorities and rewards back; weights ask for the number of windows and the largest weight."""

    def step(state: Any, rows: Any, key: jax.Array) -> tuple:
        state = replay.add(state, rows)
        batch = replay.sample(state, key)
        weights = jnp.ones(PAIRS)
        if asked:
            weights = jb.importance_weights(batch.probability, replay.count(state), 0.4)
        priority = jnp.abs(weights * batch.data.reward) + 1e-6
        return replay.update(state, batch.index, priority=priority, rows={"reward": batch.data.reward + 1}), batch.data

    return step


def _scanned(replay: jb.Replay) -> Callable:
    def step(state: Any, x: tuple) -> tuple:
        rows, key = x
        state = replay.add(state, rows)
        batch = replay.sample(state, key)
        return replay.update(state, batch.index, rows={"reward": batch.data.reward + 1}), jnp.sum(batch.data.obs)

    return lambda state, rows, key: jax.lax.scan(step, state, (rows, jax.random.split(key, STEPS)))


def compiled(step: Step) -> Compiled:
    """Compile a step and read what came of it."""
    program = jax.jit(step.function, donate_argnums=0).lower(*step.args).compile()
    text, memory, cost = program.as_text() or "", program.memory_analysis(), program.cost_analysis()
    assert memory is not None
    assert cost is not None
    lines = list(large_arrays(text, step.rows // step.shards))
    moves = [line for line in lines if " copy-start(" in line and "S(1)" in line]  # into vector memory, or out of it
    made = [each for body in computations(text).values() for each in body.values()]
    return Compiled(
        accessed=cost["bytes accessed"],
        temporary=memory.temp_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        copies=[line for line in lines if line not in moves],
        moves=len(moves),
        collectives=[(each.opcode, each.sizes) for each in made if COLLECTIVE.match(each.opcode)],
    )


def faults(step: Step, found: Compiled, growth: float, more_tree: int) -> list[str]:
    """Name the promises that a step breaks, given by how much it grew from the smaller size, and its tree."""
    sent = {opcode.removesuffix("-start").removesuffix("-done") for opcode, _ in found.collectives}
    largest = max((size for _, sizes in found.collectives for size in sizes), default=0)
    broken = {
        "grows": growth > TREE_READS * more_tree + 0.05 * found.accessed,
        "makes a copy": bool(found.copies),
        "holds a copy": found.temporary > 0.1 * step.ring,
        "not in place": found.aliased < step.ring,
        "devices talk": bool(sent) and not step.asked,
        "more than numbers are sent": bool(sent - {"all-reduce"}) or largest > 1,
        "no collective where one was asked for": step.asked and step.shards > 1 and not sent,
    }
    return [name for name, is_broken in broken.items() if is_broken]
