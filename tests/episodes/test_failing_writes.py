"""A full disk, a failing commit, Ctrl-C at a bad time: an error with a name, and the store goes on as it was."""

import errno
import os
import shutil
import signal
import sqlite3

import numpy as np
import pytest
from tier import budget, long_but

import jaxbuffers as jb
from episodes.model import COLUMNS, ROW, ROW_BYTES, Model, opened, rows
from jaxbuffers.episodes import files


class Failing:
    """A connection that fails at one of its statements that write, before or after it is done."""

    def __init__(self, connection, at, after):
        self.connection, self.left, self.after = connection, at, after

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def _call(self, name, statement, *values):
        if statement.startswith(("SELECT", "PRAGMA", "ROLLBACK")):
            return getattr(self.connection, name)(statement, *values)
        self.left -= 1
        if self.left == 0 and self.after and statement != "COMMIT":
            getattr(self.connection, name)(statement, *values)
        if self.left == 0:
            raise sqlite3.OperationalError("database or disk is full")
        return getattr(self.connection, name)(statement, *values)

    def execute(self, statement, *values):
        return self._call("execute", statement, *values)

    def executemany(self, statement, values):
        return self._call("executemany", statement, values)


def full_disk(monkeypatch, at, after):
    """Let one of the calls of the file system fail; of a write that fails afterwards, half is there."""
    left = [at]

    def failing(name, real):
        def call(*arguments):
            left[0] -= 1
            if left[0] == 0:
                if after and name == "pwrite":
                    descriptor, data, offset = arguments
                    real(descriptor, data[: len(data) // 2], offset)
                elif after:
                    real(*arguments)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        return call

    for name in ("pwrite", "sync", "sync_folder"):
        monkeypatch.setattr(files, name, failing(name, getattr(files, name)))
    monkeypatch.setattr(files.os, "truncate", failing("truncate", os.truncate))
    return left


def begun(path, capacity=None):
    """Return a store with some episodes, and what is in it."""
    store, model = opened(path, segment_bytes=40 * ROW_BYTES, capacity=capacity), Model(capacity)
    for key in range(6):
        store.add_episode(rows(key, 11), {"key": key})
        model.add([(key, 11)])
    return store, model


def add(store, model):
    store.add_episode(rows(100, 15), {"key": 100})
    model.add([(100, 15)])


def add_large(store, model):
    store.add_episode(rows(101, 60), {"key": 101})
    model.add([(101, 60)])


def judge(store, model):
    store.set([2, 3], judgment=0.25)
    model.judge([2, 3], 0.25)


def delete(store, model):
    store.delete([1])
    model.delete([1])


def compact(store, model):
    store.compact(1.0)


def delete_two(store, model):
    store.delete([1, 4])
    model.delete([1, 4])


CHANGES = [add, add_large, judge, delete, compact]


@pytest.mark.parametrize("after", long_but([False, True], quick=[1]), ids=["before", "after"])
@pytest.mark.parametrize("what", ["files", "catalog"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_fails_anywhere_has_not_happened_and_can_be_repeated(folder, monkeypatch, change, what, after):
    at, failed, said = 0, True, []
    store, begin = begun(folder / "begin", 80)
    if change is compact:
        delete_two(store, begin)
    store.close()
    while failed:
        at += 1
        shutil.copytree(folder / "begin", folder / str(at))
        store, model = opened(folder / str(at), segment_bytes=40 * ROW_BYTES, capacity=80), begin.copy()
        file = store._core.catalog.texts._file
        with monkeypatch.context() as patched:
            if what == "catalog":
                file._database = Failing(file.database, at, after)
            else:
                full_disk(patched, at, after)
            try:
                change(store, model.copy())
                failed = False
                assert at > 1 or what == "files", "nothing was written"
            except jb.errors.StoreError as error:
                said.append(str(error))
        if what == "catalog":
            file._database = file._database.connection
        if failed:
            model.check(store)
            with jb.EpisodeStore(folder / str(at), read_only=True) as reader:
                model.check(reader)
            change(store, model)
        else:
            change(Nothing(store), model)
        model.check(store)
        add(store, model)
        store.close()
        with opened(folder / str(at), segment_bytes=40 * ROW_BYTES, capacity=80) as store:
            model.check(store)
            add_large(store, model)
            model.check(store)
            known = {f"{number:08d}.safetensors" for number in store._core.known}
            assert set(os.listdir(folder / str(at) / "segments")) == known, "files are left over"
    assert all("full" in message or "No space left" in message for message in said)
    assert said or (what == "files" and change in (judge, delete)), "nothing failed"


class Nothing:
    """A store of which only the length is of interest: the change was made already."""

    def __init__(self, store):
        self.store = store

    def __len__(self):
        return len(self.store)

    def __getattr__(self, name):
        return lambda *_, **__: None


def test_the_first_episode_may_fail_and_be_of_other_rows_then(folder, monkeypatch):
    store = jb.EpisodeStore(folder / "store")
    with monkeypatch.context() as patched:
        full_disk(patched, 2, False)
        with pytest.raises(jb.errors.StoreError, match=r"00000000.safetensors cannot be made: No space left on device"):
            store.add_episode({"a": np.zeros(3, np.float32)})
    assert store.spec is None
    assert store.add_episode({"b": np.zeros(3, np.int32)}) == 0
    store.close()
    with jb.EpisodeStore(folder / "store") as store:
        assert store[0].rows["b"].tolist() == [0, 0, 0]


def test_a_writer_takes_all_rows_of_a_call_or_none(folder, monkeypatch):
    store = jb.EpisodeStore(folder / "store", row={name: ROW[name] for name in ROW if name != "said"}, columns=COLUMNS)
    flat = [rows(key, 6) for key in range(3)]
    block = {name: np.stack([each[name] for each in flat], 1) for name in flat[0] if name != "said"}
    early, late = ({name: column[cut] for name, column in block.items()} for cut in (slice(4), slice(4, None)))
    twice = {name: np.concatenate([late[name], early[name]]) for name in late}  # an end, and a new beginning over it
    with store.writer(3) as writer:
        writer.add(early)
        for at in (1, 2, 3):
            with monkeypatch.context() as patched:
                full_disk(patched, at, True)
                with pytest.raises(jb.errors.StoreError):
                    writer.add(twice)
            assert len(store) == 0
            assert writer.open_rows.tolist() == [4, 4, 4]
        assert writer.add(twice).tolist() == [0, 1, 2]
        assert writer.open_rows.tolist() == [4, 4, 4]
        for key in range(3):
            for name in block:
                np.testing.assert_array_equal(store[key].rows[name], rows(key, 6)[name])
        assert writer.close("drop").tolist() == []
    store.close()


def test_interrupts_leave_an_episode_whole(folder, monkeypatch):
    """Ctrl-C amid a call is raised when the call is over."""
    store, model = begun(folder / "store")
    real, before = files.pwrite, signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    try:
        for change in (add, add_large):
            with monkeypatch.context() as patched:
                patched.setattr(files, "pwrite", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    change(store, model)
            change(Nothing(store), model)
            model.check(store)
    finally:
        signal.signal(signal.SIGINT, before)
        store.close()


class Alarm(Exception):
    """What the handler of this test raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
def test_interrupts_at_any_moment_leave_every_change_whole(folder):
    """The store is as before a change, or as after it, whenever a handler raises."""
    dice, (store, model), came = np.random.default_rng(0), begun(folder / "store", 200), 0

    def ring(*_):
        raise Alarm

    before, key = signal.signal(signal.SIGALRM, ring), 100
    try:
        for _ in range(budget(60, 1500)):
            after, key = model.copy(), key + 1
            try:
                signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.00002, 0.002))
                store.add_episode(rows(key, 13), {"key": key})
                store.set([store.table()["id"][-1]], judgment=0.5)
                store.compact(0.9)
                store.read([store.table()["id"][0]], [0], 1)
                for _ in range(20):
                    store.read([store.table()["id"][-1]], [3], 2)
            except Alarm:
                came += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            after.add([(key, 13)])
            if after.fits(store):
                model = after
            elif not model.fits(store):
                after.judge([after.next_id - 1], 0.5)
                model = after
            model.check(store, list(model.held)[-2:])
        assert came > 10
        model.check(store)
    finally:
        signal.signal(signal.SIGALRM, before)
        store.close()
    with opened(folder / "store") as store:
        model.check(store)


def test_what_was_prepared_and_failed_leaves_no_block_checked(folder, monkeypatch):
    """Commits that fail after they have numbered their blocks, and damage to what is there."""
    store = jb.EpisodeStore(folder / "store", capacity=1000)
    store.add_episodes([{"x": np.full((1, 2), i + 1, np.float32)} for i in range(1000)])

    def fails(*_):
        raise jb.errors.StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store._core.catalog, "commit", fails)
        for _ in range(3):
            with pytest.raises(jb.errors.StoreError, match="disk is full"):
                store.add_episodes([{"x": np.zeros((1, 2), np.float32)}] * 600)
    ids = store.metadata["id"]
    assert store.read(ids, np.zeros(1000, int), 1)["x"][:, 0, 0].tolist() == list(range(1, 1001))
    assert not store._core.made.checked.missing(store.table().first_blocks[:, None], [0]).any()
    ids = np.concatenate(
        [store.add_episodes([{"x": np.full((1, 2), 5000 + j, np.float32)} for j in range(50)]) for _ in range(20)]
    )
    assert store._core.made.checked.missing(store.table().first_blocks[:, None], [0]).all(), "nobody has read them"
    store.read(ids, np.zeros(1000, int), 1)
    store.close()
