"""max_bytes: a named error and nothing stored, never a text that is silently missing."""

import pytest

import jaxbuffers as jb


def test_over_the_limit_nothing_of_the_call_is_stored(make):
    table = make(max_bytes=300)
    ids = table.intern(["a" * 8, "b" * 8])
    before = table.nbytes
    more = [f"{i:08d}" for i in range(60)]
    with pytest.raises(
        jb.errors.TextTableFullError,
        match=rf"60 new texts take \d+ bytes, the table has {before} of max_bytes=300. Sweep it, or raise the limit",
    ):
        table.intern(["a" * 8, *more])
    assert (len(table), table.nbytes) == (2, before)
    assert table.lookup(ids) == ["a" * 8, "b" * 8]
    assert (table.intern(["a" * 8, "b" * 8]) == ids).all()
    more_ids = table.intern(more[:10])
    assert min(more_ids) > max(ids)
    assert table.nbytes <= 300


def test_the_limit_is_exact_and_counts_what_is_kept(tmp_path, opened):
    for i, path in enumerate((None, tmp_path / "t.db")):
        table = opened(path, max_bytes=10)
        table.intern("é" * 3)
        assert table.nbytes == 6
        with pytest.raises(jb.errors.TextTableFullError):
            table.intern("12345")
        table.intern(["1234", "1234", ""])
        assert table.nbytes == 10, i
        table.commit()
        assert table.nbytes == 10
    packed = opened(max_bytes=9000, compress=True)
    packed.intern("a" * 2**20)
    assert packed.nbytes < 9_000


def test_a_sweep_makes_room_also_before_purge_and_commit(make, replay):
    _, state, _ = replay
    table = make(max_bytes=400)
    for round in range(5):
        table.intern([f"{round}{i:07d}" for i in range(20)])
        if round % 2:
            table.commit()
        assert table.sweep(state) == 20
        assert (len(table), table.nbytes) == (0, 0)
        if round == 3:
            table.purge()
    with pytest.raises(jb.errors.UnknownTextError):
        table.lookup(1)


def test_a_limit_holds_for_what_a_file_has_already(tmp_path, opened):
    with jb.TextTable(tmp_path / "t.db") as table:
        table.intern("x" * 50)
    table = opened(tmp_path / "t.db", max_bytes=60)
    with pytest.raises(
        jb.errors.TextTableFullError, match=r"1 new texts take 11 bytes, the table has 50 of max_bytes=60"
    ):
        table.intern("y" * 11)
    table.intern("y" * 10)


def test_a_merge_that_does_not_fit_stores_nothing(make, opened):
    here, there = make(max_bytes=40), opened()
    here.intern("mine")
    there.intern([f"text {i}" for i in range(100)])
    with pytest.raises(jb.errors.TextTableFullError):
        here.merge(there)
    assert len(here) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_bytes": 0}, "max_bytes must be an int of at least 1, got 0"),
        ({"max_bytes": 1.5}, "max_bytes must be an int of at least 1, got 1.5"),
        ({"cache_bytes": 0}, "cache_bytes must be an int of at least 1, got 0"),
        ({"read_only": True}, "read_only=True needs the path of a file"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(jb.errors.ConfigurationError, match=message):
        jb.TextTable(**options)
