"""Prompts as messages: each is stored once, whatever prompts repeat it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tier import budget

import jaxbuffers as jb

FIXTURES = settings(
    max_examples=budget(20, 40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FIXTURES
@given(prompts=st.lists(st.lists(st.text(alphabet=st.characters(exclude_categories=()), max_size=3), max_size=5)))
def test_prompts_come_back(table, prompts):
    ids, mask = jb.intern_messages(table, prompts, size=5)
    assert ids.shape == mask.shape == (len(prompts), 5)
    assert (ids.dtype, mask.dtype) == (np.int32, np.bool_)
    assert ((ids == -1) == ~mask).all()
    assert mask.sum(axis=1).tolist() == [len(prompt) for prompt in prompts]
    assert jb.lookup_messages(table, ids) == prompts
    for row, prompt in zip(ids, prompts, strict=True):
        assert jb.lookup_messages(table, row) == prompt


def test_a_history_is_stored_once(table):
    rounds = [f"message {i} " + "x" * 1000 for i in range(40)]
    prompts = [rounds[:i] for i in range(41)]
    ids, _ = jb.intern_messages(table, prompts, size=40)
    assert len(table) == 40
    for row in ids[1:]:
        assert (row[row > 0] == ids[-1][row > 0]).all()
    assert jb.lookup_messages(table, ids.reshape(41, 1, 40)) == [[prompt] for prompt in prompts]


@pytest.mark.parametrize(
    "prompts, error, message",
    [
        (
            [["a"], ["a", "b", "c"]],
            jb.errors.ShapeError,
            r"prompts\[1\] has 3 messages, more than size=2; nothing is cut off",
        ),
        ([["a"], "ab"], jb.errors.DtypeError, r"prompts\[1\] is a str, expected a list of messages"),
        (["ab"], jb.errors.DtypeError, r"prompts\[0\] is a str"),
        ([["a"], ["a", None]], jb.errors.DtypeError, r"prompts\[1\] must be a list of str, got \['a', None\]"),
        ([["a", b"b"]], jb.errors.DtypeError, r"prompts\[0\] must be a list of str"),
    ],
)
def test_refused_before_anything_is_stored(table, prompts, error, message):
    with pytest.raises(error, match=message):
        jb.intern_messages(table, prompts, size=2)
    assert len(table) == 0


def test_sizes_and_shapes(table):
    with pytest.raises(jb.errors.ConfigurationError, match=r"size must be an int of at least 1"):
        jb.intern_messages(table, [["a"]], size=0)
    with pytest.raises(jb.errors.ShapeError, match=r"ids must be an array \[..., M\]"):
        jb.lookup_messages(table, table.intern("a"))
    ids, mask = jb.intern_messages(table, [], size=3)
    assert ids.shape == mask.shape == (0, 3)
    assert jb.lookup_messages(table, ids) == []
    with pytest.raises(jb.errors.UnknownTextError):
        jb.lookup_messages(table, np.array([2**31 - 1, -1]))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, (), (2, 0), "a", slice(2)], ids=str)
def test_the_size_of_a_text_field(wrong):
    with pytest.raises(jb.errors.ShapeError, match=r"write jb.text or jb.text\[8\], with sizes of at least 1; got "):
        jb.text[wrong]


def test_text_fields():
    assert jb.text[8].shape == (8,)
    assert jb.text[2, 3].shape == (2, 3)
    assert jb.text[2, 3] == jb.text[2, 3] != jb.text[3, 2]
    assert jb.text.dtype == np.int32
    with pytest.raises(jb.errors.ShapeError):
        jb.text[2][3]
    with pytest.raises(TypeError):
        list(jb.text)
