"""What a shard costs at 1, 2, 4 and 8 devices: it must not grow with their number.

    python -m benchmarks.sharded

The devices are fake ones of the CPU, so they share its cores: what counts is the processor time of a step, divided by
the number of shards. Each number of devices is measured in a process of its own. Figures are in
docs/decisions/0017-sharded.md.
"""

import os
import subprocess
import sys
import time

DEVICES, REPEATS, STEPS = (1, 2, 4, 8), 7, 200
ENVS, ROWS, BATCH = 16, 4_096, 32  # of one shard


def measure(shards: int) -> None:
    """Print the microseconds of processor time and of wall time of one step of one shard, and of a plain replay."""
    import jax
    import jax.numpy as jnp

    import jaxbuffers as jb

    row = {"obs": jnp.zeros(64), "reward": jnp.float32(0)}
    row |= dict.fromkeys(("is_first", "is_last", "is_terminal"), jnp.bool_(False))
    mesh = jax.make_mesh((shards,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    view, sampler = jb.Sequences(4, "within"), jb.Prioritized()
    whole = jb.Replay(ROWS * ENVS * shards, ENVS * shards, BATCH * shards, view, sampler)
    sharded = jb.Sharded(whole, mesh)

    def steps(replay, fence):
        def step(state, key):
            envs = replay.num_envs if replay is not sharded else ENVS * shards
            rows = jax.tree.map(lambda x: jnp.broadcast_to(x, (envs, *x.shape)), row)
            state = replay.add(state, rows)
            batch = replay.sample(state, key)
            state = replay.update(fence(state, batch), batch.index, priority=1 + batch.probability)
            return state, jnp.sum(batch.data["obs"], (1, 2))  # what is not read would not be sampled

        return jax.jit(lambda state, keys: jax.lax.scan(step, state, keys), donate_argnums=0)

    found = []
    for replay, fence in ((sharded.local, jb.fence), (sharded, sharded.fence)):
        run, state = steps(replay, fence), replay.init(row)
        times = []
        for repeat in range(REPEATS + 1):
            keys = jax.random.split(jax.random.key(repeat), STEPS)
            began, used = time.perf_counter(), time.process_time()
            state = jax.block_until_ready(run(state, keys))[0]
            times.append((time.process_time() - used, time.perf_counter() - began))
        parts = shards if replay is sharded else 1
        found += [sorted(each)[REPEATS // 2] / STEPS / parts * 1e6 for each in zip(*times[1:], strict=True)]
    print(f"| {shards} | " + " | ".join(f"{each:,.0f}" for each in (found[2], found[0], found[3], found[1])) + " |")


def main() -> None:
    """Measure each number of devices in a process of its own."""
    print("Microseconds a step and shard: add 16 rows, sample 32 windows of 4, write 32 priorities back.\n")
    print("| shards | processor, sharded | processor, plain | wall, sharded | wall, plain |")
    print("|---:|---:|---:|---:|---:|")
    for shards in DEVICES:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={shards}"
        given = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        subprocess.run([sys.executable, "-m", "benchmarks.sharded", str(shards)], env=given, check=True)


if __name__ == "__main__":
    measure(int(sys.argv[1])) if len(sys.argv) > 1 else main()
