"""Texts with equal digests are still told apart, by their bytes."""

import pytest

import jaxbuffers as jb
from jaxbuffers.texts import coding, memory, sqlite
from jaxbuffers.texts import table as tables


@pytest.fixture(autouse=True)
def collide(monkeypatch):
    """Only the length of a text is in its digest."""
    for module in (tables, memory, sqlite, coding):
        monkeypatch.setattr(module, "digest", lambda data: len(data).to_bytes(16, "big"))


@pytest.mark.parametrize("commits", [False, True])
def test_texts_with_one_digest_have_their_own_ids(table, commits):
    texts = ["aa", "bb", "cc", "d"]
    ids = table.intern(texts)
    if commits:
        table.commit()
    assert len(set(ids.tolist())) == len(table) == 4
    assert table.lookup(ids) == texts
    assert (table.intern(texts) == ids).all()
    more = table.intern(["dd", "aa"])
    assert more[0] not in ids
    assert more[1] == ids[0]
    assert table.lookup([*ids, *more]) == [*texts, "dd", "aa"]


@pytest.mark.parametrize("gone", [0, 1, 2])
@pytest.mark.parametrize("commits", [False, True])
def test_freeing_one_leaves_the_others(table, replay, commits, gone):
    _, state, _ = replay
    texts = ["aa", "bb", "cc"]
    ids = table.intern(texts)
    if commits:
        table.commit()
    assert table.sweep(state, pins=[ids], candidates=ids) == 0
    assert table.sweep(state, pins=[x for x in ids if x != ids[gone]]) == 1
    for i, (text, known) in enumerate(zip(texts, ids, strict=True)):
        if i == gone:
            with pytest.raises(jb.errors.UnknownTextError):
                table.lookup(known)
        else:
            assert table.lookup(known) == text
            assert table.intern(text) == known
    assert table.intern(texts[gone]) > ids.max()
    table.commit()
    table.purge()
    assert len(table) == 3


def test_merging_keeps_them_apart(make):
    here, there = make(), make()
    mine, theirs = here.intern(["aa", "bb"]), there.intern(["cc", "bb", "aa"])
    remap = here.merge(there)
    assert here.lookup(remap(theirs)) == ["cc", "bb", "aa"]
    assert remap(theirs)[1:].tolist() == mine[::-1].tolist()
    assert len(here) == 3
