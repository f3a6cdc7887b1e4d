"""Compile the verbs for TPU v5e, without a TPU, and hold XLA's own analysis to our promises.

For images and for small rows, at a capacity and at four times that capacity:

* the bytes accessed by ``add``, ``sample`` and a train step do not grow; a ``sample`` compiled alone
  may grow by at most four times the queue of legal windows, 4 bytes a row (see below);
* nothing of the ring's size is held as a temporary;
* donating the state aliases the whole ring.

Then whole steps, prioritized, scanned and sharded over the 2x2 topology (``benchmarks/tpu_steps.py``): no copy as large
as the ring, the queue or the tree; and devices tell each other nothing but the single numbers that were asked for.

Run it with ``make check-tpu``. Needs libtpu (x86 Linux), which compiles without a device.

What the figures mean: XLA counts the body of a loop once, whatever its trip count, and prefers to
copy an operand that fits into the 128 MiB of vector memory before gathering from it. The smaller
capacity is therefore chosen so that no block of it fits. The queue does fit: compiled alone, a
``sample`` copies it first, which is faster than reading one entry after the other; in a train step,
where the queue has just been written, it does not (``docs/decisions/0001-storage.md``).
"""

import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.experimental.layout import Format, Layout
from jax.sharding import SingleDeviceSharding
from rich.console import Console
from rich.table import Table

import jaxbuffers as jb
from benchmarks import tpu_steps

GROWTH = 1.05  # bytes accessed at four times the capacity, at most
ENVS, BATCH, LENGTH = 16, 16, 64


def main() -> int:
    """Print the table; return the number of broken promises."""
    topology = topologies.get_topology_desc("v5e:2x2", "tpu")
    place = SingleDeviceSharding(topology.devices[0])
    table = Table("row", "envs", "verb", "capacity", "accessed MB", "temporary MB", "ring MB", "aliased", "verdict")
    broken = 0
    for name, row, capacity, view in _cases():
        for envs in (1, ENVS):
            analyses = [_analyze(row, view, envs, size, place) for size in (capacity, 4 * capacity)]
            for verb in analyses[0]:
                small, large = analyses[0][verb], analyses[1][verb]
                faults = []
                allowed = 4 * (large["queue"] - small["queue"]) if verb == "sample" else 0
                growth = large["accessed"] - small["accessed"]
                if growth > allowed + (GROWTH - 1) * small["accessed"]:
                    faults.append("grows")
                for size, analysis in ((capacity, small), (4 * capacity, large)):
                    if analysis["temporary"] > 0.1 * analysis["ring"]:
                        faults.append("holds a copy")
                    if analysis["donated"] and analysis["aliased"] < analysis["ring"]:
                        faults.append("not in place")
                    table.add_row(
                        name, str(envs), verb, f"{size:,}", f"{analysis['accessed'] / 1e6:.3f}",
                        f"{analysis['temporary'] / 1e6:.3f}", f"{analysis['ring'] / 1e6:.0f}",
                        f"{analysis['aliased'] / analysis['ring']:.0%}" if analysis["donated"] else "",
                        _verdict(faults, growth) if analysis is large else "",
                    )  # fmt: skip
                broken += len(faults)
    Console(width=120).print(table)
    broken += _steps(topology.devices)
    print(f"{broken} broken promises" if broken else "every promise holds")
    return broken


