"""Measure the groups: compile all that a kind needs at once, then fill, look, count and time, a group at a time."""

import gc
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import jax

from benchmarks.accelerator import kernels
from benchmarks.accelerator.cases import Group, Side
from benchmarks.accelerator.programs import Programs, Running, timed_in_turns


@dataclass
class Row:
    """One line of the table: one verb of one side at one size. Times are microseconds of a step."""

    kind: str
    rows: int
    verb: str
    side: str
    loop_us: float | None = None
    loop_low: float | None = None
    loop_high: float | None = None
    call_us: float | None = None
    kernels: float | None = None
    kernels_us: float | None = None
    kernels_how: str = ""
    kernels_text: float | None = None
    moved: int = 0
    in_place: str = ""
    ratio: float | None = None  # the peer's time by ours, round by round
    goal: float | None = None
    compiled_s: float | None = None
    error: str = ""
    names: list = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return asdict(self)


@dataclass
class Settings:
    """How long to take."""

    deadline: float  # of `time.monotonic`
    loops: float = 0.25  # seconds for the loops of one verb
    calls: float = 0.15
    threads: int = min(os.cpu_count() or 1, 12)
    profiling: float = 60.0  # seconds for the profiler, altogether; after that the compiled text is counted
    keep: Callable[[str, str], None] = lambda name, text: None  # the compiled texts


def measured(groups: list[Group], settings: Settings, say: Callable[[str], None]) -> Iterator[Row]:
    """Yield the rows of groups of one kind."""
    began = time.monotonic()
    with ThreadPoolExecutor(settings.threads) as pool:
        compiling: dict[tuple[int, int, int | None], Future[Any]] = {}
        for g, group in enumerate(groups):
            for s, side in enumerate(group.sides):
                compiling[g, s, None] = pool.submit(_filling, side)
                for c, case in enumerate(side.cases):
                    compiling[g, s, c] = pool.submit(Programs.of, side, case)
        made = {}
        for i, (where, future) in enumerate(compiling.items()):
            try:
                made[where] = future.result()
            except Exception as error:
                made[where] = error
            say(f"compiling, {i + 1} of {len(compiling)}")
    say(f"compiled {len(made)} programs in {time.monotonic() - began:.0f} s")
    for g, group in enumerate(groups):
        own = {where[1:]: each for where, each in made.items() if where[0] == g}
        if time.monotonic() > settings.deadline:
            yield Row(group.kind, group.rows, "", "", error="no time left")
            continue
        if group.note:
            yield Row(group.kind, group.rows, "", "", error=group.note)
        say(f"measuring at {group.rows:,} rows")
        yield from _group(group, own, settings, say)
        gc.collect()


def _filling(side: Side) -> Any:
    return jax.jit(side.fill, donate_argnums=0).lower(jax.eval_shape(side.init)).compile()


def _group(group: Group, made: dict, settings: Settings, say: Callable[[str], None]) -> list[Row]:
    rows: dict[tuple, Row] = {}
    running: dict[tuple, Running] = {}
    states: list[list[Any]] = []
    for s, side in enumerate(group.sides):
        states.append([])
        error = _tried(lambda s, side: states[s].append(_state(side, made[s, None])), s, side)
        for c, case in enumerate(side.cases):
            row = rows[s, c] = Row(group.kind, group.rows, case.verb, side.name, moved=case.moved, goal=case.goal)
            row.error = error or ""
            if not error:
                row.error = _tried(lambda s, c: running.update({(s, c): _running(made[s, c], states[s])}), s, c) or ""
            if (s, c) in running:
                row.compiled_s = running[s, c].programs.seconds
                row.error = _tried(_look, running[s, c], row, settings) or ""
    verbs = dict.fromkeys(rows[where].verb for where in running)
    for verb in verbs:
        sides = [where for where in running if rows[where].verb == verb and not rows[where].error]
        say(f"timing {verb} at {group.rows:,} rows")
        error = _tried(_time, [rows[w] for w in sides], [running[w] for w in sides], settings)
        for where in sides if error else ():
            rows[where].error = error or ""
    for s, side in enumerate(group.sides):
        if side.check and states[s] and (error := _tried(side.check, states[s][0])):
            rows[-1 - s, 0] = Row(group.kind, group.rows, "what it holds", side.name, error=error)
    return list(rows.values())


def _state(side: Side, fill: Any) -> Any:
    if isinstance(fill, Exception):
        raise fill
    return jax.block_until_ready(fill(side.init()))


def _running(made: Any, held: list[Any]) -> Running:
    if isinstance(made, Exception):
        raise made
    return Running(made, held)


def _look(running: Running, row: Row, settings: Settings) -> None:
    """Look at the programs and at the memory; count kernels. What cannot be read costs no timing."""
    text = running.programs.single.as_text()
    settings.keep(f"{row.kind}-{row.rows}-{row.verb}-{row.side}".replace(" ", "_"), text)
    faults = [f"moved {path}" for path in running.moved()]
    if error := _tried(lambda: faults.extend(running.programs.copies())):
        faults.append(f"the compiled text cannot be read: {error}")
    row.in_place = "; ".join(faults) if faults else "yes" if running.programs.case.changes else "no copy"
    counted: list[kernels.Launches] = []
    how = _tried(lambda: counted.append(kernels.read(text)))
    row.kernels_text = counted[0].count if counted else None
    if settings.profiling > 0:
        began = time.monotonic()
        failed = _tried(lambda: counted.extend(filter(None, [kernels.seen(running.single)])))
        how = f"profiler failed: {failed}" if failed else how
        settings.profiling -= time.monotonic() - began
    if counted:
        row.kernels, row.kernels_us, row.names = counted[-1].count, counted[-1].microseconds, counted[-1].names
    row.kernels_how = how or counted[-1].how


def _time(rows: list[Row], running: list[Running], settings: Settings) -> None:
    """Time the loops of all sides in turns, then single calls."""
    if not rows:
        return
    loops = timed_in_turns([each.loop for each in running], settings.loops, 3, 31)
    calls = timed_in_turns([each.single for each in running], settings.calls, 3, 201)
    for row, each, loop, call in zip(rows, running, loops, calls, strict=True):
        steps = each.programs.case.steps
        row.loop_low, row.loop_us, row.loop_high = (
            x / steps * 1e6 for x in statistics.quantiles(loop, n=4, method="inclusive")
        )
        row.call_us = statistics.median(call) * 1e6
        if loop is not loops[0]:
            row.ratio = rows[0].ratio = statistics.median(b / a for a, b in zip(loops[0], loop, strict=True))


def _tried(action: Callable[..., Any], *args: Any) -> str | None:
    """Do it, or return what went wrong, in a line."""
    try:
        action(*args)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{text[:300]} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"
    return None
