"""A commit that returns is in the file at the path: where files are deleted or exchanged underneath, it raises."""

import os
import shutil
import sqlite3

import pytest

import jaxbuffers as jb
from jaxbuffers.texts import locks
from texts.scenarios import in_file


def texts_of(table):
    ids = table.ids()
    return dict(zip(ids.tolist(), table.lookup(ids), strict=True))


@pytest.mark.parametrize("how", ["deleted or moved", "replaced by another"])
@pytest.mark.parametrize("suffix", ["", "-wal", ".lock"])
def test_a_file_that_is_gone_from_its_path(tmp_path, suffix, how, replay):
    _, state, _ = replay
    path = tmp_path / "t.db"
    table = jb.TextTable(path)
    ids = table.intern(["a", "b", "c"])
    table.commit()
    os.rename(f"{path}{suffix}", tmp_path / "moved")
    if how != "deleted or moved":
        shutil.copy(tmp_path / "moved", f"{path}{suffix}")
    message = rf"t.db{suffix} was {how} while the text table was open: .* save them with table.backup\(new_path\)"
    with pytest.raises(jb.errors.TextFileError, match=message):  # what was committed before is gone as well
        table.commit()
    late = table.intern("late")
    table.sweep(state, pins=[ids[:2], late])
    for call in (table.commit, table.purge, table.close):
        with pytest.raises(jb.errors.TextFileError, match=message):
            call()
    expected = {int(ids[0]): "a", int(ids[1]): "b", int(late): "late"}
    assert texts_of(table) == expected
    table.backup(tmp_path / "saved.db")
    assert in_file(tmp_path / "saved.db") == expected | {int(ids[2]): "c"}, "what was not purged is still there"
    os.replace(tmp_path / "moved", f"{path}{suffix}")
    table.close()  # all is as it was
    assert in_file(path) == expected | {int(ids[2]): "c"}


def test_an_id_is_not_given_where_the_file_cannot_note_it(tmp_path):
    table = jb.TextTable(tmp_path / "t.db")
    os.rename(tmp_path / "t.db", tmp_path / "moved")
    with pytest.raises(jb.errors.TextFileError, match=r"t.db was deleted or moved"):
        table.intern("a")
    assert len(table) == 0


class Moving:
    """A connection, whose file is moved away when a transaction is over."""

    def __init__(self, connection, path):
        self.connection, self.path = connection, path

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def execute(self, statement, *values):
        done = self.connection.execute(statement, *values)
        if statement == "COMMIT":
            os.rename(self.path, f"{self.path}.moved")
        return done


def test_a_file_that_goes_while_a_commit_ends(tmp_path, opened):
    """Nobody knows which file has it then. Both a backup and the file, if it comes back, get each text once."""
    path = tmp_path / "t.db"
    table = jb.TextTable(path)
    table.intern(["a", "bb"])
    table.commit()
    table.intern("ccc")
    expected = texts_of(table)
    file = table._store._file
    file._database = Moving(file._database, path)
    for _ in range(2):
        with pytest.raises(jb.errors.TextFileError, match=r"t.db was deleted or moved"):
            table.commit()
    file._database = file._database.connection
    table.backup(tmp_path / "saved.db")
    os.rename(f"{path}.moved", path)
    table.intern("dddd")
    table.close()
    for name, more in (("saved.db", []), ("t.db", ["dddd"])):
        again = opened(tmp_path / name)
        assert (len(again), again.nbytes) == (3 + len(more), 6 + 4 * len(more))
        assert sorted(texts_of(again).values()) == ["a", "bb", "ccc", *more]
        assert texts_of(again).items() >= expected.items()
        assert again.intern("new") not in expected


def test_a_second_name_for_a_file_is_refused(tmp_path, opened):
    """Each name has a log of its own: what is in one is not seen, and overwritten, through the other."""
    with jb.TextTable(tmp_path / "t.db") as table:
        i = table.intern("a")
    os.link(tmp_path / "t.db", tmp_path / "other.db")
    for name in ("t.db", "other.db"):
        with pytest.raises(jb.errors.TextFileError, match=rf"{name} has another name, a hard link"):
            jb.TextTable(tmp_path / name)
    assert opened(tmp_path / "other.db", read_only=True).lookup(i) == "a"
    os.remove(tmp_path / "other.db")
    assert opened(tmp_path / "t.db").lookup(i) == "a"


@pytest.mark.parametrize("system", ["POSIX", "Windows"])
def test_the_lock_is_let_go_of(tmp_path, monkeypatch, system):
    """Where a file is refused, where a table is closed, and where nobody closes it."""
    if system == "Windows":
        monkeypatch.setattr(locks, "fcntl", None)
    path = tmp_path / "t.db"
    with jb.TextTable(path) as table:
        i = table.intern("a")
        with pytest.raises(jb.errors.TextFileError, match=r"t.db is open for writing already"):
            jb.TextTable(path)
    with pytest.raises(jb.errors.ConfigurationError, match="made with compress=False"):
        jb.TextTable(path, compress=True)
    table = jb.TextTable(path)
    assert table.lookup(i) == "a"
    del table
    jb.TextTable(path).close()
    assert not [name for name in os.listdir(tmp_path) if name not in ("t.db", "t.db.lock")]


def test_a_lock_file_of_before_is_taken(tmp_path):
    """SQLite made it, and what it made while it had it."""
    old = sqlite3.connect(tmp_path / "t.db.lock", isolation_level=None)
    old.execute("BEGIN EXCLUSIVE")
    old.close()
    (tmp_path / "t.db.lock-journal").touch()
    with jb.TextTable(tmp_path / "t.db") as table:
        table.intern("a")
