"""Interning, looking up and sweeping texts, against a NumPy object array, a Python dict and tensordict."""

import gc
import sqlite3
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tensordict import NonTensorData, NonTensorStack

import jaxbuffers as jb
from benchmarks.timing import Result, race

KINDS = ((100_000, 100, 9), (10_000, 50_000, 5))  # texts, bytes each, rounds
MARKED = 4_000_000


def run() -> Iterator[Callable[[], Result]]:
    """Yield the benchmarks, to be called one by one."""
    for number, size, rounds in KINDS:
        for peer, hold in (("NumPy object array", _array), ("Python dict", _dict)):
            yield lambda n=number, s=size, r=rounds, p=peer, h=hold: _intern(n, s, r, p, h)
        yield lambda n=number, s=size, r=rounds: _lookup(n, s, r)
        yield lambda n=number, s=size: _file(n, s)
    yield lambda: _intern(1000, 100, 5, "tensordict", _tensordict)
    yield _mark


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


def _tensordict(texts: list[str]) -> NonTensorStack:
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


def _intern(number: int, size: int, rounds: int, peer: str, hold: Callable) -> Result:
    texts = make_texts(number, size)
    held = f"{_held(_ours, number, size):,.1f} MB held, {peer} {_held(hold, number, size):,.1f}"
    name = f"intern {number:,} texts of {size:,} B, each ({held})"
    return race(name, lambda: _ours(texts), peer, lambda: hold(texts), rounds=rounds, per=number)


def _lookup(number: int, size: int, rounds: int) -> Result:
    texts = make_texts(number, size)
    (table, ids), (_, ordered, rows) = _ours(texts), _dict(texts)
    theirs = lambda: [ordered[i] for i in rows.tolist()]  # noqa: E731
    assert table.lookup(ids) == theirs()
    name = f"look up {number:,} texts of {size:,} B, each"
    return race(name, lambda: table.lookup(ids), "Python list", theirs, rounds=rounds, per=number)


def _file(number: int, size: int) -> Result:
    texts = make_texts(number, size)
    folder = Path(tempfile.mkdtemp())
    names = iter(range(1000))

    def ours() -> None:
        with jb.TextTable(folder / f"{next(names)}.jb") as table:
            table.intern(texts)

    def theirs() -> None:
        database = sqlite3.connect(folder / f"{next(names)}.sqlite", isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
        database.execute("BEGIN")
        database.executemany("INSERT OR IGNORE INTO texts (text) VALUES (?)", [(text,) for text in texts])
        database.execute("COMMIT")
        database.close()

    name = f"intern {number:,} texts of {size:,} B on disk and commit, each"
    result = race(name, ours, "SQLite, UNIQUE text", theirs, rounds=3, per=number)
    for file in folder.iterdir():
        file.unlink()
    return result


def _mark() -> Result:
    """A sweep that frees nothing: marking every id in a full ring, against Python's set."""
    replay = jb.Replay(MARKED, 16, 1, jb.Items())
    table = jb.TextTable()
    ids = table.intern([f"text {i}" for i in range(100_000)])
    rows = ids[np.random.default_rng(0).integers(0, len(ids), (MARKED // 16, 16))]
    rows.flat[: len(ids)] = ids
    state = jax.jit(replay.add, donate_argnums=0)(replay.init(jb.text), jnp.asarray(rows))

    def ours() -> None:
        assert table.sweep(state) == 0

    def theirs() -> Any:
        return set(ids.tolist()) - set(rows.ravel().tolist())

    return race(f"mark {MARKED:,} ids, 100,000 texts", ours, "Python set", theirs, rounds=9)
