"""One fingerprint for ids that mean the same texts, another for any difference."""

import hashlib

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.texts import ids as supply
from jaxbuffers.texts import table as tables


def expected(texts):
    """Hash pairs of ids and texts, as the format is written down: 8 bytes of id, 16 of digest, by id."""
    pairs = b"".join(
        i.to_bytes(8, "little") + hashlib.blake2b(text.encode(), digest_size=16).digest()
        for i, text in sorted(texts.items())
    )
    return hashlib.blake2b(pairs, digest_size=16).digest()


def test_order_repetition_shape_and_no_text_do_not_matter(table, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK", 2)
    texts = [f"text {i}" for i in range(7)]
    ids = table.intern(texts)
    whole = expected(dict(zip(ids.tolist(), texts, strict=True)))
    table.commit()
    for some in (ids, ids[::-1], np.array([[*ids, -1], [0, *ids]]), ids.astype(np.int64)):
        assert table.fingerprint(some) == whole
    assert len(whole) == 16
    assert table.fingerprint(ids[3]) == expected({int(ids[3]): "text 3"})
    assert table.fingerprint([]) == table.fingerprint([-1, 0]) == expected({})


def test_the_same_ids_with_other_texts_differ(make, monkeypatch):
    start = supply._next
    prints = set()
    for texts in (["a", "b"], ["a", "c"], ["b", "a"], ["a", "b", "c"]):
        monkeypatch.setattr(supply, "_next", start)  # as another process gives them
        table = make()
        ids = table.intern(texts)
        prints |= {table.fingerprint(ids), table.fingerprint(ids[:1])}
    assert len(prints) == 4 + 2, "ids alike: [a], [b]"


def test_an_unknown_id_raises(table):
    i = int(table.intern("a"))
    for wrong in (i + 1, -2, 2**40, -(2**63)):
        with pytest.raises(jb.errors.UnknownTextError, match=f"text id {wrong} "):
            table.fingerprint([i, wrong])
    with pytest.raises(jb.errors.DtypeError, match="ids must be integers"):
        table.fingerprint([1.5])
