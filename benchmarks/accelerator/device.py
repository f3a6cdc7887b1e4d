"""The device: its name, its memory, how fast it copies, and what the least step costs."""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

KEPT, SPARE = 0.6, 0.3  # shares of memory: of a ring where the device says how much it has, and of a host's


def described() -> dict[str, Any]:
    """Say what the table was measured on."""
    device = jax.devices()[0]
    client = getattr(device, "client", None)
    return {
        "device": device.device_kind,
        "platform": getattr(client, "platform_version", device.platform).replace("\n", " "),
        "backend": jax.default_backend(),
        "jax": jax.__version__,
        "cores": os.cpu_count(),
    }


def room() -> int:
    """Return the bytes that one ring may take."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(KEPT * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    return int(SPARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def copy_bandwidth() -> dict[str, float]:
    """Measure bytes a second, read and written, of a large copy, and of a kernel that changes as much in place."""
    # Larger than any cache; a host hands out fresh memory slowly, so there the kernel is what counts.
    size = (2**26 if jax.default_backend() == "cpu" else min(2**31, room() // 8)) // 4
    x = jnp.zeros(size, jnp.int32)
    kernel = jax.jit(lambda x: jax.lax.fori_loop(0, 10, lambda i, x: x + i, x), donate_argnums=0)
    copied, changed = _seconds(jnp.copy, x, keep=True), _seconds(kernel, x) / 10
    ways = {"memcpy": 2 * x.size * 4 / copied, "kernel": 2 * x.size * 4 / changed}
    return {"bytes": x.size * 4, "copy": max(ways.values())} | ways


def _seconds(function: Callable, x: Any, keep: bool = False) -> float:
    """The median of rounds of some calls, of which the device runs one after the other; of one that takes its own."""
    calls, rounds = (1, 3) if jax.default_backend() == "cpu" else (10, 7)
    out = function(x)
    jax.block_until_ready(out)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            out = function(x if keep else out)
        jax.block_until_ready(out)
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def least() -> dict[str, float]:
    """Measure microseconds of the least step: one tiny kernel, in a loop and called from Python."""
    steps = 1000
    loop = jax.jit(lambda x: jax.lax.fori_loop(0, steps, lambda i, x: x * 3 + i, x))
    call = jax.jit(lambda x: x * 3 + 1)
    x = jnp.zeros(256, jnp.int32)
    jax.block_until_ready(call(x))
    times = []
    for _ in range(200):
        start = time.perf_counter()
        jax.block_until_ready(call(x))
        times.append(time.perf_counter() - start)
    return {"in a loop": _seconds(loop, x, keep=True) / steps * 1e6, "call": statistics.median(times) * 1e6}
