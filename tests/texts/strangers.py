"""Files that other programs touch, and that other users read. A script; see scenarios.py."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from jaxbuffers import TextTable
from jaxbuffers.errors import TextFileError
from texts.scenarios import Turn, ends_well, forked, in_file, main, refused


@contextmanager
def another(work, *arguments):
    """A process that was forked before anything is open, and works when it is called."""
    turn = Turn()

    def wait():
        turn.wait()
        work(*arguments)

    child = forked(wait)

    def call():
        turn.give()
        ends_well(child)

    yield call


def second_writer(path):
    refused(lambda: TextTable(path), TextFileError, "open for writing already")


def commits(table, numbers):
    """Store and commit so many texts, one after the other; return them by their ids."""
    texts = {}
    for number in numbers:
        texts[int(table.intern(f"{number}"))] = f"{number}"
        table.commit()
    return texts


def copying_the_folder_keeps_the_lock_and_the_log(folder):
    """Copying drops SQLite's locks: another program would move the log away, a second writer would get in."""
    path = folder / "d" / "t.db"
    path.parent.mkdir()
    with another(in_file, path) as look, another(second_writer, path) as write, another(in_file, path) as look_again:
        table = TextTable(path)
        texts = commits(table, range(50))
        shutil.copytree(path.parent, folder / "copy")
        look()
        write()
        texts |= commits(table, range(50, 100))
        look_again()
        assert in_file(path) == texts
        assert in_file(folder / "copy" / "t.db").items() <= texts.items()
        table.close()
        assert sorted(os.listdir(path.parent)) == ["t.db", "t.db.lock"]
        assert in_file(path) == texts


def a_log_that_another_program_has_deleted_is_noticed(folder):
    """As where the system has only POSIX locks: no commit returns that is not in the file."""
    path = folder / "d" / "t.db"
    path.parent.mkdir()
    with mock.patch("jaxbuffers.texts.file.Hold"), another(in_file, path) as look:
        table = TextTable(path)
        texts = commits(table, range(50))
        shutil.copytree(path.parent, folder / "copy")
        look()
        assert not os.path.exists(f"{path}-wal"), "it was not deleted: this tests nothing"
        late = int(table.intern("late"))
        for _ in range(2):
            refused(table.commit, TextFileError, "t.db-wal was deleted or moved while the text table was open")
        assert table.lookup([*texts, late]) == [*texts.values(), "late"]
        assert in_file(path) == texts
        table.backup(folder / "saved.db")
        assert in_file(folder / "saved.db") == texts | {late: "late"}


@contextmanager
def shared_folder():
    """A folder that others may read; not below one of pytest, which they may not enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def take_away(folder):
    """Let this process not write to a folder any more."""
    if os.geteuid() == 0:  # who may do everything
        os.setuid(65534)
    else:
        folder.chmod(0o555)


def as_reader(work, folder):
    """Do some work as a user who may not write to a folder."""

    def user():
        take_away(folder)
        assert not os.access(folder, os.W_OK)
        work()

    before = sorted(os.listdir(folder))
    ends_well(forked(user))
    folder.chmod(0o755)
    assert (after := sorted(os.listdir(folder))) == before, (before, after)


def readers_who_may_not_write(_):
    """A closed file can be read with nothing beside it; so can one beside a log that is empty, and a backup."""
    with shared_folder() as folder:
        with TextTable(folder / "t.db") as table:
            texts = commits(table, range(20))
            table.backup(folder / "backup.db")

        def read():
            for name in ("t.db", "backup.db"):
                with TextTable(folder / name, read_only=True) as reader:
                    assert reader.lookup(list(texts)) == list(texts.values())
                    assert len(reader) == 20
                refused(lambda name=name: TextTable(folder / name), TextFileError, "cannot be written")

        as_reader(read, folder)
        (folder / "t.db-wal").touch()
        as_reader(read, folder)


def a_log_that_cannot_be_read(_):
    """What a writer that was killed leaves, copied without the file that SQLite shares between processes."""
    with shared_folder() as folder:
        table = TextTable(folder / "original.db")
        texts = commits(table, range(20))
        for suffix in ("", "-wal"):
            shutil.copy(f"{folder}/original.db{suffix}", f"{folder}/t.db{suffix}")
        table.close()

        def read():
            refused(
                lambda: TextTable(folder / "t.db", read_only=True), TextFileError,
                f"{folder}/t.db-wal holds texts that cannot be read here",
            )  # fmt: skip

        as_reader(read, folder)
        TextTable(folder / "t.db").close()

        def read_now():
            assert TextTable(folder / "t.db", read_only=True).lookup(list(texts)) == list(texts.values())

        as_reader(read_now, folder)


def a_reader_who_may_not_write_sees_what_is_written(_):
    """Both what is in the log of a writer, and what is written to a file that was read as one nobody writes."""
    with shared_folder() as folder:
        path, written, seen = folder / "t.db", Turn(), Turn()
        with TextTable(path) as table:
            first = commits(table, range(3))
        ids, numbers = os.pipe()

        def user():
            take_away(folder)
            reader = TextTable(path, read_only=True)
            seen.give()
            for _ in range(3):
                written.wait()
                known = [int(i) for i in os.read(ids, 10_000).split()]
                assert reader.lookup(known) == [f"{n}" for n in range(len(known))]
                seen.give()

        reader = forked(user)
        seen.wait()
        for end in (400, 800, 1200):
            folder.chmod(0o755)
            with TextTable(path) as table:
                first |= commits(table, range(len(first), end))
                if end == 400:
                    table.close()
                os.write(numbers, " ".join(map(str, first)).encode())
                written.give()
                seen.wait()
        ends_well(reader)


SCENARIOS = [
    copying_the_folder_keeps_the_lock_and_the_log,
    a_log_that_another_program_has_deleted_is_noticed,
    readers_who_may_not_write,
    a_log_that_cannot_be_read,
    a_reader_who_may_not_write_sees_what_is_written,
]

if __name__ == "__main__":
    main(SCENARIOS)
