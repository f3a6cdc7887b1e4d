"""Several tables, or one that others use: all are restored together, or none."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.texts import adopting

from .test_buffers import buffer_of

PROGRAM = """
import sys, jaxbuffers as jb
saved = jb.checkpoint.restore(sys.argv[1], {}).tables
print([int(saved[name].intern(["new"])[0]) for name in sorted(saved)])
"""


@pytest.mark.parametrize("grows", long_but(["a", "b"], quick=[1]))
def test_a_resumed_run_gives_the_ids_that_come_next_in_every_table(tmp_path, grows):
    tables = {"a": jb.TextTable(), "b": jb.TextTable()}
    for name, table in tables.items():
        table.intern([name])
    tables[grows].intern([str(i) for i in range(5000)])
    jb.checkpoint.save(tmp_path / "run", {}, tables=tables)
    expected = [int(tables[name].intern(["new"])[0]) for name in "ab"]
    call = [sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path / "run"]
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip() == str(expected)


def test_two_copies_of_one_table_never_give_one_id(tmp_path):
    pair = [buffer_of(rows=2, table=table) for table in [jb.TextTable()] * 2]
    jb.checkpoint.save(tmp_path / "run", pair)
    fresh = [buffer_of(), buffer_of()]
    jb.checkpoint.restore(tmp_path / "run", fresh)
    new = [set(each.table.intern([f"new {i}" for i in range(9000)]).tolist()) for each in fresh]
    assert not new[0] & new[1]


@pytest.fixture
def two(tmp_path):
    """A checkpoint of two tables, a and b, of one text each."""
    tables = {name: jb.TextTable() for name in "ab"}
    for name, table in tables.items():
        table.intern([name])
    jb.checkpoint.save(tmp_path / "two", {}, tables=tables)
    return tmp_path / "two"


@pytest.fixture
def read_only(tmp_path):
    with jb.TextTable(tmp_path / "t.sqlite"):
        pass
    with jb.TextTable(tmp_path / "t.sqlite", read_only=True) as table:
        yield table


def test_nothing_has_changed_where_the_second_table_cannot_be_written(two, read_only):
    first = jb.TextTable()
    with pytest.raises(jb.errors.TextFileError, match="read_only=True"):
        jb.checkpoint.restore(two, {}, tables={"a": first, "b": read_only})
    assert len(first) == 0
    read_only.close()
    with pytest.raises(jb.errors.TextFileError, match="was closed"):
        jb.checkpoint.restore(two, {}, tables={"a": first, "b": read_only})
    assert len(first) == 0


def test_a_table_that_has_all_texts_may_be_read_only(tmp_path):
    with jb.TextTable(tmp_path / "t.sqlite") as table:
        ids = table.intern(["x", "y"])
        jb.checkpoint.save(tmp_path / "run", {}, tables=table)
    with jb.TextTable(tmp_path / "t.sqlite", read_only=True) as table:
        assert jb.checkpoint.restore(tmp_path / "run", {}, tables=table).tables["texts"].lookup(ids) == ["x", "y"]


def test_nothing_has_changed_where_the_store_cannot_drop_episodes(tmp_path):
    with jb.EpisodeStore(tmp_path / "store") as store:
        buffer = buffer_of(rows=2)
        jb.checkpoint.save(tmp_path / "run", buffer, store=store)
        store.add_episode({"x": np.zeros(3, np.float32)})
    with jb.EpisodeStore(tmp_path / "store", read_only=True) as store:
        fresh = buffer_of()
        with pytest.raises(jb.errors.StoreError, match="read_only=True"):
            jb.checkpoint.restore(tmp_path / "run", fresh, store=store, later="drop")
        assert (len(fresh), len(fresh.table), len(store)) == (0, 0, 1)


def test_two_tables_in_one_take_no_more_than_max_bytes(two):
    table = jb.TextTable(max_bytes=1)
    with pytest.raises(jb.errors.TextTableFullError, match="max_bytes=1"):
        jb.checkpoint.restore(two, {}, tables={"a": table, "b": table})
    assert len(table) == 0


def test_a_thread_that_interns_meanwhile_waits(two, monkeypatch):
    """Otherwise it could be given an id that the checkpoint is about to bring."""
    table, ids = jb.TextTable(), []
    thread = threading.Thread(target=lambda: ids.append(int(table.intern(["mine"])[0])))
    real = adopting._missing

    def slow(*arguments):
        found = real(*arguments)
        if arguments[0] is table:
            thread.start()
            thread.join(0.2)
            assert thread.is_alive()
        return found

    monkeypatch.setattr(adopting, "_missing", slow)
    jb.checkpoint.restore(two, {}, tables={"a": table})
    thread.join()
    assert table.lookup(ids) == ["mine"]
