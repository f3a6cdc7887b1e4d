"""A backup has every text under its id, and is there as a whole or not at all."""

import os
import sqlite3
import threading

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.texts import backup

TEXTS = ["", "a" * 10_000, "\ud800", "plain"]


def test_it_opens_as_the_table_goes_on(make, tmp_path, opened, replay):
    """Committed or not; with the same ids, which are not given again; a table in memory too."""
    _, state, _ = replay
    table = make()
    ids = table.intern(TEXTS)
    table.commit()
    gone = table.intern("gone")
    table.sweep(state, pins=ids)
    late = table.intern("late")
    table.backup(tmp_path / "b.db")
    table.intern("after")
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("b.db")) == ["b.db"]
    reader = opened(tmp_path / "b.db", read_only=True)
    assert reader.lookup([*ids, late]) == [*TEXTS, "late"]
    assert reader.fingerprint([*ids, late]) == table.fingerprint([*ids, late])
    copy = opened(tmp_path / "b.db")
    assert copy.lookup([*ids, late]) == [*TEXTS, "late"]
    assert (copy.intern([*TEXTS, "late"]) == [*ids, late]).all()
    assert len(copy) == 5
    assert copy.nbytes == sum(len(kept) for kept in kept_in(tmp_path / "b.db"))
    assert copy.intern("new") not in [*ids, late, gone]
    assert copy.ids().tolist() == sorted(copy.ids())


def kept_in(path):
    database = sqlite3.connect(path)
    kept = [data for (data,) in database.execute("SELECT data FROM texts")]
    database.close()
    return kept


def test_what_a_save_may_still_need_is_in_it(tmp_path, opened, replay):
    _, state, _ = replay
    table = opened(tmp_path / "t.db")
    ids = table.intern(["a", "b"])
    table.commit()
    assert table.sweep(state) == 2
    table.backup(tmp_path / "before.db")
    table.purge()
    table.backup(tmp_path / "after.db")
    assert opened(tmp_path / "before.db").lookup(ids) == ["a", "b"]
    assert len(opened(tmp_path / "after.db")) == 0


def test_of_a_reader_and_of_nothing(tmp_path, opened):
    with jb.TextTable(tmp_path / "t.db") as table:
        table.backup(tmp_path / "empty.db")
        ids = table.intern(TEXTS)
    opened(tmp_path / "t.db", read_only=True).backup(tmp_path / "b.db")
    assert opened(tmp_path / "b.db", read_only=True).lookup(ids) == TEXTS
    assert len(opened(tmp_path / "empty.db", read_only=True)) == 0


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_nothing_is_overwritten_nor_read_into_it(make, tmp_path, suffix):
    table = make()
    table.intern("a")
    (tmp_path / f"b.db{suffix}").write_bytes(b"what was there")
    with pytest.raises(jb.errors.TextFileError, match=r"b.db exists already, or a -wal or -journal of that name"):
        table.backup(tmp_path / "b.db")
    assert (tmp_path / f"b.db{suffix}").read_bytes() == b"what was there"
    with pytest.raises(jb.errors.TextFileError, match=r"the folder of .*b.db does not exist; make it first"):
        table.backup(tmp_path / "nowhere" / "b.db")


def test_one_that_fails_leaves_nothing_and_can_be_repeated(make, tmp_path, monkeypatch):
    table = make()
    table.intern("a")
    before = sorted(os.listdir(tmp_path))

    def full(database, *_):
        database.execute("BEGIN IMMEDIATE")
        raise sqlite3.OperationalError("database or disk is full")

    name = f"jaxbuffers.texts.{'memory' if table.path is None else 'sqlite'}.fill"
    with monkeypatch.context() as patch:
        patch.setattr(name, full)
        with pytest.raises(jb.errors.TextFileError, match=r"b.db cannot be used: database or disk is full"):
            table.backup(tmp_path / "b.db")
    assert sorted(os.listdir(tmp_path)) == before
    with monkeypatch.context() as patch:
        patch.setattr(backup.os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            table.backup(tmp_path / "b.db")
    assert sorted(os.listdir(tmp_path)) == before
    table.backup(tmp_path / "b.db")
    assert kept_in(tmp_path / "b.db")


def test_while_other_threads_read_and_write(make, tmp_path, opened):
    table, over, errors = make(), threading.Event(), []

    def write():
        n = 0
        try:
            while not over.is_set():
                n += 1
                ids = table.intern([f"{n} {i}" for i in range(10)])
                assert table.lookup(ids[3]) == f"{n} 3"
                table.commit()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(5):
        table.backup(tmp_path / f"b{i}.db")
    over.set()
    for thread in threads:
        thread.join()
    assert not errors
    for i in range(5):
        copy = opened(tmp_path / f"b{i}.db", read_only=True)
        ids = copy.ids()
        assert len(ids) % 10 == 0
        assert copy.lookup(ids) == table.lookup(ids)
        assert ids.dtype == np.int32
