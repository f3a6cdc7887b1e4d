"""One thread writes, others read: a text comes back whole, or its id raises."""

import random
import sys
import threading

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.texts import table as tables


@pytest.fixture
def hasty():
    """Threads take turns after a few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*works):
    """Run functions side by side; the first decides when it is over. Raise what any of them raised."""
    errors, over = [], threading.Event()

    def guarded(work, last):
        try:
            while not over.is_set():
                work()
                if last:
                    break
        except BaseException as error:
            errors.append(error)
        if last or errors:
            over.set()

    threads = [threading.Thread(target=guarded, args=(work, i == 0)) for i, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_readers_beside_a_writer_that_sweeps(make, hasty, monkeypatch):
    # ids instead of states: no time for JAX
    monkeypatch.setattr(tables, "references", lambda ids, _, pins: (np.concatenate([ids, pins]), pins[:0]))
    table = make(cache_bytes=300)  # texts are evicted all the time
    kept = table.intern([f"kept {i}" for i in range(40)])
    table.commit()
    newest = [(int(kept[0]), "kept 0")]

    def write():
        for step in range(80):
            texts = [f"{step} {i}" for i in range(6)]
            ids = table.intern(texts)
            newest[:] = [*newest, *zip(ids.tolist(), texts, strict=True)][-12:]
            if step % 2:
                table.commit()
            table.sweep(kept, pins=ids[:3])
            if step % 4 == 3:
                table.purge()

    def read_kept():
        some = random.sample(range(40), 5)
        assert table.lookup(kept[some]) == [f"kept {i}" for i in some]
        assert table.intern(f"kept {some[0]}") == kept[some[0]]

    def read_newest():
        i, text = random.choice(list(newest))
        try:
            assert table.lookup(i) == text
        except jb.errors.UnknownTextError:
            assert i not in kept

    in_threads(write, read_kept, read_newest, read_newest)
    table.sweep(kept)
    assert sorted(table._store.ids()) == sorted(kept.tolist())
    for i, _ in newest:
        if i not in kept:
            with pytest.raises(jb.errors.UnknownTextError):
                table.lookup(i)
    if hasattr(table._store, "_cache"):
        cache = table._store._cache
        assert cache.nbytes == sum(map(len, cache._data.values())) <= 300
        assert set(cache._data) <= set(kept.tolist())


def test_sizes_are_never_counted_twice(tmp_path, opened, hasty):
    """A reader sees a text in memory or in the file, not in both or in none."""
    table = opened(tmp_path / "t.db")
    seen = [0]

    def write():
        for step in range(100):
            table.intern(f"{step:05d}")
            table.commit()

    def count():
        n = len(table)
        assert seen[-1] <= n <= 100
        assert table.nbytes in range(5 * n, 501, 5)
        seen.append(n)

    in_threads(write, count)
    assert len(table) == 100


def test_tokens_of_several_threads(hasty):
    table = jb.TextTable()
    tokens = jb.Tokens(table, lambda text: [ord(x) for x in text], max_len=8, cache_tokens=40)
    texts = [f"{i}" * (i % 5 + 1) for i in range(30)]
    ids = table.intern(texts)

    def use():
        some = random.sample(range(30), 4)
        got = tokens(ids[some])
        assert ["".join(map(chr, row[mask])) for row, mask in zip(got.tokens, got.mask, strict=True)] == [
            texts[i][:8] for i in some
        ]

    in_threads(lambda: [use() for _ in range(300)], use, use)
    assert tokens._room + sum(map(len, tokens._cache.values())) == 40
    assert tokens._room >= 0


def test_tables_of_several_threads_share_no_id(make, hasty):
    mine = [make() for _ in range(3)]
    given = [[], [], []]

    def fill(k):
        for step in range(12):
            given[k] += mine[k].intern([f"{k} {step} {i}" for i in range(700)]).tolist()

    threads = [threading.Thread(target=fill, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*given[0], *given[1], *given[2]}) == 3 * 12 * 700
