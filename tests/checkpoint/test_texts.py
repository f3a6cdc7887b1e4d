"""Texts in checkpoints: the same ones under the same ids, in whatever table they are restored into."""

import pytest

import jaxbuffers as jb
from jaxbuffers.texts.ids import Supply

from .same import assert_same
from .test_buffers import buffer_of, texts_of


def test_texts_have_the_same_ids_and_new_ones_get_others(tmp_path):
    one = buffer_of(rows=9)
    free = one.table.intern("swept")
    one.table.sweep(one, candidates=free.reshape(1))
    one.save(tmp_path / "run")
    other = buffer_of()
    mine = other.table.intern(["text 1", "only here"])
    other.load(tmp_path / "run")
    assert texts_of(other.table).items() >= texts_of(one.table).items()
    assert other.table.lookup(mine) == ["text 1", "only here"]
    new = other.table.intern([f"new {i}" for i in range(10)])
    assert not set(new.tolist()) & {int(free), *one.table.ids().tolist()}
    with pytest.raises(jb.errors.UnknownTextError):
        other.table.lookup(free)


def test_tables_in_files_have_the_texts_on_the_disk(tmp_path):
    with jb.TextTable(tmp_path / "one.sqlite") as table:
        one = buffer_of(rows=9, table=table)
        one.save(tmp_path / "run")
    for compress in (False, True):
        path = tmp_path / f"other {compress}.sqlite"
        with jb.TextTable(path, compress=compress) as table:
            other = buffer_of(table=table)
            other.load(tmp_path / "run")
            expected = other.sample()["obs"]
            new = table.intern("after")
        with jb.TextTable(path) as table:
            again = buffer_of(table=table)
            again.load(tmp_path / "run")  # into the table that has them
            assert again.sample()["obs"] == expected
            assert table.lookup(new) == "after"
            assert table.nbytes >= sum(len(text) > 0 for text in texts_of(table).values())


def test_texts_that_were_swept_from_a_file_since_are_there_again(tmp_path):
    with jb.TextTable(tmp_path / "t.sqlite") as table:
        one = buffer_of(rows=5, table=table)
        one.save(tmp_path / "run")
        expected = texts_of(table)
        nbytes = table.nbytes
        for purge in (False, True):
            fresh = buffer_of(table=table)
            assert table.sweep(fresh) > 0
            if purge:
                table.purge()
            one.load(tmp_path / "run")
            assert texts_of(table) == expected
            assert table.nbytes == nbytes
            table.purge()
            assert texts_of(table) == expected
    with jb.TextTable(tmp_path / "t.sqlite") as table:
        assert (texts_of(table), table.nbytes) == (expected, nbytes)


def test_a_table_with_other_texts_under_the_same_ids_is_refused(tmp_path):
    one = buffer_of(rows=3)
    one.save(tmp_path / "run")
    other = buffer_of(rows=1)
    ids = one.table.ids().tolist()
    other.table._store.adopt({ids[0]: (bytes(16), b"something else")}, ids[-1] + 1, Supply())
    before = other.to_bytes()
    with pytest.raises(jb.errors.UnknownTextError, match="in the checkpoint and 'something else' in the table"):
        other.load(tmp_path / "run")
    assert other.to_bytes() == before
    small = buffer_of(table=jb.TextTable(max_bytes=10))
    with pytest.raises(jb.errors.TextTableFullError, match="max_bytes=10"):
        small.load(tmp_path / "run")
    assert len(small) == 0


def test_buffers_that_share_a_table_share_it_again_or_not(tmp_path):
    table = jb.TextTable()
    pair = [buffer_of(rows=n, table=table) for n in (2, 5)]
    jb.checkpoint.save(tmp_path / "run", pair)
    shared = jb.TextTable()
    for fresh in ([buffer_of(table=shared) for _ in range(2)], [buffer_of() for _ in range(2)]):
        found = jb.checkpoint.restore(tmp_path / "run", fresh)
        assert found.tree[0] is fresh[0]
        for a, b in zip(pair, fresh, strict=True):
            assert texts_of(b.table) == texts_of(table)
            assert_same(b.state, a.state)


def test_a_state_with_texts_is_not_saved_without_its_table(tmp_path):
    buffer = buffer_of(rows=3)
    with pytest.raises(jb.errors.StructureError, match=r"hold texts \(messages, obs\): give their table"):
        jb.checkpoint.save(tmp_path / "run", {"replay": buffer.state})
    with pytest.raises(jb.errors.UnknownTextError, match="none of the tables"):
        jb.checkpoint.save(tmp_path / "run", {"replay": buffer.state}, tables=jb.TextTable())
    jb.checkpoint.save(tmp_path / "run", {"replay": buffer.state}, tables=buffer.table)
    found = jb.checkpoint.restore(tmp_path / "run", {"replay": buffer_of().state})
    assert texts_of(found.tables["texts"]) == texts_of(buffer.table)
    named = {"mine": jb.TextTable()}
    with pytest.raises(jb.errors.ConfigurationError, match="no table was saved as 'mine'; saved: 'texts'"):
        jb.checkpoint.restore(tmp_path / "run", {"replay": buffer_of().state}, tables=named)
    jb.checkpoint.save(tmp_path / "bare", {"replay": buffer.state}, tables={})
    assert jb.checkpoint.restore(tmp_path / "bare", {"replay": buffer_of().state}).tables == {}
