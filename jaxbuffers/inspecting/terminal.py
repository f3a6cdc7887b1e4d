"""A report on the terminal: with rich where it is installed, in plain text where it is not."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar
from unicodedata import category

import numpy as np

from jaxbuffers.inspecting.report import Histogram, Report, Strip, Table

T = TypeVar("T")
BAR, WIDE = 40, 20  # characters of the longest bar, and of a picture in a strip
LONG = 200  # characters of a text


def progress(items: Iterable[T], what: str, count: int) -> Iterator[T]:
    """Go through items under a progress bar, on the error stream of a terminal; silently where it is none."""
    if not sys.stderr.isatty():
        yield from items
        return
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        for i, item in enumerate(items, 1):
            print(f"\r{what}: {i} of {count}", end="" if i < count else "\n", file=sys.stderr)
            yield item
        return
    yield from track(items, what, total=count, console=Console(stderr=True), transient=True)


def show(report: Report, console: Any = None) -> None:
    """Print a report."""
    if console is None:
        try:
            from rich.console import Console
        except ImportError:
            print("\n".join(map(visible, plain(report))))
            return
        console = Console()
    _rich(report, console)


def plain(report: Report) -> Iterator[str]:
    """Return a report as lines; pictures as what they are called."""
    yield report.title
    for warning in report.warnings:
        yield f"WARNING: {warning}"
    yield from _aligned([(name, value.replace("\n", "; ")) for name, value in report.facts])
    for table in report.tables:
        yield from ("", table.title, *_aligned(table.rows))
    for histogram in report.histograms:
        yield from ("", histogram.title, *(f"  {label}  {bar} {count}" for label, bar, count in bars(histogram)))
        if histogram.note:
            yield f"  {histogram.note}"
    for where, text in report.texts:
        yield from ("", where, f"  {shortened(text)}")
    for strip in report.strips:
        yield from ("", f"{strip.title}: {len(strip.frames)} pictures (--html shows them)")


def bars(histogram: Histogram) -> list[tuple[str, str, str]]:
    """Return for each bin its edges, a bar and its count."""
    labels, counts = histogram.labels(), histogram.counts
    wide, most = max(map(len, labels)), max(int(counts.max()), 1)
    return [
        (label.rjust(wide), "█" * max(round(BAR * n / most), int(n > 0)), f"{n:,}")
        for label, n in zip(labels, counts.tolist(), strict=True)
    ]


def shortened(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return visible(line) if len(line) <= LONG else f"{visible(line[:LONG])} ... ({len(text):,} characters)"


def visible(text: str) -> str:
    """Return a text without characters that a terminal takes for commands, or cannot be told."""
    return "".join(c if c == "\n" or category(c) not in ("Cc", "Cs") else "\N{REPLACEMENT CHARACTER}" for c in text)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip() for row in rows]


def _rich(report: Report, console: Any) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    console.rule(Text(visible(report.title), style="bold"), align="left")
    for warning in report.warnings:
        console.print(Text(visible(f"warning: {warning}"), style="bold red"))
    facts = Grid.grid(padding=(0, 2))
    for name, value in report.facts:
        facts.add_row(Text(visible(name), style="cyan"), Text(visible(value)))
    console.print(facts)
    for table in report.tables:
        console.print(_grid(table, Grid, Text))
    for histogram in report.histograms:
        console.print(Text(f"\n{histogram.title}", style="bold"))
        for label, bar, count in bars(histogram):
            console.print(Text.assemble((label, "cyan"), "  ", (bar, "green"), " ", count))
        if histogram.note:
            console.print(Text(histogram.note, style="dim"))
    for where, text in report.texts:
        console.print(Text.assemble(("\n" + visible(where), "cyan"), "\n", shortened(text)))
    for strip in report.strips:
        console.print(Text(visible(f"\n{strip.title}"), style="bold"))
        for line in _strip(strip, console.width, Text):
            console.print(line, no_wrap=True, crop=True)


def _grid(table: Table, grid: Any, text: Any) -> Any:
    made = grid(title=table.title, title_justify="left", title_style="bold")
    for name in table.rows[0]:
        made.add_column(name)
    for row in table.rows[1:]:
        made.add_row(*(text(visible(cell)) for cell in row))
    return made


def _strip(strip: Strip, width: int, text: Any) -> Iterator[Any]:
    """Return lines of half blocks, each two pixels above one another, as many frames as there is room for."""
    frames = strip.frames[: max(width // (WIDE + 1), 1)]
    height = max(2, round(WIDE * frames.shape[1] / frames.shape[2]) // 2 * 2)
    rows, columns = (np.arange(n) * size // n for n, size in ((height, frames.shape[1]), (WIDE, frames.shape[2])))
    small = frames[:, rows][:, :, columns]
    for y in range(0, height, 2):
        line = text()
        for frame in small:
            for upper, lower in zip(frame[y].tolist(), frame[y + 1].tolist(), strict=True):
                line.append("▀", style=f"rgb({','.join(map(str, upper))}) on rgb({','.join(map(str, lower))})")
            line.append(" ")
        yield line
    yield text(" ".join(caption.ljust(WIDE)[:WIDE] for caption in strip.captions[: len(frames)]), style="dim")
