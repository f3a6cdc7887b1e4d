"""A batch of the shell as a mapping: fields by their names, texts as lists, arrays as they are."""

import jax
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from host.shells import shell
from host.test_parts import filled


def loss(mission, reward, notes):
    return mission, reward, notes


def test_a_batch_unpacks_into_the_arguments_of_a_function():
    buffer = shell()
    buffer.insert(mission="go", notes=["x"], reward=0.5)
    batch = buffer.sample()
    mission, reward, notes = loss(**batch)
    assert (mission, notes) == (["go", "go"], [["x", None, None]] * 2)
    assert reward is batch.data["reward"]
    assert dict(batch).keys() == set(batch.keys()) == {"mission", "notes", "reward"}


@pytest.mark.parametrize("view", long_but(["transitions", "pad", "time-major", "episodes"], quick=[3]))
def test_names_are_those_of_a_dataset(view):
    batch = filled(view, "uniform").sample()
    item = jb.BatchDataset([batch])[0]
    assert set(batch.keys()) == set(item) - {"mask"}
    for name in batch.keys():  # noqa: SIM118, a batch has names, but is no mapping to iterate over
        np.testing.assert_equal(batch[name] if name in batch.texts else np.asarray(batch[name]), item[name])


@pytest.mark.parametrize("name", ["nothing", 0, None, "obs"])
def test_what_is_no_field(name):
    with pytest.raises(jb.errors.MissingFieldError, match=r"obs\.mission"):
        filled("transitions", "uniform").sample()[name]


def test_a_batch_is_not_iterated_over():
    batch = filled("transitions", "uniform").sample()
    for mistake in (iter, list):
        with pytest.raises(TypeError, match="not iterable"):
            mistake(batch)
    assert "action" in batch
    assert "actions" not in batch


def test_inside_jit_arrays_are_there_and_texts_are_not():
    buffer = shell()
    buffer.insert(mission="go", notes=["x"], reward=0.5)
    batch = buffer.sample()
    assert float(jax.jit(lambda batch: batch["reward"].sum())(batch)) == 1.0
    with pytest.raises(jb.errors.StructureError, match="Inside jit use the ids"):
        jax.jit(lambda batch: batch["mission"])(batch)


AMBIGUOUS = {"a.b": jb.text, "a": {"b": np.float32}, "x": np.float32}


def test_two_fields_of_one_name_are_refused_by_name():
    buffer = shell(fields=AMBIGUOUS)
    buffer.add({"a.b": "text", "a": {"b": 1.0}, "x": 2.0})
    batch = buffer.sample()
    assert batch.data["a"]["b"].tolist() == [1, 1]
    reads = [lambda: jb.WindowDataset(buffer), lambda: jb.WindowDataset(buffer, copy=False)]
    reads += [lambda: jb.BatchDataset([batch]), batch.keys, lambda: batch["x"], lambda: batch.text("a.b")]
    for read in reads:
        with pytest.raises(jb.errors.StructureError, match=r"both called 'a\.b'"):
            read()


def test_two_fields_of_one_name_are_refused_before_there_are_windows():
    with pytest.raises(jb.errors.StructureError, match=r"both called 'a\.b'"):
        jb.WindowDataset(shell(fields=AMBIGUOUS))
