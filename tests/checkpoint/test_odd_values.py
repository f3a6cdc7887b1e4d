"""What is too large, too deep, laid out otherwise, or said by another writer: an error with a name."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.checkpoint import file, snapshot

from .same import assert_same


@pytest.mark.parametrize("value", [1.5, 1, 1j])
def test_weak_types_stay_weak_on_a_device_that_was_chosen(tmp_path, value):
    leaf = jax.device_put(jnp.asarray(value), jax.devices()[0])
    assert leaf.committed
    assert leaf.weak_type
    jb.checkpoint.save(tmp_path / "run", leaf)
    found = jb.checkpoint.restore(tmp_path / "run", leaf).tree
    assert_same(found, leaf)
    assert found.committed


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic():
    value = {}
    value["me"] = value
    return value


@pytest.mark.parametrize(
    "tree, metadata, words",
    [
        ({"x": 10**5000}, None, "leaf 'x' is an int of 16610 bits"),
        ({}, {"x": 10**5000}, r"metadata\['x'\] is an int of 16610 bits"),
        ({}, nested(900), "nested more than 100 deep"),
        ({}, cyclic(), "nested more than 100 deep, or holds itself"),
    ],
)
def test_what_json_does_not_take_is_named(tmp_path, tree, metadata, words):
    with pytest.raises(jb.errors.DtypeError, match=words):
        jb.checkpoint.save(tmp_path / "run", tree, metadata=metadata)
    assert not list(tmp_path.iterdir())


def test_the_largest_and_the_deepest_come_back(tmp_path):
    jb.checkpoint.save(tmp_path / "run", -(10**4000), metadata=nested(98))
    found = jb.checkpoint.restore(tmp_path / "run", 0)
    assert (found.tree, found.metadata) == (-(10**4000), nested(98))


def test_a_path_with_a_nul(tmp_path):
    for call in (lambda path: jb.checkpoint.save(path, 1), jb.checkpoint.metadata, jb.checkpoint.Manager):
        with pytest.raises(jb.errors.CheckpointError, match="NUL"):
            call(f"{tmp_path}/a\0b")


def test_a_sharding_that_does_not_fit_names_the_leaf(tmp_path, monkeypatch):
    def refused(*_):
        raise ValueError("the dimension 3 is not divisible by 2")

    monkeypatch.setattr(jax, "device_put", refused)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = {"x": jax.ShapeDtypeStruct((3,), jnp.float32, sharding=sharding)}
    jb.checkpoint.save(tmp_path / "run", {"x": np.zeros(3, np.float32)})
    with pytest.raises(jb.errors.ShapeError, match=r"leaf 'x' cannot be laid out as that of like is: .*divisible"):
        jb.checkpoint.restore(tmp_path / "run", like)


@pytest.mark.parametrize("absent", ["leaves", "made_by", "parts", "tables"])
def test_a_header_that_lacks_something_is_no_checkpoint(tmp_path, absent):
    words = snapshot.taken({}, None, None, None, False).words
    del words[absent]
    file.write(tmp_path / "run", {"jaxbuffers": json.dumps(words)}, {})
    with pytest.raises(jb.errors.DamagedCheckpointError, match=f"has no '{absent}'"):
        jb.checkpoint.restore(tmp_path / "run", {})


def test_metadata_of_another_format_is_refused(tmp_path):
    file.write(tmp_path / "run", {"jaxbuffers": json.dumps({"format": 99})}, {})
    with pytest.raises(jb.errors.CheckpointError, match="format 99"):
        jb.checkpoint.metadata(tmp_path / "run")
