"""What there is to see of an episode store."""

import os
import time
from typing import Any

import numpy as np

from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.errors import DamagedError, UnknownEpisodeError
from jaxbuffers.inspecting.frames import as_pictures, is_picture
from jaxbuffers.inspecting.report import Histogram, Progress, Report, Strip, Table, age_of, size_of
from jaxbuffers.row import RowSpec, paths_of

SAMPLE = 64  # episodes whose values are looked at, if not all
FRAMES = 10
OWN = ("id", "length", "stream", "return", "ending", "time", "segment", "offset")


def look_at_store(store: EpisodeStore, everything: bool, progress: Progress) -> Report:
    """Look at a store; ``everything`` reads all of its rows, and so checks them."""
    columns, count = store.metadata, len(store)
    report = Report(f"Episode store {store.path or 'in memory'}")
    report.facts += [("episodes", f"{count:,}"), ("rows", f"{store.rows:,}")]
    if store.path is not None:
        report.facts.append(("on disk", size_of(_bytes_in(store.path))))
    report.facts.append(("texts", f"{len(store.texts):,} ({size_of(store.texts.nbytes)})"))
    if not count:
        return report
    report.facts += _facts(columns)
    report.tables.append(_endings(columns))
    _histograms(report, columns)
    spec = store.spec
    assert spec is not None
    seen = _values(report, store, spec, columns, everything, progress)
    report.tables.append(_fields(spec, store.rows, seen))
    if others := [name for name in columns if name not in OWN]:
        rows = [(name, _kind(columns[name]), _summary(columns[name])) for name in others]
        report.tables.append(Table("Columns of your own", [("name", "type", "values"), *rows]))
    for number, why in _shown(columns).items():
        _show(report, store, spec, number, why)
    return report


