"""Texts of the episodes: in the same file, durable in the same transaction, swept with the episodes."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    ShapeError,
    StoreError,
    TextTableFullError,
    UnknownTextError,
)
from jaxbuffers.texts.file import TextFile

ROW = {"x": np.float32(0), "said": jb.text, "messages": jb.text[3]}


def episode(*texts):
    return {
        "x": np.zeros(len(texts), np.float32),
        "said": list(texts),
        "messages": [[text, f"{text}!"] for text in texts],  # short ones are filled up
    }


def test_texts_come_back(make):
    store = make(row=ROW)
    store.add_episode(episode("a", "b", "a"))
    found = store.read([0], [1], 2)
    assert store.texts.lookup(found["said"]) == [["b", "a"]]
    assert store.texts.lookup(found["messages"]) == [[["b", "b!", None], ["a", "a!", None]]]
    assert len(store.texts) == 4


def test_ids_of_its_own_table_serve_as_well(make):
    store = make(row=ROW)
    ids = store.texts.intern(["a", "b"])
    for given in (ids, jnp.asarray(ids)):
        store.add_episode({**episode("a", "b"), "said": given})
    assert store.texts.lookup(store[1].rows["said"]) == ["a", "b"]
    other = jb.TextTable().intern(["elsewhere", "x"])
    with pytest.raises(UnknownTextError):
        store.add_episode({**episode("a", "b"), "said": other})


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (["a"], ShapeError),
        ("ab", ShapeError),
        ([1, 2], DtypeError),
        ([["a"], ["b"]], DtypeError),
        (np.zeros(2, np.int64), DtypeError),
    ],
)
def test_what_is_no_text_is_refused_and_no_text_is_stored(make, said, error):
    store = make(row=ROW)
    with pytest.raises(error, match="said"):
        store.add_episode({**episode("a", "b"), "said": said})
    assert (len(store), len(store.texts)) == (0, 0)


def test_texts_need_to_be_declared(make):
    with pytest.raises(DtypeError, match="is a str"):
        make().add_episode(episode("a", "b"))


def test_an_episode_and_its_texts_are_one_transaction(folder, opened, monkeypatch):
    store = opened(folder / "store", row=ROW)
    store.add_episode(episode("a"))
    monkeypatch.setattr(type(store._core.catalog), "_put", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.add_episode(episode("b"))
    monkeypatch.undo()
    reader = opened(folder / "store", read_only=True)
    assert (len(reader), len(reader.texts)) == (1, 2)
    store.add_episode(episode("c"))
    assert reader.refresh()
    assert reader.texts.lookup(reader[1].rows["said"]) == ["c"]
    assert (len(reader), len(reader.texts)) == (2, 4), "those of the failed one did not come along"
    assert store.texts.sweep(store) == 0


def test_a_sweep_keeps_what_episodes_and_writers_refer_to(make):
    row = {"said": jb.text, "is_first": np.bool_(0), "is_last": np.bool_(0)}
    store = make(row=row)
    writer = store.writer(2)
    writer.add({"said": ["kept", "open"], "is_first": np.ones(2, bool), "is_last": np.array([True, False])})
    writer.add(
        {"said": ["masked", "too"], "is_first": np.zeros(2, bool), "is_last": np.zeros(2, bool)},
        np.array([False, True]),
    )
    assert len(store.texts) == 3, "of rows that are left out, no text is stored"
    ids = store.texts.intern(["loose", "pinned"])
    assert store.texts.sweep(store, pins=ids[1:]) == 1
    writer.close()
    assert {t for e in store for t in store.texts.lookup(e.rows["said"])} == {"kept", "open", "too"}
    store.evict(1)
    assert store.texts.sweep(store) == 2
    store.texts.purge()
    assert sorted(store.texts.lookup(store.text_ids())) == ["open", "too"]


def test_a_sweep_for_another_table_is_refused(make):
    with pytest.raises(jb.errors.StructureError, match="in another table"):
        jb.TextTable().sweep(make(row=ROW))


def test_a_backup_of_the_texts_is_a_text_table(make, folder):
    store = make(row=ROW)
    store.add_episode(episode("a", "b"))
    waiting = store.texts.intern("waits")
    store.texts.backup(folder / "texts.db")
    with jb.TextTable(folder / "texts.db") as table:
        assert table.lookup(store[0].rows["said"]) == ["a", "b"]
        assert table.lookup(waiting) == "waits"
        assert len(table) == len(store.texts)


def test_a_limit_refuses_the_episode(make):
    store = make(row=ROW)
    store.texts.max_bytes = 10
    with pytest.raises(TextTableFullError):
        store.add_episode(episode("a" * 20))
    assert len(store) == 0


def fails(*_):
    raise StoreError("the disk is full")


def test_a_call_that_fails_leaves_no_text(make, monkeypatch):
    store = make(row=ROW, capacity=3)
    by_hand = store.texts.intern("by hand")
    for given, error in (
        ((episode(*"abcd"),), ConfigurationError),
        ((episode("a"), {"level": object()}), DtypeError),
    ):
        with pytest.raises(error):
            store.add_episode(*given)
    with monkeypatch.context() as patched:
        patched.setattr(store._core.catalog, "commit", fails)
        with pytest.raises(StoreError, match="disk is full"):
            store.add_episode(episode("by hand", "a"))
    assert store.texts.lookup(store.texts.ids()) == ["by hand"]
    store.add_episode(episode("by hand", "a"))
    assert store.texts.lookup(store[0].rows["said"]) == ["by hand", "a"]
    assert store[0].rows["said"][0] == by_hand


def test_a_writer_that_fails_keeps_the_texts_of_what_is_open_only(make, monkeypatch):
    flags = {name: np.bool_(False) for name in ("is_first", "is_last")}
    store = make(row={"said": jb.text, **flags})
    writer = store.writer()
    writer.add({"said": "open", **flags})
    last = {"said": "last", **flags, "is_last": np.bool_(True)}
    with monkeypatch.context() as patched:
        patched.setattr(store._core.catalog, "commit", fails)
        with pytest.raises(StoreError, match="disk is full"):
            writer.add(last)
    assert store.texts.lookup(store.texts.ids()) == ["open"]
    assert writer.add(last).tolist() == [0]
    assert store.texts.lookup(store[0].rows["said"]) == ["open", "last"]


def test_a_store_is_let_go_of_while_the_disk_is_full(folder, opened, monkeypatch):
    store = opened(folder / "store", row=ROW)
    store.add_episode(episode("z"))
    with monkeypatch.context() as patched:
        patched.setattr(TextFile, "write", fails)
        with pytest.raises(StoreError, match="disk is full"):
            store.add_episode(episode("a"))
        store.close()
    store = opened(folder / "store")
    assert (len(store), len(store.texts)) == (1, 2)
    store.texts.intern("by hand")
    with monkeypatch.context() as patched:
        patched.setattr(TextFile, "write", fails)
        with pytest.raises(StoreError, match="disk is full"):
            store.close()
        assert store.texts.sweep(store) == 1
        store.close()
