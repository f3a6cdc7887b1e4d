"""What goes in comes out: any string Python can hold, in any shape, in every kind of table."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tier import budget

import jaxbuffers as jb

ANY = st.text(alphabet=st.characters(exclude_categories=()), max_size=40)
FIXTURES = settings(
    max_examples=budget(25, 60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FIXTURES
@given(texts=st.lists(st.none() | ANY, max_size=12))
def test_any_unicode_comes_back_and_equal_texts_share_an_id(table, texts):
    ids = table.intern(texts)
    assert ids.dtype == np.int32
    assert table.lookup(ids) == texts
    for a, one in zip(texts, ids, strict=True):
        assert (a is None) == (one == -1)
        for b, other in zip(texts, ids, strict=True):
            assert (a == b) == (one == other)


@pytest.mark.parametrize(
    "text",
    ["", "\0", "a\0", "\ud800", "\ud83d\ude00", "\U0001f600", "é", "e\u0301", "\ufeff", "\r\n", "\U0010ffff"],
    ids=ascii,
)
def test_what_often_breaks_comes_back_committed_or_not(table, text):
    i = table.intern(text)
    assert i.dtype == np.int32
    assert i > 0
    assert table.lookup(i) == text
    table.commit()
    assert table.lookup(i) == text
    assert table.intern(text) == i


def test_surrogates_are_not_what_they_would_mean_as_a_pair(table):
    a, b = table.intern(["\ud83d\ude00", "\U0001f600"])
    assert a != b
    assert (table.digests(a) != table.digests(b)).any()


@pytest.mark.parametrize("letter", ["a", "é", "\ud800"], ids=ascii)
def test_megabytes(table, letter):
    texts = [letter * 2**20, letter * (2**20 + 1), letter * 2**20]
    ids = table.intern(texts)
    table.commit()
    assert ids[0] == ids[2] != ids[1]
    assert table.lookup(ids) == texts
    assert len(table) == 2


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (2, 0), (0, 3), (1, 2, 2)])
def test_shapes(table, shape):
    count = int(np.prod(shape))
    for texts in (np.array([str(i) for i in range(count)], object).reshape(shape), np.full(shape, "x")):
        ids = table.intern(texts)
        assert ids.shape == shape
        assert table.lookup(ids) == texts.tolist()
        assert table.digests(ids).shape == (*shape, 16)


def test_lists_tuples_and_scalars(table):
    ids = table.intern((["a", None], ("b", "a")))
    assert ids.shape == (2, 2)
    assert table.lookup(ids) == [["a", None], ["b", "a"]]
    assert table.intern(None) == -1
    assert table.intern(np.str_("a")) == ids[0, 0]
    assert table.intern(np.array("b")) == ids[1, 0]
    assert table.lookup(int(ids[0, 0])) == "a"
    assert table.intern([[], []]).shape == (2, 0)
    assert table.lookup([]) == []


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint32, np.uint64])
def test_null_and_zero_are_no_text_in_any_integer(table, dtype):
    table.intern("a")
    assert table.lookup(np.zeros((2, 1), dtype)) == [[None], [None]]
    if np.dtype(dtype).kind == "i":
        assert table.lookup(dtype(-1)) is None
    assert not table.digests(np.zeros(3, dtype)).any()


def test_digests_are_the_same_in_every_table_and_are_blake2b(table):
    other = jb.TextTable()
    other.intern(["x", "y"])
    a, b = table.digests(table.intern(["", "abc"])), other.digests(other.intern(["", "abc"]))
    np.testing.assert_array_equal(a, b)
    assert a.dtype == np.uint8
    assert a[1].tobytes().hex() == "cf4ab791c62b8d2b2109c90275287816"
    assert a[0].tobytes().hex() == "cae66941d9efbd404e4d88758ea67670"


@pytest.mark.parametrize(
    "wrong", [3, b"a", ["a", 1], {"a": 1}, np.arange(2), [["a"], "b"], [["a"], ["b", "c"]]], ids=str
)
def test_what_is_no_text_is_refused_before_anything_is_stored(table, wrong):
    with pytest.raises(
        (jb.errors.DtypeError, jb.errors.ShapeError),
        match=r"expected a str or a list|different lengths; fill them up with None",
    ):
        table.intern(["kept?", wrong])
    with pytest.raises((jb.errors.DtypeError, jb.errors.ShapeError)):
        table.intern(wrong)
    assert len(table) == 0


def test_the_message_does_not_repeat_a_megabyte(table):
    with pytest.raises(jb.errors.DtypeError) as error:
        table.intern([b"a" * 2**20])
    assert len(str(error.value)) < 200
