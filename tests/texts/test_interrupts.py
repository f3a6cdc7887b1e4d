"""Ctrl-C at any line: the table goes on, with every text that it had, and the file is right."""

import linecache
import sys

import numpy as np
import pytest
from tier import budget

import jaxbuffers as jb
from jaxbuffers.texts import table as tables


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line of this package inside ``with``; says whether there was one."""

    def __init__(self, number):
        self.left, self.came = number, False

    def trace(self, frame, event, _):
        if "jaxbuffers/texts" not in frame.f_code.co_filename.replace("\\", "/"):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if event == "line" and not line.startswith("with "):  # Python raises no signal before a block lets go
            self.left -= 1
            if self.left == 0:
                self.came = True
                raise KeyboardInterrupt
        return self.trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, kind, *_):
        sys.settrace(self.before)
        return kind is KeyboardInterrupt


def interrupted(work, step):
    """Call a function with an interrupt at its first line, and so on, a few lines later each time; yield after each."""
    for number in range(1, 10_000, step):
        with Interrupt(number) as interrupt:
            work(number)
        if not interrupt.came:
            return
        yield number
    raise AssertionError("it never ended without an interrupt")


@pytest.fixture(autouse=True)
def ids_for_states(monkeypatch):
    """A sweep is given live ids instead of states: JAX is not at stake here."""
    monkeypatch.setattr(tables, "references", lambda ids, *_: (np.asarray(ids, np.int64), np.zeros(0, np.int64)))


def quick(path):
    """Open a table that does not wait for the disk."""
    table = jb.TextTable(path, cache_bytes=200)
    if path is not None:
        table._store._file.database.execute("PRAGMA synchronous = OFF")
    return table


@pytest.mark.parametrize("in_file", [False, True], ids=["memory", "file"])
def test_an_interrupt_anywhere(tmp_path, opened, in_file):
    path = tmp_path / "t.db" if in_file else None
    table = quick(path)
    tokens = jb.Tokens(table, lambda text: [ord(x) for x in text], 20, cache_tokens=30)
    kept = {}

    def work(n):
        """Every kind of step, each with texts of its own; what has come back is kept."""
        new = [f"{n} {i}" for i in range(2)]
        some = table.intern(new)
        kept.update(zip(some.tolist(), new, strict=True))
        table.commit()
        for i in list(kept)[:-4]:
            del kept[i]
        table.intern(f"{n} goes, committed")
        table.commit()
        table.intern(f"{n} goes")
        table.sweep(list(kept))
        table.lookup(list(kept))
        tokens(list(kept))
        table.purge()

    def whole():
        assert table.lookup(list(kept)) == list(kept.values())
        assert set(kept) <= set(table.ids().tolist())
        assert (table.intern(list(kept.values())) == list(kept)).all()
        assert tokens(list(kept)).mask.sum() == sum(map(len, kept.values()))

    for number in interrupted(work, budget(7, 1) + in_file):
        whole()
        table.sweep(list(kept))
        table.purge()
        table.commit()
        assert len(table) == len(kept)
        if number % 20 == 1 and in_file:
            table.close()
            table = quick(path)
            tokens.table = table
            whole()
    table.sweep(list(kept))
    table.purge()
    assert sorted(table.ids()) == sorted(kept)
    if in_file:
        table.close()
        table = opened(path)
    assert (len(table), table.nbytes) == (len(kept), sum(map(len, kept.values())))
    whole()
