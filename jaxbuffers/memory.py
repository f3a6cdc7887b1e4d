"""Memory: how much a replay takes, and whether its devices have it, said before it is allocated where that is known."""

import math
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.errors import OutOfMemoryError
from jaxbuffers.row import RowSpec, row_of

Made = TypeVar("Made")
SMALL = 2**26  # bytes; less is not worth the question
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def nbytes_of(make: Callable[[], Any]) -> int:
    """Count the bytes of what a function makes, without making it."""
    leaves = jax.tree.leaves(jax.eval_shape(make))
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def allocated(
    make: Callable[[], Made], replay: Any, spec: RowSpec, room: Callable[[], int | None], parts: int = 1
) -> Made:
    """Return what ``make`` allocates.

    Args:
      make: allocates the states of some equal replays.
      replay: one of them.
      spec: its rows.
      room: how many bytes there are for all of them, over all devices; None where nobody says.
      parts: how many replays there are.

    Raises:
      OutOfMemoryError: it does not fit; says how many bytes it takes, and what would fit.
    """
    if isinstance(jnp.zeros(()), jax.core.Tracer):  # nothing is allocated yet
        return make()
    row = sum(math.prod(shape) * dtype.itemsize for shape, dtype in zip(spec.shapes, spec.dtypes, strict=True))
    large = parts * replay.capacity * row > SMALL
    if large and (there := room()) is not None and parts * _taken(replay, spec, replay.length) > there:
        raise OutOfMemoryError(_words(replay, spec, there, parts))
    try:
        return jax.block_until_ready(make()) if large else make()
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise OutOfMemoryError(_words(replay, spec, room(), parts)) from error
        raise


def room_on(devices: Collection[Any], parts: int = 1) -> int | None:
    """Return how many bytes there are for something in so many parts, each on one of the devices.

    Of an accelerator what is free counts, of a CPU all of its memory, and None stands for what nobody says.

    Args:
      devices: those of this process.
      parts: how many there are, over all processes.
    """
    stats = [device.memory_stats() or {} for device in devices]
    if all("bytes_limit" in each for each in stats):
        return parts * min(int(each["bytes_limit"] - each.get("bytes_in_use", 0)) for each in stats)
    host = _of_host() if all(device.platform == "cpu" for device in devices) else None
    return None if host is None else parts * (host // len(stats))


def fitting(replay: Any, spec: RowSpec, room: int) -> int:
    """Return a capacity of a replay, near the largest, for which ``room`` bytes are enough; 0 if there is none.

    A guess assumes bytes in proportion to rows, which leaves out what any ring takes: so each one is checked.
    """
    length: int = replay.length
    while length >= replay.view.span:
        if (need := _taken(replay, spec, length)) <= room:
            return length * int(replay.num_streams)
        length = min(length - 1, length * room // need)
    return 0


def written(nbytes: float) -> str:
    """Write a number of bytes.

    >>> written(12_288_000_000), written(70_000)
    ('12.3 GB', '70.0 kB')
    """
    units = ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while nbytes >= 1000 and len(units) > 1:
        nbytes, units = nbytes / 1000, units[1:]
    return f"{nbytes:.0f} bytes" if units[0] == "bytes" else f"{nbytes:.1f} {units[0]}"


def _taken(replay: Any, spec: RowSpec, length: int) -> int:
    return int(replace(replay, capacity=length * replay.num_streams).nbytes(row_of(spec)))


def _words(replay: Any, spec: RowSpec, room: int | None, parts: int) -> str:
    need, capacity = parts * _taken(replay, spec, replay.length), parts * replay.capacity
    said = f"capacity={capacity} takes {written(need)}, {written(need / capacity)} a row"
    ways = "or keep more by jb.Sharded or a jb.EpisodeStore: docs/many-devices.md."
    if room is None or need <= room:
        return f"{said}, more than the device has left. Choose a smaller capacity, {ways}"
    fits = parts * fitting(replay, spec, room // parts)
    there = f"{said}, and there are {written(room)}"
    if fits:
        return f"{there}: capacity={fits} would fit. Choose that, {ways}"
    streams = parts * replay.num_streams
    return f"{there}: not one window of each of {streams} streams would fit. Choose smaller rows, {ways}"


def _of_host() -> int | None:
    try:
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    for path in _LIMITS:
        try:
            most = min(most, int(Path(path).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return most