def _steps(devices: list[Any]) -> int:
    """Print the table of whole steps; return the number of broken promises."""
    table = Table("step", "rows", "accessed MB", "temporary MB", "ring MB", "aliased", "collectives", "verdict")
    row, broken = replace(_cases()[-1][1], extras=()), 0
    sizes = [[*tpu_steps.steps(size, devices, row)] for size in (tpu_steps.SMALL, 4 * tpu_steps.SMALL)]
    for steps in zip(*sizes, strict=True):
        found = [tpu_steps.compiled(step) for step in steps]
        growth, tree = found[1].accessed - found[0].accessed, steps[1].tree - steps[0].tree
        for step, each in zip(steps, found, strict=True):
            faults = tpu_steps.faults(step, each, growth, tree)
            last = step is steps[-1]
            moved = f"ok, {each.moves} copies of a level to vector memory or back" if each.moves else "ok"
            sent = Counter(opcode for opcode, _ in each.collectives)
            table.add_row(
                step.name, f"{step.rows:,}", f"{each.accessed / 1e6:.3f}", f"{each.temporary / 1e6:.3f}",
                f"{step.ring / 1e6:.0f}", f"{each.aliased / step.ring:.0%}",
                ", ".join(f"{number} {opcode} of a number" for opcode, number in sent.items()),
                ", ".join(faults) or (moved if last else ""),
            )  # fmt: skip
            broken += len(faults)
            for line in each.copies:
                print(f"{step.name}, {step.rows:,} rows: {line[:200]}")
    Console(width=120).print(table)
    return broken


def _verdict(faults: list[str], growth: float) -> str:
    return ", ".join(dict.fromkeys(faults)) or ("ok" if growth < 1e6 else "ok, copies the queue")


def _cases() -> list[tuple[str, jb.Row, int, jb.View]]:
    def row(obs: jax.ShapeDtypeStruct) -> jb.Row:
        flag = jax.ShapeDtypeStruct((), jnp.bool_)
        latent = jax.ShapeDtypeStruct((64,), jnp.float32)
        action, reward = jax.ShapeDtypeStruct((6,), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
        return jb.Row(obs, action, reward, flag, flag, flag, {"latent": latent})

    image = row(jax.ShapeDtypeStruct((64, 64, 3), jnp.uint8))
    small = row(jax.ShapeDtypeStruct((17,), jnp.float32))
    return [
        ("64x64x3 uint8, cross", image, 2**18, jb.Sequences(LENGTH)),
        ("17 floats, within", small, 2**18, jb.Sequences(LENGTH, "within")),
        ("17 floats, transitions", small, 2**18, jb.Transitions()),
    ]


def _analyze(row: jb.Row, view: jb.View, envs: int, capacity: int, place: Any) -> dict[str, dict[str, float]]:
    replay = jb.Replay(capacity, envs, BATCH, view, layout="tiled")
    state = jax.eval_shape(lambda: replay.init(row))
    rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct((envs, *x.shape), x.dtype), row)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def train(state: jb.ReplayState, rows: jb.Row, key: jax.Array) -> tuple[jb.ReplayState, jax.Array]:
        state = replay.add(state, rows)
        batch = replay.sample(state, key)
        if isinstance(view, jb.Sequences):
            latent = jnp.tanh(batch.data.extras["latent"] + batch.data.reward[..., None])
            state = replay.update(state, batch.index, rows={"extras": {"latent": latent}})
        return state, sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(batch.data))

    queue = 0 if state.windows is None else state.windows.starts.size * 4
    ring = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state.ring.words, state.ring.blocks)))
    return {
        "add": _compile(replay.add, (state, rows), True, ring, place) | {"queue": queue},
        "sample": _compile(replay.sample, (state, key), False, ring, place) | {"queue": queue},
        "train step": _compile(train, (state, rows, key), True, ring, place) | {"queue": queue},
    }


def _compile(fn: Callable, args: tuple, donated: bool, ring: int, place: Any) -> dict[str, float]:
    args = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), args)
    # A batch may come in any layout that suits whoever reads it; a donated state must keep its own.
    out = place if donated else Format(Layout.AUTO, place)
    compiled = jax.jit(fn, donate_argnums=0 if donated else (), out_shardings=out).lower(*args).compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    return {
        "accessed": cost["bytes accessed"],
        "temporary": memory.temp_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "donated": donated,
        "ring": ring,
    }


if __name__ == "__main__":
    sys.exit(main())
