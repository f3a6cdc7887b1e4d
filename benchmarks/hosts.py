"""What it takes 1, 2 and 4 processes to save and restore the same state together.

    python -m benchmarks.hosts

The processes share the cores and the disk of one machine, so the figures show what working together costs, and not how
much faster many machines are. They are in docs/decisions/0020-many-hosts.md.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

PROCESSES, SHARDS, REPEATS = (1, 2, 4), 4, 5
SIZE = 2**30  # bytes of the state, of all shards


def measure(number: int, count: int, port: int, folder: Path) -> None:
    """Be one of the processes; print seconds of each save and restore, and the processor time they took here."""
    import jax
    import numpy as np
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    import jaxbuffers as jb

    if count > 1:
        jax.distributed.initialize(f"localhost:{port}", count, number)
    sharding = NamedSharding(jax.make_mesh((SHARDS,), ("data",)), P("data"))
    generator = np.random.default_rng(number)

    def part(index: tuple[slice, ...]) -> np.ndarray:
        return generator.integers(0, 255, (1, SIZE // SHARDS), np.uint8)

    like = jax.ShapeDtypeStruct((SHARDS, SIZE // SHARDS), np.uint8, sharding=sharding)
    tree = {"ring": jax.make_array_from_callback(like.shape, sharding, part)}
    said = []
    for repeat in range(REPEATS + 1):  # the first one meets the others
        path = folder / str(repeat)
        save = partial(jb.checkpoint.save, path, tree)
        restore = partial(jb.checkpoint.restore, path, {"ring": like})
        for work in (save, restore):
            began, used = time.perf_counter(), time.process_time()
            work()
            said.append((time.perf_counter() - began, time.process_time() - used))
    print(json.dumps(said[2:]), flush=True)


def together(count: int) -> list[list[list[float]]]:
    """Start the processes; return what each has said."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp()
    flags = f"--xla_force_host_platform_device_count={SHARDS // count}"
    given = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "benchmarks.hosts"]
    running = [
        subprocess.Popen(
            [*command, str(number), str(count), str(port), folder], env=given, stdout=subprocess.PIPE, text=True
        )
        for number in range(count)
    ]
    try:
        return [json.loads(each.communicate()[0].splitlines()[-1]) for each in running]
    finally:
        for each in running:
            each.kill()
        shutil.rmtree(folder)


def main() -> None:
    """Print a table: medians, the slowest process of each repeat, the processor time of all."""
    print("| processes | save | processor | restore | processor |\n|---:|---:|---:|---:|---:|")
    for count in PROCESSES:
        said = together(count)
        row = []
        for first in (0, 1):
            clock = [max(each[i][0] for each in said) for i in range(first, 2 * REPEATS, 2)]
            used = [sum(each[i][1] for each in said) for i in range(first, 2 * REPEATS, 2)]
            rates = sorted(SIZE / 1e6 / each for each in clock)
            row.append(f"{statistics.median(rates):,.0f} MB/s ({rates[0]:,.0f} to {rates[-1]:,.0f})")
            row.append(f"{statistics.median(used):.2f} s")
        print(f"| {count} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*map(int, sys.argv[1:4]), Path(sys.argv[4]))
    else:
        main()
