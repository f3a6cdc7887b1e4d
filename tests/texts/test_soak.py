"""Ten times the capacity and more runs through a replay: the table stays with what is live."""

import os

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.texts import ids as supply
from jaxbuffers.texts import live


@pytest.mark.parametrize("finds", ["all", "candidates"])
def test_a_table_stays_within_what_is_live(make, replay, finds):
    _, state, add = replay
    table = make(max_bytes=20_000)
    random = np.random.default_rng(0)
    window, freed = [], 0
    for step in range(60):
        texts = [f"{step} {'é' * int(random.integers(30))}", random.choice(["common", "shared", "often"])]
        ids = table.intern([*texts, f"never added {step}"])
        state, overwritten = add(state, ids[:2]), window[-4:-2]
        window = [*window, *texts][-4:]
        if step % 3 == 0:
            table.commit()
        candidates = None if finds == "all" or step % 10 == 9 else [ids[2], *table.intern(list(overwritten))]
        freed += table.sweep(state, candidates=candidates)
        if step % 5 == 4:
            table.purge()
        if candidates is None:
            assert len(table) == len(set(window))
        assert len(table) <= len(set(window)) + 2
        assert table.lookup(live.ids_of(state)) == [*np.roll(window, 2 * (step % 2) + 2)][: 2 * step + 2]
    assert freed > 100


def test_a_file_does_not_grow_with_what_went_through_it(tmp_path, opened, replay):
    """Ten times what is live is written; the pages of what was purged are used again."""
    _, state, add = replay
    table, sizes = opened(tmp_path / "t.db", cache_bytes=2**16), []
    for step in range(12):
        state = add(state, table.intern([f"{step} {i} {'x' * 50_000}" for i in range(4)]))
        table.commit()
        table.sweep(state)
        table.purge()
        assert (len(table), table.nbytes) == (4, sum(len(f"{step} {i} ") for i in range(4)) + 200_000)
        assert table._store._cache.nbytes <= 2**16
        sizes.append(table._store._file.query("PRAGMA page_count")[0][0] * 4096)
    assert sizes[-1] < 3 * 200_000
    table.close()
    assert os.path.getsize(tmp_path / "t.db") < 3 * 200_000


def test_nothing_is_kept_of_texts_freed_before_a_commit(tmp_path, opened, replay, monkeypatch):
    monkeypatch.setattr(supply, "BLOCK", 2**16)
    _, state, _ = replay
    table = opened(tmp_path / "t.db")
    for i in range(50):
        table.intern(f"text {i}")
        table.sweep(state)
    store = table._store
    for held in (store._pending, store._pending_ids, store._freed, store._cache._data):
        assert not held
    assert (store._pending_bytes, store._cache.nbytes, table.nbytes) == (0, 0, 0)


def test_the_cache_is_bounded_and_forgets_the_oldest(tmp_path, opened):
    table = opened(tmp_path / "t.db", cache_bytes=100)
    ids = table.intern([f"{i:010d}" for i in range(30)])
    big = table.intern("x" * 1000)
    table.commit()
    cache = table._store._cache
    for i in ids:
        table.lookup(i)
        table.lookup(ids[0])
        assert cache.nbytes == sum(map(len, cache._data.values())) <= 100
    assert list(cache._data) == [*ids[-9:-1].tolist(), int(ids[-1]), int(ids[0])]
    assert table.lookup(big) == "x" * 1000
    assert int(big) not in cache._data
    assert table.lookup(ids) == [f"{i:010d}" for i in range(30)]


def test_the_wal_does_not_lose_a_reader(tmp_path, opened):
    writer = opened(tmp_path / "t.db")
    first = writer.intern("first")
    writer.commit()
    reader = opened(tmp_path / "t.db", read_only=True)
    for step in range(20):
        i = writer.intern(f"{step}" * 100)
        with pytest.raises(jb.errors.UnknownTextError):
            reader.lookup(i)
        writer.commit()
        assert reader.lookup([first, i]) == ["first", f"{step}" * 100]
    assert len(reader) == len(writer) == 21
