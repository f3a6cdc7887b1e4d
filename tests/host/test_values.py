"""What a loop in Python may give for a field, and what is refused before anything is written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from host.shells import contents, seen, shell
from jaxbuffers.errors import DtypeError, ShapeError, StructureError, UnknownTextError

GOOD = {"mission": "a", "notes": ["n"], "reward": 0.5}


class Tensor:
    """An array of another library."""

    shape, dtype = (), "float32"


@pytest.mark.parametrize(
    "reward, expected",
    [
        (0, 0.0),
        (0.5, 0.5),
        (-0.0, -0.0),
        (np.float64(0.1), np.float32(0.1)),
        (np.int64(3), 3.0),
        (np.float32(0.25), 0.25),
        (np.array(0.25, np.float32), 0.25),
        (np.arange(6, dtype=np.float32)[::-2][1], 3.0),
        (jnp.float32(0.25), 0.25),
        (float("inf"), np.inf),
        (float("nan"), np.nan),
        (2**24, 2.0**24),
    ],
)
def test_a_number_is_stored_as_it_is(reward, expected):
    buffer = shell()
    buffer.insert(**GOOD | {"reward": reward})
    np.testing.assert_array_equal(np.float32(contents(buffer)[0][2]), np.float32(expected))


def test_a_first_zero_does_not_make_the_field_an_integer():
    buffer = shell()
    for reward in (0, 0.5, 1):
        buffer.insert(**GOOD | {"reward": reward})
    assert [row[2] for row in contents(buffer)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "reward, error",
    [
        (True, DtypeError),
        (np.bool_(True), DtypeError),
        (2**24 + 1, DtypeError),
        (2**2000, DtypeError),
        (1e300, DtypeError),
        (-1e300, DtypeError),
        (1j, DtypeError),
        (None, DtypeError),
        ("0.5", DtypeError),
        ([0.5], DtypeError),
        (np.array(0.5, np.float64), DtypeError),
        (np.float16(0.5), DtypeError),
        (np.int32(1), DtypeError),
        (np.array(0.5, ">f4"), DtypeError),
        (np.array([0.5], np.float32), ShapeError),
        (np.zeros((1, 1), np.float32), ShapeError),
        (np.array("0.5"), DtypeError),
        (np.array(None), DtypeError),
        (Tensor(), DtypeError),
    ],
)
def test_what_is_no_float32_is_refused(reward, error):
    refused(error, GOOD | {"reward": reward, "mission": "new text"})


@pytest.mark.parametrize("text", ["", "a", "ü\0\ud800", None, np.str_("a"), np.array("a"), np.array("a", object)])
def test_texts(text):
    buffer = shell()
    buffer.insert(**GOOD | {"mission": text})
    assert contents(buffer)[0][0] == (None if text is None else str(text))


@pytest.mark.parametrize(
    "text, error",
    [
        (3, DtypeError),
        (b"a", DtypeError),
        (True, DtypeError),
        (1.5, DtypeError),
        (np.int64(0), DtypeError),
        (["a"], ShapeError),
        (np.array(["a"]), ShapeError),
        (np.int32(2**31 - 1), UnknownTextError),
        (np.int32(-2), UnknownTextError),
        (np.zeros(1, np.int32), ShapeError),
    ],
)
def test_what_is_no_text_is_refused(text, error):
    refused(error, GOOD | {"mission": text, "notes": ["new text"]})


def test_ids_of_this_table_are_texts_and_those_of_another_are_not():
    buffer, other = shell(), jb.TextTable()
    ours, theirs = buffer.table.intern(["here", None, "there"]), other.intern(["here"])
    buffer.insert(mission=ours[0], notes=ours, reward=0.0)
    assert contents(buffer) == [("here", ["here", None, "there"], 0.0)]
    refused(UnknownTextError, {"mission": theirs[0], "notes": ["new text"], "reward": 0.0}, buffer)
    refused(
        UnknownTextError,
        {"mission": "new text", "notes": np.array([-1, 0, theirs[0]], np.int32), "reward": 0.0},
        buffer,
    )


@pytest.mark.parametrize("notes", [[], ["x"], ("x", None), np.array(["x", "y"]), ["x", "y", "z"], [None, "z"]])
def test_short_lists_of_texts_are_filled_up(notes):
    buffer = shell()
    buffer.insert(**GOOD | {"notes": notes})
    assert contents(buffer)[0][1] == (list(notes) + [None] * 3)[:3]


@pytest.mark.parametrize(
    "notes, error", [(["x"] * 4, ShapeError), ("xyz", ShapeError), (None, ShapeError), (["x", 1], DtypeError)]
)
def test_what_is_no_list_of_three_texts_is_refused(notes, error):
    refused(error, GOOD | {"notes": notes})


@pytest.mark.parametrize(
    "row",
    [{}, {"mission": "x"}, GOOD | {"more": 1}, [1, 2, 3], None, "row", jb.Row("x", 0, 0.0, False, False, False)],
)
def test_other_rows_are_refused(row):
    refused(StructureError, row)


def test_an_array_that_was_donated_is_refused():
    gone = jnp.float32(0)
    gone.delete()
    refused(StructureError, GOOD | {"reward": gone, "mission": "new text"})


def test_inside_jit_the_shell_refuses_and_keeps_its_state():
    buffer = shell()
    before = seen(buffer)
    with pytest.raises(StructureError, match="inside jit"):
        jax.jit(lambda reward: buffer.insert(**GOOD | {"reward": reward}))(np.float32(0))
    assert seen(buffer) == before


@pytest.mark.parametrize(
    "dtype, good, bad",
    [
        (jnp.bfloat16, [256, 0.1], [257, 70000, True]),
        (np.float16, [2048, 0.1, float("inf")], [2049, 70000, 1e9, True]),
        (jnp.float8_e4m3fn, [256, float("nan")], [255, 1e9, float("inf")]),
        (np.uint8, [0, 255, np.int64(7)], [-1, 256, 0.5, 1.0, True, np.int64(256)]),
        (np.int32, [-(2**31), 2**31 - 1], [2**31, 1.0, False]),
        (np.bool_, [True, np.bool_(False)], [0, 1, 1.0, None]),
    ],
)
def test_numbers_of_other_dtypes(dtype, good, bad):
    buffer = shell(fields={"x": dtype})
    for value in good:
        buffer.insert(x=value)
        newest = jb.Index(np.int32(0), np.asarray(buffer._state.ring.time[0] - 1))
        stored = np.asarray(buffer.replay.get(buffer._state, newest)[0]["x"])
        assert (stored.dtype, stored.tobytes()) == (dtype, np.array(value, dtype).tobytes())
    before = seen(buffer)
    for value in bad:
        with pytest.raises(DtypeError, match="'x'"):
            buffer.insert(x=value)
    assert seen(buffer) == before


@pytest.mark.parametrize("declaration", [None, str, "text", 0.0, object, np.zeros(3, object), jb.Items()])
def test_what_declares_no_field(declaration):
    with pytest.raises(DtypeError):
        shell(fields={"x": declaration})


def refused(error, row, buffer=None):
    """Refuse a row before and after others, leaving all as it was."""
    buffer = buffer or shell()
    for _ in range(2):
        before = seen(buffer)
        with pytest.raises(error):
            buffer.add(row)
        assert seen(buffer) == before
        for number in range(5):  # around the ring
            buffer.insert(mission=f"m{number}", notes=[], reward=number)
