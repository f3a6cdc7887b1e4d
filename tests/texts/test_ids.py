"""An id names one text for ever, or raises."""

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.texts import ids as supply


@pytest.fixture
def few_ids(monkeypatch):
    """Only so many blocks of 8 ids are left."""

    def leave(blocks):
        start = -(-supply._next // 8) * 8
        monkeypatch.setattr(supply, "BLOCK", 8)
        monkeypatch.setattr(supply, "_next", start)
        monkeypatch.setattr(supply, "LIMIT", start + 8 * blocks)

    return leave


def texts(first, count):
    return [f"text {i}" for i in range(first, first + count)]


def test_an_id_never_given_raises(table):
    i = int(table.intern("a"))
    for wrong in (i + 1, i + 100_000, 2**31 - 1, 2**40, 2**63 - 1, -3, -(2**31), -(2**63)):
        with pytest.raises(
            jb.errors.UnknownTextError, match=rf"text id {wrong} is not in this table: it was freed by sweep"
        ):
            table.lookup(np.array([i, wrong]))
        with pytest.raises(jb.errors.UnknownTextError, match=str(wrong)):
            table.digests(wrong)


def test_an_unsigned_id_does_not_wrap_to_no_text(table):
    for wrong in (2**64 - 1, 2**63):
        with pytest.raises(jb.errors.UnknownTextError, match=f"text id {wrong} "):
            table.lookup(np.array([wrong], np.uint64))


@pytest.mark.parametrize("wrong", [1.0, "a", True, [1.5], np.zeros(2, np.float32), 2**70], ids=str)
def test_ids_must_be_integers(table, wrong):
    with pytest.raises(jb.errors.DtypeError, match=r"ids must be integers, got "):
        table.lookup(wrong)


def test_the_id_of_another_table_of_the_process_raises(make):
    a, b = make(), make()
    given = [(a, a.intern("of a")), (b, b.intern("of b")), (a, a.intern(texts(0, 5000))[-1])]
    for table, i in given:
        (other,) = {a, b} - {table}
        with pytest.raises(jb.errors.UnknownTextError):
            other.lookup(i)


def test_exhaustion_is_an_error_that_stores_nothing(make, few_ids):
    table, other = make(), make()
    few_ids(2)
    first = table.intern(texts(0, 5))
    with pytest.raises(
        jb.errors.TextTableFullError, match=r"text ids are used up; ids are never reused. Start a new process"
    ):
        table.intern(texts(0, 5 + 8 + 8))
    assert len(table) == 5
    rest = table.intern(texts(5, 11))  # what is left is no less for that
    assert sorted([*first, *rest]) == list(range(first[0], first[0] + 16))
    with pytest.raises(jb.errors.TextTableFullError):
        table.intern("one more")
    with pytest.raises(jb.errors.TextTableFullError):
        other.intern("in another table")
    assert table.lookup([*first, *rest]) == texts(0, 16)
    assert (table.intern(texts(0, 16)) == [*first, *rest]).all(), "what is known needs no id"


def test_no_id_is_given_twice_after_exhaustion_and_a_crash(tmp_path, opened, few_ids):
    """Blocks that a failed intern took are noted in the file before an id of them is used."""
    few_ids(2)
    table = jb.TextTable(tmp_path / "t.db")
    with pytest.raises(jb.errors.TextTableFullError):
        table.intern(texts(0, 30))
    given = table.intern(texts(0, 10)).tolist()
    table.commit()
    lost = table.intern("never committed")
    del table  # as if the process ended
    supply._next, supply.LIMIT = 0, supply.LIMIT + 800  # a new process
    table = opened(tmp_path / "t.db")
    assert table.lookup(given) == texts(0, 10)
    assert not {*table.intern(texts(10, 20)).tolist()} & {*given, int(lost)}


def test_a_block_is_in_the_file_before_its_ids_are_given(tmp_path, opened, monkeypatch):
    table = opened(tmp_path / "t.db")
    store = table._store

    def fail(*_):
        raise jb.errors.TextFileError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store._file, "write", fail)
        with pytest.raises(jb.errors.TextFileError):
            table.intern("a")
        assert len(table) == 0
        with pytest.raises(jb.errors.TextFileError):  # the block that it holds is not in the file yet
            table.intern("a")
    i = table.intern("a")
    reserved = dict(store._file.query("SELECT name, value FROM meta"))["reserved"]
    assert i < reserved


def test_ids_of_a_file_are_not_given_again_by_a_new_process(tmp_path, opened, monkeypatch):
    seen = []
    for round in range(4):
        monkeypatch.setattr(supply, "_next", 0)
        with jb.TextTable(tmp_path / "t.db") as table:
            seen += table.intern([f"{round} {i}" for i in range(5)]).tolist()
            assert table.lookup(seen) == [f"{r} {i}" for r in range(round + 1) for i in range(5)]
    assert len(set(seen)) == len(seen)
