"""Stores in a forked process: refused by name, but for one that is opened there."""

import os
import traceback

import jaxbuffers as jb
from episodes.model import COLUMNS, ROW, check_rows, rows


def fork(folder):
    """Use stores in a forked process: refused, but for one that is opened there."""
    for path in (folder / "store", None):
        store = jb.EpisodeStore(path, row=ROW, columns=COLUMNS)
        store.add_episodes([rows(0, 10), rows(1, 10)], [{"key": 0}, {"key": 1}])
        held = store[0]
        child = os.fork()
        if not child:
            try:
                in_the_fork(store, held)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        store.add_episode(rows(2, 10), {"key": 2})
        for key in range(3):
            check_rows(store, store[key].rows, key, 10)
        store.close()
    print("refused there, whole here")


def in_the_fork(store, held):
    calls = (
        lambda: store.add_episode(rows(2, 10), {"key": 2}),
        lambda: store.read([0], [0], 1),
        lambda: store.metadata,
        lambda: store.writer(2),
        lambda: store[1],
        store.compact,
        lambda: store.texts.intern("new"),
    )
    for call in calls:
        try:
            call()
        except jb.errors.WrongProcessError:
            continue
        raise AssertionError("it was not refused")
    store.close()
    assert held.rows["reward"].tolist() == rows(0, 10)["reward"].tolist()
    if store.path is not None:
        with jb.EpisodeStore(store.path, read_only=True) as reader:
            check_rows(reader, reader[1].rows, 1, 10)
        try:
            jb.EpisodeStore(store.path)
        except jb.errors.StoreError:
            return
        raise AssertionError("there were two writers")
