"""Files that are no text table, or not a whole one: a clear error that names the file, which stays as it was."""

import sqlite3

import pytest

import jaxbuffers as jb
from jaxbuffers.texts import database, locks


@pytest.fixture
def path(tmp_path):
    """A file with texts that are larger than a page."""
    with jb.TextTable(tmp_path / "t.db") as table:
        table.intern([f"{i} " + "some words " * 1000 for i in range(20)])
    return tmp_path / "t.db"


def refused(path, message, error=jb.errors.TextFileError, **options):
    """Check that a file is refused, by writers and readers, and not changed."""
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(error, match=message) as raised:
            jb.TextTable(path, read_only=read_only, **options)
        assert path.name in str(raised.value)
    assert path.read_bytes() == before


def change(path, *statements):
    other = sqlite3.connect(path)
    for statement in statements:
        other.execute(statement)
    other.commit()
    other.close()


def test_a_text_file(tmp_path):
    (tmp_path / "notes.txt").write_text("These are no texts of ours. " * 100)
    refused(tmp_path / "notes.txt", "notes.txt cannot be used: file is not a database")


def test_a_database_of_another_program(tmp_path):
    change(
        tmp_path / "other.db", "CREATE TABLE texts (id INTEGER PRIMARY KEY, text)", "INSERT INTO texts VALUES (1, 'a')"
    )
    refused(tmp_path / "other.db", "other.db is no text table: another program made it")
    other = sqlite3.connect(tmp_path / "other.db")
    assert other.execute("PRAGMA journal_mode").fetchone()[0] == "delete", "its settings are left alone too"
    other.close()


def test_a_newer_file(path):
    change(path, f"PRAGMA user_version = {database.TEXTS.version + 1}")
    refused(path, r"t.db has format 2, this version of jaxbuffers reads up to 1: upgrade jaxbuffers")


@pytest.mark.parametrize("compress", [False, True])
def test_compress_is_what_the_file_was_made_with(tmp_path, compress):
    with jb.TextTable(tmp_path / "t.db", compress=compress) as table:
        table.intern("a")
    message = f"t.db was made with compress={compress}; leave compress out, or start another file"
    refused(tmp_path / "t.db", message, jb.errors.ConfigurationError, compress=not compress)
    for value in (None, compress):
        jb.TextTable(tmp_path / "t.db", compress=value).close()


@pytest.mark.parametrize("part", ["header", "schema", "middle", "half"])
def test_a_damaged_file(path, part):
    data = bytearray(path.read_bytes())
    if part == "half":
        data = data[: len(data) // 2]
    else:
        start = {"header": 0, "schema": 100, "middle": 4096}[part]
        data[start : start + 4000] = bytes([0xA5]) * 4000
    path.write_bytes(data)
    refused(path, "t.db is damaged: |t.db cannot be used: ")


@pytest.mark.parametrize("compress", [False, True])
def test_a_text_with_a_bit_flipped(tmp_path, opened, compress):
    """SQLite has no checksums of its own: the digest tells."""
    with jb.TextTable(tmp_path / "t.db", compress=compress) as table:
        ids = table.intern(["good", "some words " * 10, "bad"])
    change(tmp_path / "t.db", f"UPDATE texts SET data = CAST('xx' || data AS BLOB) WHERE id = {ids[1]}")
    table = opened(tmp_path / "t.db")
    with pytest.raises(jb.errors.TextFileError, match=rf"t.db is damaged: text {ids[1]} does not have the digest"):
        table.lookup(ids)
    assert table.lookup(ids[[0, 2]]) == ["good", "bad"]
    with pytest.raises(jb.errors.TextFileError, match=r"is damaged"):
        table.intern("some words " * 10)


@pytest.mark.parametrize(
    "statement, message",
    [
        ("DELETE FROM meta WHERE name = 'reserved'", "t.db is damaged: it does not say 'reserved'"),
        ("DELETE FROM meta", "t.db is damaged: it does not say 'bytes'"),
        ("DROP TABLE meta", "t.db cannot be used: no such table: meta"),
        ("DROP TABLE texts", "t.db cannot be used: no such table: texts"),
        (
            "UPDATE meta SET value = 1 WHERE name = 'reserved'",
            r"t.db is damaged: it has the id \d+, but only those bel",
        ),
    ],
)
def test_a_file_that_somebody_wrote_in(path, statement, message):
    change(path, statement)
    refused(path, message)


def test_places_where_no_file_can_be(tmp_path):
    with pytest.raises(jb.errors.TextFileError, match=r"the folder of .*t.db does not exist; make it first"):
        jb.TextTable(tmp_path / "no folder" / "t.db")
    with pytest.raises(jb.errors.TextFileError, match=r"t.db does not exist or is empty"):
        jb.TextTable(tmp_path / "no folder" / "t.db", read_only=True)
    (tmp_path / "folder").mkdir()
    refused_folder = "folder cannot be used: "
    for read_only in (False, True):
        with pytest.raises(jb.errors.TextFileError, match=refused_folder):
            jb.TextTable(tmp_path / "folder", read_only=read_only)


def test_a_lock_that_is_no_lock(path, monkeypatch):
    """What is in it does not matter, except where SQLite must make the lock."""
    lock = path.parent / "t.db.lock"
    lock.write_text("not ours " * 1000)
    jb.TextTable(path).close()
    assert lock.read_text() == "not ours " * 1000
    with monkeypatch.context() as patch:
        patch.setattr(locks, "fcntl", None)
        with pytest.raises(
            jb.errors.TextFileError, match=r"t.db cannot be written: file is not a database \(.*t.db.lock\)"
        ):
            jb.TextTable(path)
    lock.unlink()
    lock.mkdir()
    with pytest.raises(jb.errors.TextFileError, match=r"t.db cannot be written: .*t.db.lock"):
        jb.TextTable(path)


def test_a_refused_file_can_be_opened_again_once_it_is_right(path, opened):
    """What was opened before the error is closed."""
    change(path, f"PRAGMA user_version = {database.TEXTS.version + 1}")
    refused(path, "has format 2")
    change(path, f"PRAGMA user_version = {database.TEXTS.version}")
    assert len(opened(path)) == 20
