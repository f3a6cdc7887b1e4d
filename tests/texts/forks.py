"""Tables and forks. A script; see scenarios.py."""

import ctypes
import gc
import multiprocessing
import os
import threading
from unittest import mock

import numpy as np

import jaxbuffers as jb
from jaxbuffers import TextTable
from jaxbuffers.errors import TextFileError, WrongProcessError
from jaxbuffers.texts import table as tables
from texts.scenarios import Turn, do, ends_well, finish, forked, in_file, main, refused


def a_file_in_a_fork_is_refused_by_name(folder):
    table = TextTable(folder / "t.db")
    ids = table.intern(["a", "b"])
    table.commit()
    late = table.intern("late")

    def child():
        everything = (
            lambda: table.intern("a"), lambda: table.intern("new"), lambda: table.lookup(ids), lambda: len(table),
            lambda: table.lookup(late), table.ids, table.commit, table.purge, lambda: table.sweep(ids),
            lambda: table.backup(folder / "backup.db"), lambda: table.nbytes, lambda: TextTable().merge(table),
        )  # fmt: skip
        for call in everything:
            refused(call, WrongProcessError, "open the file here, jb.TextTable(path, read_only=True)")
        table.close()
        refused(lambda: table.lookup(ids), WrongProcessError, "forked from it")

    do(child)
    more = table.intern(["c"])
    table.commit()
    assert in_file(folder / "t.db") == {ids[0]: "a", ids[1]: "b", int(late): "late", more[0]: "c"}


def a_table_in_memory_can_be_read_in_a_fork(folder):
    table = TextTable()
    ids = table.intern(["a", "b"])
    print_ = table.fingerprint(ids)

    def child():
        assert table.lookup(ids) == ["a", "b"]
        assert (table.intern(["b", "a"]) == ids[::-1]).all()
        assert (len(table), table.nbytes, table.ids().tolist()) == (2, 2, ids.tolist())
        assert table.fingerprint(ids) == print_
        table.backup(folder / "copy.db")
        for call in (lambda: table.intern(["a", "new"]), lambda: table.sweep(ids[:1])):
            refused(call, WrongProcessError, "its texts can be read here, but not added to or freed")
        table.commit()
        table.purge()
        table.close()
        assert len(table) == 2

    do(child)
    assert in_file(folder / "copy.db") == {ids[0]: "a", ids[1]: "b"}
    assert table.intern("new") not in ids
    assert table.sweep(ids) == 1


def a_fork_that_ends_leaves_the_file_alone(folder):
    """However it ends: its copy collected, by exit of the interpreter, or by a table that closes it."""
    with TextTable(folder / "t.db") as table:
        given = table.intern(["a"]).tolist()
        table.commit()
        for leave in (os._exit, finish):
            given += table.intern([f"waits {leave}"]).tolist()

            def child():
                refused(lambda: TextTable(folder / "t.db"), TextFileError, "open for writing already")
                table.__exit__()
                tables.forgotten, globals()["table"] = None, None
                gc.collect()
                refused(lambda: TextTable(folder / "t.db"), TextFileError, "open for writing already")

            before = in_file(folder / "t.db")
            do(child, leave=leave)
            assert in_file(folder / "t.db") == before
            refused(lambda: TextTable(folder / "t.db"), TextFileError, "open for writing already")
            table.commit()
            assert list(in_file(folder / "t.db")) == given


def a_fork_reads_anew_beside_the_writer_and_after_it(folder):
    table = TextTable(folder / "t.db")
    texts = {int(table.intern("first")): "first"}
    table.commit()
    to, back = Turn(), Turn()

    def child():
        with TextTable(folder / "t.db", read_only=True) as reader:
            for _ in range(6):
                back.give()
                to.wait()
                known = in_file(folder / "t.db")
                assert reader.lookup(list(known)) == list(known.values())
            assert len(known) == 6 + 400

    reader = forked(child)
    for n in range(5):
        back.wait()
        texts[int(table.intern(f"text {n}"))] = f"text {n}"
        table.commit()
        assert in_file(folder / "t.db") == texts
        to.give()
    back.wait()
    table.close()
    with TextTable(folder / "t.db") as again:  # its log begins anew, and is moved into the file
        again.intern([f"{n}" * 3000 for n in range(400)])
    to.give()
    ends_well(reader)


def a_daemon_writes_once_the_process_that_forked_it_is_over(folder):
    """The lock is not inherited: neither where that process closes the table, nor where it just ends."""
    for closes in (True, False):
        path, ended, done = folder / f"{closes}.db", Turn(), Turn()
        do(begin_and_fork, path, closes, ended, done)
        ended.give()
        done.wait()
        assert list(in_file(path).values()) == ["by the first", "by the daemon"]


def begin_and_fork(path, closes, ended, done):
    table = TextTable(path)
    table.intern("by the first")
    table.commit()
    forked(go_on, path, table, ended, done)
    if closes:
        table.close()


