"""What was seen, before anybody decides how it is shown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Progress = Callable[[Iterable[T], str, int], Iterator[T]]
BINS = 16
EXACT = 2.0**50  # whole numbers up to here have neighbors half way, in floats


@dataclass(frozen=True)
class Table:
    """Rows of words, the first of them the names of the columns."""

    title: str
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Histogram:
    """How many values lie between each two of some edges.

    Attributes:
      title: what is counted.
      edges: float ``[n + 1]``.
      counts: int ``[n]``.
      note: what is not among them.
      whole: whether the values are whole numbers, and the edges lie half way between such.
    """

    title: str
    edges: np.ndarray
    counts: np.ndarray
    note: str = ""
    whole: bool = False

    @classmethod
    def of(cls, title: str, values: Any) -> "Histogram | None":
        """Count the finite values; None where there are none."""
        array = np.ma.masked_invalid(np.ma.asarray(values).astype(np.float64)).compressed()
        if not len(array):
            return None
        low, high = float(array.min()), float(array.max())
        whole = bool((array == np.round(array)).all()) and max(-low, high) < EXACT
        if whole:  # bins of so many whole numbers each
            step = max(int(np.ceil((high - low + 1) / BINS)), 1)
            edges = np.arange(low - 0.5, high + step, step)
        elif low == high:
            edges = np.array([low, high])
        else:
            part = np.linspace(0, 1, BINS + 1)
            edges = np.maximum.accumulate(np.clip(low * (1 - part) + high * part, low, high))
        missing = len(values) - len(array)
        note = f"{missing} of {len(values)} without a value" if missing else ""
        return cls(title, edges, np.histogram(array, edges)[0], note, whole)

    def labels(self) -> list[str]:
        """Return what lies in each bin, in words."""
        step = self.edges[1] - self.edges[0]
        if self.edges[0] == self.edges[-1]:
            return [f"{self.edges[0]:.4g}"]
        if self.whole:
            first = [f"{edge + 0.5:.0f}" for edge in self.edges[:-1]]
            return first if step == 1 else [f"{x} to {float(x) + step - 1:.0f}" for x in first]
        return [f"{low:.4g} to {high:.4g}" for low, high in pairwise(self.edges)]


@dataclass(frozen=True)
class Strip:
    """Frames of one episode.

    Attributes:
      title: which field of which episode.
      frames: uint8 ``[n, H, W, 3]``.
      captions: one for each frame.
    """

    title: str
    frames: np.ndarray
    captions: list[str]


@dataclass
class Report:
    """All that was seen.

    Attributes:
      title: what it is, and where.
      facts: names and values.
      tables: further tables.
      histograms: of what is known of the episodes.
      strips: pictures.
      texts: some of the texts, each with where it is.
      warnings: what is not in order.
    """

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def size_of(count: float) -> str:
    """Return a number of bytes in words.

    >>> size_of(512), size_of(123456)
    ('512 B', '123 kB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 9.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def age_of(seconds: float) -> str:
    """Return a span of time in words.

    >>> age_of(90), age_of(7200), age_of(259200)
    ('90 s', '2.0 hours', '3.0 days')
    """
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
