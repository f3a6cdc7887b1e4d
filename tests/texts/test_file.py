"""A table in a file: what is committed is there again, and who may open it."""

import gc
import os
import sqlite3
import warnings

import numpy as np
import pytest

import jaxbuffers as jb


def lose(table):
    """Let go of a table as a process does that ends without closing it."""
    table._store._file.close()


@pytest.mark.parametrize("compress", [False, True])
def test_what_is_committed_survives_and_the_rest_raises(tmp_path, opened, compress):
    table = jb.TextTable(tmp_path / "t.db", compress=compress)
    texts = ["", "a" * 10_000, "\ud800", "plain"]
    ids = table.intern(texts)
    table.commit()
    late = table.intern("late")
    assert table.lookup(late) == "late"
    lose(table)
    table = opened(tmp_path / "t.db")  # it knows whether it is compressed
    assert table.lookup(ids) == texts
    assert (table.intern(texts) == ids).all()
    with pytest.raises(jb.errors.UnknownTextError, match=r"never committed"):
        table.lookup(late)
    assert table.intern("late") > late
    kept = sum(len(x.encode("utf-8", "surrogatepass")) for x in texts)
    assert (table.nbytes < kept) if compress else (table.nbytes == kept + 4)


def test_closing_commits_and_can_be_repeated(tmp_path, opened):
    with jb.TextTable(tmp_path / "t.db") as table:
        i = table.intern("a")
    table.close()
    with pytest.raises(jb.errors.TextFileError, match=r"t.db was closed; open it with"):
        table.intern("b")
    with pytest.raises(jb.errors.TextFileError, match=r"closed"):
        table.lookup(i + 1)
    assert opened(str(tmp_path / "t.db").encode()).lookup(i) == "a"


def test_freed_texts_stay_in_the_file_until_purge(tmp_path, opened, replay):
    """A crash between a sweep and the next save: every id of the last save is there."""
    _, state, _ = replay
    path = tmp_path / "t.db"
    table = jb.TextTable(path)
    saved = table.intern(["a", "b", "c"])
    table.commit()
    assert table.sweep(state, pins=saved[:1]) == 2
    again = table.intern("b")
    table.commit()
    lose(table)
    table = jb.TextTable(path)
    assert table.lookup([*saved, again]) == ["a", "b", "c", "b"]
    assert table.intern("b") in (saved[1], again)
    assert table.sweep(state, pins=[saved[0], again]) == 2
    table.purge()
    lose(table)
    table = opened(path)
    assert table.lookup([saved[0], again]) == ["a", "b"]
    assert (len(table), table.nbytes) == (2, 2)
    for i in saved[1:]:
        with pytest.raises(jb.errors.UnknownTextError):
            table.lookup(i)
    assert min(table.intern(["c", "d"])) > again


def test_one_writer_many_readers(tmp_path, opened):
    path = tmp_path / "t.db"
    writer = opened(path)
    i = writer.intern("a")
    writer.commit()
    os.symlink(path, tmp_path / "link.db")
    for other in (path, tmp_path / "link.db", tmp_path / "." / "t.db"):
        with pytest.raises(
            jb.errors.TextFileError, match=r"is open for writing already; there is one writer at a time. Close"
        ):
            jb.TextTable(other)
    readers = [opened(path, read_only=True), opened(tmp_path / "link.db", read_only=True)]
    for reader in readers:
        assert reader.lookup(i) == "a"
        assert reader.intern(["a"]) == i
        reader.commit()
    writer.close()
    writer = opened(path)
    assert writer.lookup(i) == "a"


def test_a_reader_changes_nothing(tmp_path, opened, replay):
    _, state, _ = replay
    path = tmp_path / "t.db"
    with jb.TextTable(path) as table:
        ids = table.intern(["a", "b"])
    reader = opened(path, read_only=True)
    message = "t.db was opened with read_only=True: no text can be stored or freed"
    for change in (lambda: reader.intern(["a", "new"]), lambda: reader.sweep(state), reader.purge):
        with pytest.raises(jb.errors.TextFileError, match=message):
            change()
    assert len(reader) == 2
    assert reader.lookup(ids) == ["a", "b"]


def test_a_reader_of_what_a_killed_writer_left(tmp_path, opened):
    path = tmp_path / "t.db"
    table = opened(path)
    ids = table.intern(["a", "b"])
    table.commit()
    for suffix in ("", "-wal"):  # as on the disk of a process that was killed: all is in the log
        (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"t.db{suffix}").read_bytes())
    reader = opened(tmp_path / "copy.db", read_only=True)
    assert reader.lookup(ids) == ["a", "b"]


def test_names_with_odd_characters(tmp_path, opened):
    for name in ("a b.db", "é?mode=ro#x.db", "100%25.db", ":memory:"):
        with jb.TextTable(tmp_path / name) as table:
            i = table.intern(name)
        assert (tmp_path / name).stat().st_size
        assert opened(tmp_path / name, read_only=True).lookup(i) == name


@pytest.mark.parametrize("size", ["none", "empty", "only a header"])
def test_a_process_killed_while_it_made_the_file(tmp_path, opened, size):
    path = tmp_path / "t.db"
    if size != "none":
        path.touch()
    if size == "only a header":
        other = sqlite3.connect(path)
        other.execute("PRAGMA journal_mode = WAL")
        other.close()
        assert path.stat().st_size
    with pytest.raises(
        jb.errors.TextFileError, match=r"does not exist or is empty; open it for writing first, without read_o"
    ):
        jb.TextTable(path, read_only=True)
    table = opened(path)
    assert table.lookup(table.intern("a")) == "a"


def test_a_table_that_nobody_closed_closes_itself_and_does_not_commit(tmp_path, opened):
    path = tmp_path / "t.db"
    table = jb.TextTable(path)
    ids = table.intern(["a", "b"])
    table.commit()
    lost = table.intern("lost")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del table
        gc.collect()
    table = opened(path)  # its lock is gone as well
    assert table.lookup(ids) == ["a", "b"]
    with pytest.raises(jb.errors.UnknownTextError):
        table.lookup(lost)


def test_many_texts_are_written_without_being_asked(tmp_path, opened, monkeypatch):
    monkeypatch.setattr("jaxbuffers.texts.sqlite.PENDING", 1000)
    table = opened(tmp_path / "t.db")
    for i in range(30):
        table.intern(f"{i}" * 50)
        assert table._store._pending_bytes <= 1100
    reader = opened(tmp_path / "t.db", read_only=True)
    assert len(reader) > 15
    assert len(table) == 30
    assert table.lookup(np.sort(list(table._store.ids()))) == [f"{i}" * 50 for i in range(30)]