def go_on(path, table, ended, done):
    ended.wait()
    refused(lambda: table.intern("by the old table"), WrongProcessError, "once the other has closed it")
    with TextTable(path) as mine:
        assert mine.lookup(mine.ids()) == ["by the first"]
        mine.intern("by the daemon")
    done.give()


def forks_while_threads_write(folder):
    """No fork finds a lock that nobody opens, or half of a text; no thread fails because of a fork."""
    table, memory, over, errors = TextTable(folder / "t.db"), TextTable(), threading.Event(), []
    tokens = jb.Tokens(memory, lambda text: [ord(x) for x in text], 8, cache_tokens=50)
    first, one_at_a_time = memory.intern([f"{n}" for n in range(10)]), threading.Lock()

    def write():
        n = 0
        while not over.is_set():
            try:
                n += 1
                table.intern([f"{n} {i}" for i in range(20)])
                table.commit()
                with one_at_a_time:
                    memory.sweep([*first, *memory.intern([f"{n} {i}" for i in range(20)])])
                tokens(first)
            except BaseException as error:
                errors.append(error)
                raise

    def child():
        found = memory.ids()
        assert len(memory.lookup(found)) == len(found)
        assert tokens(first).mask.sum() == 10
        own = TextTable()
        assert own.lookup(own.intern(["a", "b"])) == ["a", "b"]
        with TextTable(folder / "t.db", read_only=True) as reader:
            assert len(reader.lookup(reader.ids())) % 20 == 0

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    children = [forked(child) for _ in range(40)]
    for one in children:
        ends_well(one)
    over.set()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert len(in_file(folder / "t.db")) == len(table)


def a_fork_amid_a_transaction(folder):
    """As a signal handler can do it: the copy neither goes on with the transaction nor ends it."""
    table = TextTable(folder / "t.db")
    given = [int(table.intern("a"))]
    file, write, children = table._store._file, table._store._file.write, []

    def fork():
        children.append(os.fork())
        assert children[-1], "this is the copy"

    for leave in (os._exit, finish):
        with mock.patch.object(file, "write", lambda work, done: write(lambda: (work(), fork()), done)):
            try:
                table.commit()
            except AssertionError:
                refused(table.commit, WrongProcessError, "forked")
                leave(0)
        ends_well(children.pop())
        given.append(int(table.intern(f"after {leave}")))
    table.commit()
    assert list(in_file(folder / "t.db")) == given
    table.close()


def a_fork_that_python_does_not_know_of(folder):
    table = TextTable(folder / "t.db")
    i = table.intern("a")
    if not (child := ctypes.CDLL(None).fork()):
        refused(lambda: table.lookup(i), WrongProcessError, "forked from it")
        table._store._file.close()
        table.close()
        os._exit(0)
    ends_well(child)
    refused(lambda: TextTable(folder / "t.db"), TextFileError, "open for writing already")
    table.commit()
    assert list(in_file(folder / "t.db")) == [i]


def a_table_that_is_replaced_while_a_fork_has_it_closed(folder):
    table = TextTable(folder / "t.db")
    table.intern("a")
    do(lambda: None)
    other = TextTable(folder / "other.db")
    other.intern("other")
    other.close()
    os.replace(folder / "other.db", folder / "t.db")
    refused(table.commit, TextFileError, "t.db was replaced or deleted while it was not open; open it anew")
    assert list(in_file(folder / "t.db").values()) == ["other"]


def _commit(table, names):
    try:
        table.intern("new")
    except WrongProcessError:
        names.put("refused")


def multiprocessing_by_fork(folder):
    table, context = TextTable(folder / "t.db"), multiprocessing.get_context("fork")
    names = context.Queue()
    children = [context.Process(target=_commit, args=(table, names)) for _ in range(3)]
    for child in children:
        child.start()
    assert [names.get() for _ in children] == ["refused"] * 3
    for child in children:
        child.join()
        assert child.exitcode == 0
    i = table.intern("a")
    table.commit()
    assert in_file(folder / "t.db") == {i: "a"}


SCENARIOS = [
    a_file_in_a_fork_is_refused_by_name,
    a_table_in_memory_can_be_read_in_a_fork,
    a_fork_that_ends_leaves_the_file_alone,
    a_fork_reads_anew_beside_the_writer_and_after_it,
    a_daemon_writes_once_the_process_that_forked_it_is_over,
    forks_while_threads_write,
    a_fork_amid_a_transaction,
    a_fork_that_python_does_not_know_of,
    a_table_that_is_replaced_while_a_fork_has_it_closed,
    multiprocessing_by_fork,
]

if __name__ == "__main__":
    # sweep is given live ids, not states: a forked process cannot use JAX
    tables.references = lambda ids, *_: (np.asarray(ids, np.int64), np.zeros(0, np.int64))
    main(SCENARIOS)
