"""Sharded replay on fake devices of the CPU, against as many separate replays on one device, one after the other."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.same import require

ENVS, ROWS, BATCH = 16, 4_096, 32  # of one shard


def contest(shards: int, steps: int) -> Contest:
    """Add, sample and update in a scan."""
    row: dict[str, Any] = {"obs": jnp.zeros(64), "reward": jnp.float32(0)}
    row |= dict.fromkeys(("is_first", "is_last", "is_terminal"), jnp.bool_(False))
    mesh = jax.make_mesh((shards,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    view, sampler = jb.Sequences(4, "within"), jb.Prioritized()
    whole = jb.Replay(ROWS * ENVS * shards, ENVS * shards, BATCH * shards, view, sampler)
    sharded = jb.Sharded(whole, mesh)

    def scan(side: str, replay: Any, fence: Any, envs: int) -> Any:
        def step(state: Any, each: tuple[jax.Array, jax.Array]) -> tuple:
            number, key = each
            rows = jax.tree.map(lambda x: jnp.broadcast_to(x, (envs, *x.shape)), row)
            rows = rows | {"reward": rows["reward"] + number, "obs": rows["obs"] + number}
            state = replay.add(state, rows)
            batch = replay.sample(state, key)
            priority = 1 + batch.probability
            read = batch.data["reward"], jnp.sum(batch.data["obs"], (1, 2))  # all of it, of each window
            return replay.update(fence(state, batch), batch.index, priority=priority), read

        jitted = jax.jit(lambda state, keys: jax.lax.scan(step, state, (jnp.arange(steps), keys)), donate_argnums=0)
        return compiled(side, jitted, replay.init(row), keys, least=ROWS * ENVS)

    keys = jax.random.split(jax.random.key(0), steps)

    def full(once: Any) -> None:
        for _ in range(-(-ROWS // steps)):
            once()

    def ours() -> Side:
        run, held = scan("jaxbuffers", sharded, sharded.fence, ENVS * shards), [sharded.init(row)]

        def once() -> None:
            held[0] = jax.block_until_ready(run(held[0], keys))[0]

        full(once)
        return Side(once, jax.tree.map(np.asarray, run(sharded.init(row), keys)[1]))

    def theirs() -> Side:
        run = scan("separate replays", sharded.local, jb.fence, ENVS)
        held = [sharded.local.init(row) for _ in range(shards)]

        def once() -> None:
            for i in range(shards):
                held[i] = jax.block_until_ready(run(held[i], keys))[0]

        full(once)
        return Side(once, jax.tree.map(np.asarray, run(sharded.local.init(row), keys)[1]))

    def same(ours: tuple, theirs: tuple) -> None:
        """Rewards are the steps that rows were added at: four consecutive ones, all added before."""
        for side, (reward, obs), batch in (("jaxbuffers", ours, BATCH * shards), ("a separate replay", theirs, BATCH)):
            require(reward.shape == (steps, batch, 4), side, "other shapes")
            drawn = reward[4:]  # before, there is nothing to draw
            require(np.diff(drawn, axis=-1) == 1, side, "rows that do not follow each other")
            require(obs[4:] == 64 * drawn.sum(-1), side, "observations of other rows")
            require(drawn[..., -1] <= np.arange(4, steps)[:, None], side, "rows that were not added yet")

    return Contest(ours, theirs, same, steps)
