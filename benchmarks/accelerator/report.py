"""The table, as text and as JSON."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.accelerator.measure import Row

COLUMNS = ("rows", "what", "side", "in a loop, us", "called, us", "kernels", "their us", "MB moved", "GB/s",
           "of copy", "peer by ours", "in place")  # fmt: skip
SLOWER, MORE_KERNELS = 1.2, 1.5  # at most: 1e7 rows by 1e5, our kernels by the peer's


def write(folder: Path, about: dict[str, Any], rows: list[Row]) -> str:
    """Write ``table.txt``, ``kernels.txt`` and ``results.json``; return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    text = table(about, rows)
    (folder / "table.txt").write_text(text)
    (folder / "results.json").write_text(json.dumps(about | {"results": [row.json() for row in rows]}, indent=1))
    lines = []
    for row in rows:
        lines.append(f"{row.kind}, {row.rows:,} rows, {row.verb}, {row.side} (by the {row.kernels_how}):")
        lines += [f"  {count:8.2f} x  {us:10.2f} us  {name[:150]}" for name, count, us in row.names]
    (folder / "kernels.txt").write_text("\n".join(lines) + "\n")
    return text


def table(about: dict[str, Any], rows: list[Row]) -> str:
    """Return the table and the goals beneath it."""
    copy = about["copy"]["copy"]
    console = Console(width=190, record=True, file=io.StringIO())
    console.print(_head(about), highlight=False, markup=False)
    for kind in dict.fromkeys(row.kind for row in rows):
        shown = Table(*COLUMNS, title=kind, title_justify="left")
        for column in shown.columns[3:11]:
            column.justify = "right"
        for row in (row for row in rows if row.kind == kind):
            shown.add_row(*_cells(row, copy))
        console.print(shown, markup=False)
    console.print("\n".join(goals(rows, copy)), highlight=False, markup=False)
    return console.export_text()


def _head(about: dict[str, Any]) -> str:
    copy, least = about["copy"], about["least"]
    return (
        f"{about['device']} ({about['platform']}), backend {about['backend']}, jax {about['jax']}, "
        f"{about['cores']} cores\n"
        f"A copy of {copy['bytes'] / 1e9:.2f} GB on the device moves {copy['memcpy'] / 1e9:,.0f} GB/s, read and "
        f"written; a kernel in place {copy['kernel'] / 1e9:,.0f};\nthe better is the copy bandwidth below.\n"
        f"The least step, one tiny kernel: {least['in a loop']:.2f} us in a loop, {least['call']:.1f} us called from "
        "Python.\n"
        "Times are medians of a step; in a loop: jitted, donated, every output written in every step. Kernels are\n"
        "those of one call, as the profiler saw them launched (with their own time), or where it saw none (t) as the\n"
        "compiled text has them. Moved: bytes that must be read and written at the very least, by the loop's time."
    )


def _cells(row: Row, copy: float) -> list[str]:
    if row.error:
        return [f"{row.rows:,}", row.verb, row.side, *[""] * 8, row.error]
    spread = "" if row.loop_us is None else f"{figure(row.loop_us)} ({figure(row.loop_low)} to {figure(row.loop_high)})"
    speed = _speed(row)
    share = "" if speed is None else f"{speed / copy:.1%}"
    if row.goal is not None and speed is not None:
        share += f" of {row.goal:.0%}"
    mark = "" if row.kernels_how == "profiler" else " t" if row.kernels_how == "text" else " t!"
    return [
        f"{row.rows:,}", row.verb, row.side, spread, figure(row.call_us),
        "" if row.kernels is None else f"{row.kernels:.4g}{mark}", figure(row.kernels_us),
        f"{row.moved / 1e6:,.3f}" if row.moved else "", "" if speed is None else f"{speed / 1e9:,.4g}", share,
        "" if row.ratio is None or row.side != "jaxbuffers" else f"{row.ratio:.2f}", row.in_place[:160],
    ]  # fmt: skip


def _speed(row: Row) -> float | None:
    """Bytes a second."""
    return row.moved / row.loop_us * 1e6 if row.moved and row.loop_us else None


def figure(number: float | None) -> str:
    """Show three digits, or all of a large number."""
    return "" if number is None else f"{number:,.0f}" if number >= 100 else f"{number:#.3g}"


def goals(rows: list[Row], copy: float) -> list[str]:
    """Say of each goal whether it is reached."""
    good = [row for row in rows if not row.error and row.loop_us]
    found = []
    for row in good:
        if row.goal is not None and (speed := _speed(row)) is not None:
            share = speed / copy
            said = f"{share:.0%} of the copy bandwidth; goal {row.goal:.0%}{_said(share >= row.goal)}"
            found.append(f"images, {row.rows:,} rows, {row.verb}: {said}")
    for row in good:
        peers = [each for each in good if (each.kind, each.rows, each.verb) == (row.kind, row.rows, row.verb)]
        for peer in peers:
            if row.side == "jaxbuffers" and peer.side == "flashbax":
                more, faster = (row.kernels or 0) / (peer.kernels or 1), row.ratio or 0
                found.append(
                    f"{row.kind}, {row.rows:,} rows, {row.verb}: {more:.2f} x flashbax's kernels; goal {MORE_KERNELS}"
                    f"{_said(more <= MORE_KERNELS)}; {faster:.2f} times as fast; goal 1{_said(faster > 1)}"
                )
    ours = {(row.kind, row.verb, row.rows): row.loop_us for row in good if row.side == "jaxbuffers" and row.loop_us}
    sizes = sorted({rows for _, _, rows in ours})
    for kind, verb in dict.fromkeys((kind, verb) for kind, verb, _ in ours):
        times = {rows: ours[kind, verb, rows] for rows in sizes if (kind, verb, rows) in ours}
        small = min((rows for rows in times if rows >= 99_000), default=min(times))
        if (large := max(times)) != small:
            ratio = times[large] / times[small]
            goal = f"; goal {SLOWER}{_said(ratio <= SLOWER)}" if kind != "images" else ""
            found.append(f"{kind}, {verb}: {large:,} rows take {ratio:.2f} x the time of {small:,}{goal}")
    return found or ["nothing was measured that has a goal"]


def _said(reached: bool) -> str:
    return " (reached)" if reached else " (NOT reached)"
