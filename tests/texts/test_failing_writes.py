"""A full disk, a failing commit, Ctrl-C at a bad time: an error, and the table goes on."""

import sqlite3

import pytest

import jaxbuffers as jb


class Failing:
    """A connection whose statement that begins with some words fails, before or after it is done."""

    def __init__(self, connection, words, error, after=False):
        self.connection, self.words, self.error, self.after = connection, words, error, after

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, statement, *values):
        if not statement.startswith(self.words):
            return self.connection.execute(statement, *values)
        if self.after:
            self.connection.execute(statement, *values)
        raise self.error

    def executemany(self, statement, rows):
        return (
            self.execute(statement, rows)
            if statement.startswith(self.words)
            else self.connection.executemany(statement, rows)
        )


@pytest.fixture
def failing():
    """Makes a table's connection fail inside ``with``."""

    class Fail:
        def __init__(self, table, words, error=None, after=False):
            self.file = table._store._file
            self.broken = Failing(
                self.file._database, words, error or sqlite3.OperationalError("disk I/O error"), after
            )

        def __enter__(self):
            self.file._database = self.broken

        def __exit__(self, *_):
            self.file._database = self.broken.connection

    return Fail


WRITES = ["BEGIN", "INSERT", "UPDATE", "COMMIT"]


@pytest.mark.parametrize("words", WRITES)
def test_a_commit_that_fails_can_be_repeated(tmp_path, opened, failing, words):
    table = opened(tmp_path / "t.db")
    ids = table.intern(["a", "b"])
    with failing(table, words), pytest.raises(jb.errors.TextFileError, match=r"t.db cannot be used: disk I/O error"):
        table.commit()
    assert table.lookup(ids) == ["a", "b"]
    assert (table.intern(["a", "b"]) == ids).all()
    assert (len(table), table.nbytes) == (2, 2)
    more = table.intern("c")
    table.commit()
    assert table.nbytes == 3
    with pytest.raises(jb.errors.TextFileError, match=r"open for writing already"):
        jb.TextTable(tmp_path / "t.db")
    assert opened(tmp_path / "t.db", read_only=True).lookup([*ids, more]) == ["a", "b", "c"]


@pytest.mark.parametrize("words", WRITES)
def test_closing_that_fails_loses_nothing(tmp_path, opened, failing, words):
    table = opened(tmp_path / "t.db")
    i = table.intern("a")
    with failing(table, words), pytest.raises(jb.errors.TextFileError):
        table.close()
    table.close()
    assert opened(tmp_path / "t.db").lookup(i) == "a"


@pytest.mark.parametrize("words", WRITES)
def test_an_intern_that_must_write_first_stores_all_or_nothing(tmp_path, opened, failing, words, monkeypatch):
    monkeypatch.setattr("jaxbuffers.texts.sqlite.PENDING", 100)
    table = opened(tmp_path / "t.db")
    ids = table.intern(["x" * 200, "y"])
    with failing(table, words), pytest.raises(jb.errors.TextFileError):
        table.intern(["new", "x" * 200, "also new"])
    assert len(table) == 2
    assert table.nbytes == 201
    assert table.lookup(ids) == ["x" * 200, "y"]
    new = table.intern(["new", "x" * 200, "also new"])
    assert new[1] == ids[0]
    assert len(table) == 4
    assert table._store._pending_bytes == len("newalso new")


@pytest.mark.parametrize("words", ["BEGIN", "DELETE", "UPDATE", "COMMIT"])
def test_a_purge_that_fails_can_be_repeated(tmp_path, opened, failing, words, replay):
    _, state, _ = replay
    table = opened(tmp_path / "t.db")
    ids = table.intern(["a", "bb", "ccc"])
    table.commit()
    table.sweep(state, pins=ids[:1])
    with failing(table, words), pytest.raises(jb.errors.TextFileError):
        table.purge()
    for _ in range(2):
        assert (len(table), table.nbytes) == (1, 1)
        with pytest.raises(jb.errors.UnknownTextError):
            table.lookup(ids[1])
        table.purge()
    assert len(opened(tmp_path / "t.db", read_only=True)) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("words", ["BEGIN", "COMMIT"])
def test_an_interrupt_while_writing(tmp_path, opened, failing, replay, words, after):
    """Python raises KeyboardInterrupt when the statement is over, which then has happened."""
    _, state, _ = replay
    table = opened(tmp_path / "t.db")
    ids = table.intern(["a", "bb", "ccc"])
    interrupt = KeyboardInterrupt()
    with failing(table, words, interrupt, after), pytest.raises(KeyboardInterrupt):
        table.commit()
    assert (len(table), table.nbytes) == (3, 6)
    more = table.intern("dddd")
    table.commit()
    assert (len(table), table.nbytes) == (4, 10)
    table.sweep(state, pins=[ids[0], more])
    with failing(table, words, interrupt, after), pytest.raises(KeyboardInterrupt):
        table.purge()
    assert (len(table), table.nbytes) == (2, 5)
    table.purge()
    table.close()
    table = opened(tmp_path / "t.db")
    assert (len(table), table.nbytes) == (2, 5)
    assert table.lookup([ids[0], more]) == ["a", "dddd"]


def test_a_disk_that_is_full_and_has_room_again(tmp_path, opened, replay):
    """SQLite's own error, from a limit on the pages of the file."""
    _, state, _ = replay
    table = opened(tmp_path / "t.db")
    first = table.intern("first")
    table.commit()
    pages = table._store._file._database.execute("PRAGMA page_count").fetchone()[0]
    table._store._file._database.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = table.intern(["x" * 100_000, "y" * 100_000])
    for _ in range(3):
        with pytest.raises(jb.errors.TextFileError, match=r"t.db cannot be used: database or disk is full"):
            table.commit()
        assert table.lookup([first, *big]) == ["first", "x" * 100_000, "y" * 100_000]
    assert opened(tmp_path / "t.db", read_only=True).lookup(first) == "first"
    assert table.sweep(state, pins=first) == 2
    last = table.intern("fits")
    table.commit()
    table._store._file._database.execute("PRAGMA max_page_count = 100000")
    again = table.intern("x" * 100_000)
    table.commit()
    assert again not in big
    assert opened(tmp_path / "t.db", read_only=True).lookup([first, last, again]) == ["first", "fits", "x" * 100_000]


def test_a_text_larger_than_sqlite_takes_is_refused_at_once(tmp_path, opened):
    """Not at the commit, where it would keep all others from being written."""
    table = opened(tmp_path / "t.db")
    table._store._file._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    with pytest.raises(
        jb.errors.TextFileError, match=r"t.db cannot hold a text of 9990 bytes; SQLite takes up to 9936"
    ):
        table.intern(["a", "x" * 9990])
    assert len(table) == 0
    ids = table.intern(["a", "x" * 9936])
    table.commit()
    assert opened(tmp_path / "t.db", read_only=True).lookup(ids) == ["a", "x" * 9936]