def _facts(columns: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    length, now, when = columns["length"], time.time(), columns["time"]
    facts = [("rows of an episode", f"{length.min():,} to {length.max():,}, mean {length.mean():,.1f}")]
    returns = columns["return"]
    known = returns[np.isfinite(returns)]
    if len(known):
        facts.append(("return", f"{known.min():.4g} to {known.max():.4g}, mean {known.mean():.4g}"))
    facts.append(("age", f"newest {age_of(now - when.max())}, oldest {age_of(now - when.min())}"))
    streams = np.unique(columns["stream"])
    if len(streams) > 1 or streams[0] != -1:
        facts.append(("streams", f"{len(streams):,}"))
    return facts


def _endings(columns: dict[str, np.ndarray]) -> Table:
    names, counts = np.unique(columns["ending"].astype(str), return_counts=True)
    shares = [(name, f"{n:,}", f"{n / counts.sum():.1%}") for name, n in zip(names, counts.tolist(), strict=True)]
    return Table("Endings", [("ending", "episodes", "share"), *shares])


def _histograms(report: Report, columns: dict[str, np.ndarray]) -> None:
    age = time.time() - columns["time"]
    units = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    unit, size = next((each for each in units if age.max() >= 2 * each[1]), units[-1])
    found = [
        Histogram.of("return", columns["return"]),
        Histogram.of("rows of an episode", columns["length"]),
        Histogram.of(f"age in {unit}", age / size),
        *(Histogram.of(name, x) for name, x in columns.items() if name not in OWN and x.dtype.kind in "if"),
    ]
    report.histograms += [each for each in found if each is not None]


def _values(
    report: Report, store: EpisodeStore, spec: RowSpec, columns: Any, everything: bool, progress: Progress
) -> dict[int, list[Any]]:
    """Return for each leaf its least and greatest value and how many are not finite."""
    ids, some = columns["id"], len(columns["id"])
    if not everything and some > SAMPLE:
        ids, some = ids[np.linspace(0, len(ids) - 1, SAMPLE).astype(int)], SAMPLE
    report.facts.append(("values looked at", f"of {some:,} of {len(columns['id']):,} episodes"))
    seen: dict[int, list[Any]] = {}
    for number in progress(ids.tolist(), "reading episodes", some):
        rows = _rows(report, store, number)
        if rows is None:
            continue
        for i, leaf in enumerate(paths_of(rows).values()):
            if spec.paths[i] in spec.texts or leaf.dtype.kind == "c":
                continue
            numbers = leaf if leaf.dtype.kind in "biuf" else leaf.astype(np.float32)  # bfloat16 and narrower
            finite = numbers[np.isfinite(numbers)] if numbers.dtype.kind == "f" else numbers
            low, high = (finite.min(), finite.max()) if finite.size else (np.inf, -np.inf)
            one = seen.setdefault(i, [low, high, 0])
            one[0], one[1], one[2] = min(one[0], low), max(one[1], high), one[2] + numbers.size - finite.size
    return seen


def _fields(spec: RowSpec, count: int, seen: dict[int, list[Any]]) -> Table:
    rows: list[tuple[str, ...]] = [("field", "dtype", "shape", "bytes", "values")]
    for i, (path, dtype, shape) in enumerate(zip(spec.paths, spec.dtypes, spec.shapes, strict=True)):
        size = dtype.itemsize * int(np.prod(shape)) * count
        values = ""
        if i in seen:
            low, high, odd = seen[i]
            told = [f"{_short(low)} to {_short(high)}"] if low <= high else []
            values = ", ".join(told + [f"{odd:,} not finite"] * (odd > 0))
        kind = "text" if path in spec.texts else dtype.name
        rows.append((".".join(path) or "(the row)", kind, str(list(shape)), size_of(size), values))
    return Table("Fields of a row", rows)


def _shown(columns: dict[str, np.ndarray]) -> dict[int, str]:
    """Choose episodes to show, and say why: the newest one, and those of the highest and the lowest return."""
    ids, returns = columns["id"], columns["return"]
    chosen = [("newest", -1)]
    if np.isfinite(returns).any():
        chosen += [("highest return", int(np.nanargmax(returns))), ("lowest return", int(np.nanargmin(returns)))]
    shown: dict[int, str] = {}
    for why, at in chosen:
        number = int(ids[at])
        shown[number] = f"{shown[number]}, {why}" if number in shown else why
    return shown


def _rows(report: Report, store: EpisodeStore, number: int) -> Any:
    """Return the rows of an episode; None, with a warning, where they are damaged, or were let go meanwhile."""
    try:
        return store[number].rows
    except DamagedError as error:
        if str(error) not in report.warnings:
            report.warnings.append(str(error))
    except UnknownEpisodeError:
        gone = ("left the store meanwhile", f"episode {number}")
        if gone not in report.facts:
            report.facts.append(gone)
    return None


def _show(report: Report, store: EpisodeStore, spec: RowSpec, number: int, why: str) -> None:
    """Show frames and texts of an episode."""
    rows = _rows(report, store, number)
    if rows is None:
        return
    for i, leaf in enumerate(paths_of(rows).values()):
        name = ".".join(spec.paths[i]) or "row"
        if is_picture(spec.shapes[i], spec.dtypes[i]) and spec.paths[i] not in spec.texts:
            at = np.unique(np.linspace(0, len(leaf) - 1, FRAMES).astype(int))
            captions = [f"row {t}" for t in at.tolist()]
            report.strips.append(Strip(f"{name}, episode {number} ({why})", as_pictures(leaf[at]), captions))
        elif spec.paths[i] in spec.texts:
            for t in sorted({0, len(leaf) - 1}):
                words = store.texts.lookup(leaf[t])
                for one in [words] if isinstance(words, str | None) else words:
                    if one is not None:
                        report.texts.append((f"{name}, episode {number} ({why}), row {t}", one))


def _kind(column: np.ndarray) -> str:
    return {"i": "int", "f": "float", "b": "bool", "O": "str"}[column.dtype.kind]


def _summary(column: np.ndarray) -> str:
    missing = int(np.ma.getmaskarray(column).sum()) if isinstance(column, np.ma.MaskedArray) else 0
    if column.dtype.kind == "O":
        known = [x for x in column.tolist() if x is not None]
        missing, few = len(column) - len(known), sorted(set(known))
        told = ", ".join(map(repr, few[:4])) + (f", and {len(few) - 4} more" if len(few) > 4 else "")
    elif column.dtype.kind == "b":
        told = f"{int(column.sum()):,} True" if missing < len(column) else ""
    else:
        finite = np.ma.masked_invalid(column).compressed()
        missing = len(column) - len(finite)
        told = f"{_short(finite.min())} to {_short(finite.max())}" if len(finite) else ""
    return "; ".join(part for part in (told, f"{missing:,} without" if missing else "") if part)


def _short(x: Any) -> str:
    return str(bool(x)) if isinstance(x, np.bool_) else f"{x:.4g}" if isinstance(x, float | np.floating) else f"{x}"


def _bytes_in(path: str) -> int:
    """Count the bytes that files take, not the room that they have asked for."""
    total = 0.0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                found = os.stat(os.path.join(folder, name))
            except FileNotFoundError:  # another process has compacted the store
                continue
            total += getattr(found, "st_blocks", found.st_size / 512) * 512
    return int(total)
