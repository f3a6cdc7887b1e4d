"""A whole step of examples/dreamer.py on images: add, sample 16 x 64, learn, write the latents back."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

import jaxbuffers as jb
from benchmarks.accelerator import images
from benchmarks.accelerator.cases import Case, Group, Side, nbytes
from benchmarks.accelerator.filling import filled, time_of

CAPACITY, ACTIONS = 131_072, 6
EXAMPLES = Path(__file__).parents[2] / "examples"
UNUSED = ("gymnax", "matplotlib", "matplotlib.pyplot")  # by a step: neither games nor pictures


def groups(sizes: list[int], room: int) -> Iterator[Group]:
    """Yield one group, of the example's capacity or of the largest size if that is smaller."""
    dreamer = _example()
    capacity = min(CAPACITY, max(sizes)) // images.ENVS * images.ENVS
    view = jb.Sequences(images.LENGTH, time_major=True)
    replay = jb.Replay(capacity, images.ENVS, batch_size=16, view=view)
    latent = jnp.zeros(dreamer.DETER + dreamer.GROUPS * dreamer.CLASSES, jnp.bfloat16)

    def row_at(time: jax.Array) -> jb.Row:
        made = images.rows(time)
        shape = made.reward.shape
        return jb.Row(
            made.obs.reshape(*shape, -1), made.reward.astype(jnp.int32) % ACTIONS, made.reward / 251,
            made.is_first, made.is_last, made.is_terminal,
            {"latent": jnp.zeros((*shape, *latent.shape), latent.dtype)},
        )  # fmt: skip

    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), jax.eval_shape(row_at, jnp.int32(0)))
    if (needed := replay.nbytes(one)) > room:
        yield Group("dreamer", capacity, (), f"not measured: {needed} bytes do not fit into {room}")
        return
    graph = {}

    def init() -> tuple:
        from flax import nnx

        agent = dreamer.Agent(images.PIXELS, ACTIONS, nnx.Rngs(0))
        graph["agent"], params = nnx.split(agent)
        run = dreamer.Run(params, jax.tree.map(jnp.copy, params), dreamer.OPTIMIZER.init(params), jnp.float32(0))
        return replay.init(one), run

    jax.eval_shape(init)  # which fills `graph`

    def whole(state: Any, key: jax.Array) -> tuple:
        state, run = state
        keys = jax.random.split(key)
        state = replay.add(state, row_at(time_of(state)))
        batch = replay.sample(state, keys[0])
        run, latents, losses = dreamer.Dreamer(None, graph["agent"], replay).learn(run, batch.data, keys[1])
        index = jax.tree.map(lambda x: x[1:], batch.index)
        state = replay.update(state, index, rows={"extras": {"latent": latents.astype(jnp.bfloat16)}})
        return (state, run), losses

    def alone(state: Any, key: jax.Array) -> tuple:
        state, run = state
        state = replay.add(state, row_at(time_of(state)))
        batch = replay.sample(state, key)
        index = jax.tree.map(lambda x: x[1:], batch.index)
        latents = batch.data.extras["latent"][1:] + jnp.bfloat16(1)
        state = replay.update(state, index, rows={"extras": {"latent": latents}})
        return (state, run), batch.data

    read = 2 * nbytes(jax.eval_shape(lambda: replay.sample(replay.init(one), jax.random.key(0)).data))
    read += nbytes(jax.eval_shape(row_at, jnp.int32(0)))
    fill = filled(replay, row_at)
    steps = 2 if jax.default_backend() == "cpu" else 20  # a host takes seconds for one
    how: dict[str, Any] = {"moved": read, "changes": True, "steps": steps, "makes": 16 * 64 * images.PIXELS}
    cases = (
        Case("replay alone: add + sample 16 x 64 + update", alone, **how),
        Case("whole step: with learning", whole, **how),
    )
    yield Group(
        "dreamer", capacity, (Side("jaxbuffers", capacity, init, lambda state: (fill(state[0]), state[1]), cases),)
    )


def _example() -> Any:
    """Import the example, with stand-ins for what is not installed and no step uses."""
    stand_ins = []
    for name in UNUSED:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = mock.MagicMock()
            stand_ins.append(name)
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module("dreamer")
    finally:
        sys.path.remove(str(EXAMPLES))
        for name in stand_ins:
            del sys.modules[name]
