"""How many kernels a program launches: as the profiler saw them, or else as the compiled text has them."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxbuffers.testing.compiled_text import computations

CALLS = 4
# What is no work of its own in a compiled program.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
_FREE |= {"optimization-barrier", "opt-barrier", "add-dependency", "copy-done", "async-done", "iota"}
_ENTRY = re.compile(r"^ENTRY %?([\w.\-]+)", re.MULTILINE)
_BODY = re.compile(r"body=%?([\w.\-]+)")
_TRIPS = re.compile(r'known_trip_count\\?":\{\\?"n\\?":\\?"(\d+)')
_APPLIED = re.compile(r"to_apply=%?([\w.\-]+)")
_BRANCHES = re.compile(r"(?:branch_computations=\{([^}]*)\}|(?:true|false)_computation=%?([\w.\-]+))")


@dataclass(frozen=True)
class Launches:
    """What one call launches.

    Attributes:
      count: kernels, and copies made by the device.
      microseconds: that they take altogether, each by itself; None if nobody saw them.
      how: ``"profiler"``, or ``"text"`` where the compiled program was counted.
      names: how often each was launched and its microseconds, the longest first.
    """

    count: float
    microseconds: float | None
    how: str
    names: list[tuple[str, float, float]]


def seen(call: Callable[[], Any]) -> Launches | None:
    """Profile a few calls; None if the profiler shows no device, as on a CPU."""
    with tempfile.TemporaryDirectory() as folder:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level, options.host_tracer_level = 0, 0
        jax.block_until_ready(call())
        jax.profiler.start_trace(folder, profiler_options=options)
        try:
            for _ in range(CALLS):
                jax.block_until_ready(call())
        finally:
            jax.profiler.stop_trace()
        files = [*Path(folder).rglob("*.xplane.pb")]
        return launched(jax.profiler.ProfileData.from_file(str(files[0])), CALLS) if files else None


def launched(profile: Any, calls: int) -> Launches | None:
    """Count the events on the streams of the first device that has any."""
    for plane in profile.planes:
        if not plane.name.startswith("/device:") or "CUSTOM" in plane.name:
            continue
        counts: Counter[str] = Counter()
        times: Counter[str] = Counter()
        for line in plane.lines:
            if line.name.startswith("Stream") or (line.name == "XLA Ops" and "TPU" in plane.name):
                for event in line.events:
                    counts[event.name] += 1
                    times[event.name] += event.duration_ns
        if counts:
            names = [(name, counts[name] / calls, time / calls / 1e3) for name, time in times.most_common()]
            return Launches(sum(counts.values()) / calls, sum(times.values()) / calls / 1e3, "profiler", names)
    return None


def read(text: str) -> Launches:
    """Count what a compiled program runs: fusions, copies, calls, sorts; loops as often as they go round."""
    bodies = computations(text)
    entry = _ENTRY.search(text)
    assert entry, "the compiled text has no entry"
    found = Counter(_run(bodies, entry[1]))
    return Launches(sum(found.values()), None, "text", [(name, n, 0.0) for name, n in found.most_common()])


def _run(bodies: dict[str, Any], name: str) -> Iterator[str]:
    for each in bodies.get(name, {}).values():
        if each.opcode == "while":
            body, trips = _BODY.search(each.line), _TRIPS.search(each.line)
            inside = [*_run(bodies, body[1])] if body else []
            yield from inside * (int(trips[1]) if trips else 1)
        elif each.opcode == "call" and (applied := _APPLIED.search(each.line)):
            yield from _run(bodies, applied[1])
        elif each.opcode == "conditional":
            groups = [part for match in _BRANCHES.findall(each.line) for part in ",".join(match).split(",")]
            branches = [[*_run(bodies, part.strip(" %"))] for part in groups if part.strip(" %")]
            yield from max(branches, key=len, default=[])
        elif each.opcode not in _FREE:
            yield each.opcode
