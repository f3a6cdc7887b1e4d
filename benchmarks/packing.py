"""Which leaves share the word block? Measures add + sample in a scan at several sizes of `packing.SMALL`.

Run it with ``python -m benchmarks.packing``; the figures are in docs/decisions/0002-packing.md.
"""

import statistics
import time

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import jaxbuffers as jb
from benchmarks.sides.loops import Scan
from jaxbuffers.storage import packing

STEPS, ROUNDS, ENVS, BATCH = 200, 31, 16, 256


def main() -> None:
    """Print microseconds of one add + sample, separate and packed, for rows of several kinds."""
    flag = jnp.bool_(False)

    def row(width: int) -> jb.Row:
        return jb.Row(jnp.zeros(width), jnp.zeros(6), jnp.float32(0), flag, flag, flag)

    table = Table(
        "observation", "bytes", "rows a stream", "all separate", "all but obs packed", "all packed", "best / separate"
    )
    for width, length in ((17, 2048), (17, 65536), (64, 32768), (128, 16384), (256, 8192), (512, 4096), (4096, 1024)):
        loops = {small: _loop(row(width), small, length) for small in (0, 4 * width - 1, 4 * width)}
        times: dict[int, list[float]] = {small: [] for small in loops}
        for loop in loops.values():
            loop()
        for _ in range(ROUNDS):
            for small, loop in loops.items():
                start = time.perf_counter()
                loop()
                times[small].append((time.perf_counter() - start) / STEPS * 1e6)
        medians = [statistics.median(values) for values in times.values()]
        cells = [f"{median:.1f} µs" for median in medians]
        table.add_row(f"{width} floats", str(4 * width), f"{length:,}", *cells, f"{min(medians) / medians[0]:.2f}")
    Console().print(table)


def _loop(row: jb.Row, small: int, length: int) -> Scan:
    packing.SMALL = small  # read when the program is compiled
    replay = jb.Replay(ENVS * length, ENVS, BATCH, jb.Transitions())

    def iterate(state: jb.ReplayState, step: jax.Array, key: jax.Array) -> tuple:
        value = jnp.full((ENVS,), step % 100)
        rows = jax.tree.map(lambda x: jnp.full((ENVS, *x.shape), step % 100).astype(x.dtype), row)
        rows = rows.replace(is_first=value == 0, is_last=value == 99, is_terminal=value == 99)
        state = replay.add(state, rows)
        return state, replay.sample(state, key).data

    read = 2 * BATCH * (row.obs.size + 16)  # more than a batch has; of few and wide rows there are fewer than that
    loop = Scan("jaxbuffers", iterate, replay.init(row), STEPS, least=max(ENVS * length, read))
    for _ in range(length // STEPS + 1):  # fills the ring
        loop()
    return loop


if __name__ == "__main__":
    main()
