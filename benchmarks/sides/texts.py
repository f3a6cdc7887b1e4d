"""Interning, looking up and sweeping texts, against a NumPy object array, a Python dict and tensordict."""

import gc
import sqlite3
import tempfile
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.same import require


def make_texts(number: int, size: int) -> list[str]:
    """Make texts of ``size`` bytes, one in five of them a repetition of another; new objects each time."""
    order = np.random.default_rng(0).permutation(np.arange(number) % (number * 4 // 5))
    return [f"{i:08d} " + "page text " * (size // 10 - 1) + " " for i in order.tolist()]


def _ours(texts: list[str]) -> tuple[jb.TextTable, np.ndarray]:
    table = jb.TextTable()
    return table, table.intern(texts)


def _array(texts: list[str]) -> np.ndarray:
    return np.array(texts, dtype=object)


def _dict(texts: list[str]) -> tuple[dict, list, np.ndarray]:
    ids: dict[str, int] = {}
    ordered: list[str] = []
    rows = np.empty(len(texts), np.int32)
    for row, text in enumerate(texts):
        i = ids.get(text)
        if i is None:
            i = ids[text] = len(ordered)
            ordered.append(text)
        rows[row] = i
    return ids, ordered, rows


def _tensordict(texts: list[str]) -> Any:
    from tensordict import NonTensorData, NonTensorStack

    return NonTensorStack(*[NonTensorData(text) for text in texts])


def _held(hold: Callable, number: int, size: int) -> float:
    """Megabytes that remain once the texts were handed over."""
    gc.collect()
    tracemalloc.start()
    texts = make_texts(number, size)
    kept = hold(texts)
    del texts
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return held / 1e6


def intern(number: int, size: int, peer: str) -> Contest:
    """Hand texts over; the note is the memory that is held afterwards."""
    hold, back = _PEERS[peer]

    def side(hold: Callable, back: Callable) -> Side:
        texts = make_texts(number, size)
        return Side(lambda: hold(texts), back(hold(texts)), note=f"{_held(hold, number, size):,.1f} MB")

    return Contest(partial(side, _ours, lambda kept: kept[0].lookup(kept[1])), partial(side, hold, back),
                   partial(_same, number, size), number)  # fmt: skip


def lookup(number: int, size: int) -> Contest:
    """Return the texts of all rows."""

    def ours() -> Side:
        table, ids = _ours(make_texts(number, size))
        return Side(lambda: table.lookup(ids), table.lookup(ids))

    def theirs() -> Side:
        _, ordered, rows = _dict(make_texts(number, size))
        run = lambda: [ordered[i] for i in rows.tolist()]  # noqa: E731
        return Side(run, run())

    return Contest(ours, theirs, partial(_same, number, size), number)


def file(number: int, size: int) -> Contest:
    """Intern into a new file, and commit."""
    folder = tempfile.TemporaryDirectory(prefix="jaxbuffers-texts-")
    names, texts = iter(range(1000)), make_texts(number, size)

    def ours() -> Side:
        def run() -> None:
            with jb.TextTable(Path(folder.name) / f"{next(names)}.jb") as table:
                table.intern(texts)

        run()
        with jb.TextTable(Path(folder.name) / "0.jb") as table:
            return Side(run, table.lookup(table.intern(texts[:100])))

    def theirs() -> Side:
        def run() -> Path:
            path = Path(folder.name) / f"{next(names)}.sqlite"
            database = sqlite3.connect(path, isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
            database.execute("BEGIN")
            database.executemany("INSERT OR IGNORE INTO texts (text) VALUES (?)", [(text,) for text in texts])
            database.execute("COMMIT")
            database.close()
            return path

        found = {text for (text,) in sqlite3.connect(run()).execute("SELECT text FROM texts")}
        return Side(run, [text for text in texts[:100] if text in found], folder.cleanup)

    def same(ours: list[str], theirs: list[str]) -> None:
        require(ours == texts[:100], "jaxbuffers", "other texts")
        require(theirs == texts[:100], "SQLite", "other texts")

    return Contest(ours, theirs, same, number)


def mark(marked: int) -> Contest:
    """A sweep that frees nothing: marking every id in a full ring, against Python's set."""
    texts = marked // 40
    chosen = np.random.default_rng(0).integers(0, texts, (marked // 16, 16))
    chosen.flat[:texts] = np.arange(texts)

    def ours() -> Side:
        replay, table = jb.Replay(marked, 16, 1, jb.Items()), jb.TextTable()
        ids = table.intern([f"text {i}" for i in range(texts)])
        state = jax.jit(replay.add, donate_argnums=0)(replay.init(jb.text), jnp.asarray(ids[chosen]))
        return Side(lambda: table.sweep(state), table.sweep(state))

    def theirs() -> Side:
        ids = list(range(texts))
        run = lambda: set(ids) - set(chosen.ravel().tolist())  # noqa: E731
        return Side(run, len(run()))

    def same(ours: int, theirs: int) -> None:
        require(ours == 0, "jaxbuffers", "texts freed that are in use")
        require(theirs == 0, "Python set", "texts freed that are in use")

    return Contest(ours, theirs, same)


def _same(number: int, size: int, ours: list[str], theirs: list[str]) -> None:
    texts = make_texts(number, size)
    require(list(ours) == texts, "jaxbuffers", "other texts")
    require(list(theirs) == texts, "the peer", "other texts")


_PEERS: dict[str, tuple[Callable, Callable]] = {
    "NumPy object array": (_array, list),
    "Python dict": (_dict, lambda kept: [kept[1][i] for i in kept[2].tolist()]),
    "tensordict": (_tensordict, lambda kept: kept.tolist()),
}
