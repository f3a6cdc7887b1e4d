"""Blocks of rows, masks and environments: what goes in, in which axes, and what is refused."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from host.shells import contents, seen, shell
from jaxbuffers.errors import DtypeError, ShapeError


def block(count, first=0):
    numbers = range(first, first + count)
    return {
        "mission": [f"m{i}" for i in numbers],
        "notes": [[f"n{i}"] * (i % 4) for i in numbers],
        "reward": np.arange(first, first + count, dtype=np.float32),
    }


def rows(numbers):
    return [(f"m{i}", ([f"n{i}"] * (i % 4) + [None] * 3)[:3], float(i)) for i in numbers]


@pytest.mark.parametrize("sizes", long_but([[4], [3, 3], [1, 4, 2], [0, 2, 0], [4, 4], [2, 0, 1, 3]], quick=[5]))
def test_blocks_go_around_the_ring(sizes):
    buffer, count = shell(), 0
    for size in sizes:
        buffer.add(block(size, count))
        count += size
        assert len(buffer) == min(count, 4)
        assert contents(buffer) == rows(range(max(0, count - 4), count))


def test_a_block_without_rows_adds_nothing():
    buffer = shell()
    buffer.add({"mission": [], "notes": [], "reward": np.zeros(0, np.float32)})
    buffer.add({"mission": [], "notes": np.zeros((0, 3), np.int32), "reward": np.zeros(0, np.float32)})
    assert len(buffer) == len(buffer.table) == 0


def test_a_block_larger_than_the_ring_is_refused():
    buffer = shell()
    before = seen(buffer)
    with pytest.raises(ShapeError, match="5 rows a stream do not fit"):
        buffer.add(block(5))
    assert seen(buffer) == before


@pytest.mark.parametrize(
    "mask, error",
    [
        ([True] * 3, DtypeError),
        (True, DtypeError),
        (np.ones(3, np.int32), DtypeError),
        (np.ones(2, np.bool_), ShapeError),
        (np.ones((3, 1), np.bool_), ShapeError),
        (np.bool_(True), ShapeError),
    ],
)
def test_a_wrong_mask_is_refused_before_texts_are_stored(mask, error):
    buffer = shell()
    buffer.add(block(3), mask=np.ones(3, np.bool_))
    before = seen(buffer)
    with pytest.raises(error, match="mask"):
        buffer.add(block(3, 10), mask=mask)
    assert seen(buffer) == before


@pytest.mark.parametrize("asarray", [np.asarray, jnp.asarray])
def test_rows_that_the_mask_leaves_out_leave_no_text_behind(asarray):
    buffer = shell()
    for first in (0, 3, 6):
        buffer.add(block(3, first), mask=asarray(np.array([True, False, True])))
    assert contents(buffer) == rows([3, 5, 6, 8])
    buffer.add(block(3, 100), mask=asarray(np.zeros(3, np.bool_)))
    assert contents(buffer) == rows([3, 5, 6, 8])
    assert not {"m1", "n1", "m100"} & {text.decode() for _, text in buffer.table._store.items()}


@pytest.mark.parametrize("leaf", ["mission", "notes", "reward"])
def test_leaves_that_disagree_on_their_axes_are_refused(leaf):
    buffer = shell()
    before = seen(buffer)
    with pytest.raises(ShapeError):
        buffer.add(block(3) | {leaf: block(2)[leaf]})
    assert seen(buffer) == before


class Observation(NamedTuple):
    mission: object
    image: object


FIELDS = {"obs": Observation(jb.text, jax.ShapeDtypeStruct((2, 2), np.uint8)), "pair": (np.float32, jb.text[2])}


def many(lead):
    """Rows ``[*lead]`` of `FIELDS`, whose values say where they are."""
    number = np.arange(np.prod(lead, dtype=int)).reshape(lead)
    name = np.char.add("t", number.astype(str))
    image = np.broadcast_to(number[..., None, None], (*lead, 2, 2)).astype(np.uint8)
    texts = np.stack([name, name], axis=-1).tolist()
    return {"obs": Observation(name.tolist(), image), "pair": (number.astype(np.float32), texts)}


@pytest.mark.parametrize("lead", [(2,), (3, 2), (0, 2)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_several_environments_and_nested_rows(lead, order):
    buffer = shell(capacity=8, num_envs=2, batch_size=16, fields=FIELDS)
    given = many(lead)
    given["obs"] = given["obs"]._replace(image=np.asarray(given["obs"].image, order=order))
    buffer.add(given)
    assert len(buffer) == np.prod(lead)
    if not len(buffer):
        return
    batch = buffer.sample()
    number = np.asarray(batch.data["pair"][0])
    assert set(number.tolist()) == set(range(len(buffer)))
    assert batch.texts == ("obs.mission", "pair.1")
    assert batch.text("obs.mission") == [f"t{i:.0f}" for i in number]
    assert batch.text("pair.1") == [[f"t{i:.0f}"] * 2 for i in number]
    np.testing.assert_array_equal(batch.data["obs"].image, np.broadcast_to(number[:, None, None], (16, 2, 2)))
    np.testing.assert_array_equal(batch.index.stream, number % 2)


@pytest.mark.parametrize("lead", [(), (3,), (1,), (2, 3), (1, 2, 2)])
def test_other_axes_than_those_of_the_environments_are_refused(lead):
    buffer = shell(capacity=8, num_envs=2, batch_size=16, fields=FIELDS)
    before = seen(buffer)
    with pytest.raises(ShapeError):
        buffer.add(many(lead))
    assert seen(buffer) == before


def test_a_mask_of_environments():
    buffer = shell(capacity=8, num_envs=2, batch_size=16, fields=FIELDS)
    for _ in range(6):
        buffer.add(many((2,)), mask=np.array([False, True]))
    assert len(buffer) == 4
    assert set(buffer.sample().text("obs.mission")) == {"t1"}


ROW = jb.Row(jb.text, np.int32, np.float32, np.bool_, np.bool_, np.bool_)


def test_rows_of_a_class_by_their_fields():
    buffer = shell(fields=ROW)
    flags = {"is_first": True, "is_last": False, "is_terminal": False}
    buffer.insert(obs="x", action=1, reward=0, **flags)
    buffer.add(jb.Row("x", 1, 0.0, *flags.values()))
    assert buffer.sample().text("obs") == ["x", "x"]
    before = seen(buffer)
    for wrong in ({"observation": "y"}, {}):
        with pytest.raises(ValueError, match="obs, action, reward"):
            buffer.insert(action=1, reward=0, **flags, **wrong)
    assert seen(buffer) == before


def test_a_row_that_is_one_text():
    buffer = shell(fields=jb.text)
    buffer.add("a")
    buffer.add(["b", "c"])
    assert set(buffer.sample(32).text("")) == {"a", "b", "c"}
