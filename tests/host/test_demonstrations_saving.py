"""Saved demonstrations go on where they were, in the middle of a trajectory too."""

import ml_dtypes
import numpy as np
import pytest

import jaxbuffers as jb
from host.experts import demonstrations, seen, trajectory, transitions, without_features
from jaxbuffers.errors import StructureError, UnknownTextError


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("before", range(6))
def test_a_save_after_every_step(before, independent):
    one = demonstrations(independent=independent)
    steps = trajectory(2, mc_return=float) + trajectory(3, first=10, done=False, mc_return=float)
    for step in steps[:before]:
        one.insert(**step)
    other = demonstrations(independent=independent, table=one.buffer.table)
    other.from_bytes(one.to_bytes())
    assert seen(other) == seen(one)
    for each in (one, other):
        for step in steps[before:]:
            each.insert(**step)
        each.finish()
        assert transitions(each) == {0: (1, False, 0), 1: (1, True, 1)} | {10 + i: (1, False, i) for i in range(3)}


def test_computed_returns_span_the_save():
    one = demonstrations()
    *steps, last = trajectory(4)
    for step in steps:
        one.insert(**step)
    other = demonstrations(table=one.buffer.table)
    other.from_bytes(one.to_bytes())
    other.insert(**last)
    assert [value[2] for _, value in sorted(transitions(other).items())] == [1.875, 1.75, 1.5, 1]


def test_texts_and_features_of_every_kind():
    features = np.zeros((2, 2), ml_dtypes.bfloat16)
    one = jb.Demonstrations(8, features)
    ones, twos = np.full_like(features, 1), np.full_like(features, 2)
    step = trajectory(1, done=False)[0] | {"image_features": ones, "next_image_features": twos}
    step |= {"observation": "ü\0\ud800", "action": ""}
    one.insert(**step)
    other = jb.Demonstrations(8, features, table=one.buffer.table)
    other.from_bytes(one.to_bytes())
    other.finish()
    (item,) = other.dataset()
    assert (item["observation"], item["action"]) == ("ü\0\ud800", "")
    np.testing.assert_array_equal(item["next_image_features"], twos)
    assert item["next_image_features"].dtype == features.dtype


def test_a_reload_replaces_what_was_open():
    one, other = demonstrations(), demonstrations()
    other.insert(**trajectory(1, done=False)[0])
    other.from_bytes(one.to_bytes())
    assert other.open_steps == 0


OTHERS = {
    "gamma": {"gamma": 0.9},
    "mode": {"independent": True},
    "features": {"size": 5},
    "capacity": {"capacity": 17},
    "sampler": {"sampler": jb.Prioritized()},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_declaration_is_refused(other):
    one = demonstrations()
    one.insert(**trajectory(1, done=False)[0])
    another = demonstrations(**OTHERS[other], table=one.buffer.table)
    another.insert(**trajectory(1, size=OTHERS[other].get("size", 4), mc_return=float)[0])
    before = seen(another)
    with pytest.raises(StructureError, match=r"saved from another replay|saved from other demonstrations"):
        another.from_bytes(one.to_bytes())
    assert seen(another) == before


def test_a_table_without_the_texts_is_refused_and_leaves_what_was_open():
    one, other = demonstrations(), demonstrations()
    one.insert_trajectory(trajectory(2))
    other.insert(**trajectory(1, first=5, done=False)[0])
    before = seen(other)
    with pytest.raises(UnknownTextError):
        other.from_bytes(one.to_bytes())
    assert seen(other) == before


def test_every_damage_is_noticed():
    one = demonstrations()
    for step in trajectory(3, done=False):
        one.insert(**step)
    data = one.to_bytes()
    before = seen(one)
    rng = np.random.default_rng(0)
    wrong = [b"", b"nonsense", data[:-1], data + b"\0", one.buffer.to_bytes()]
    for place in [0, len(data) - 1, *rng.integers(0, len(data), 100)]:
        wrong.append(data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :])
    for each in wrong:
        with pytest.raises(StructureError, match="damaged"):
            one.from_bytes(each)
    assert seen(one) == before


def test_text_alone():
    one = jb.Demonstrations(8)
    one.insert(**without_features(trajectory(1, done=False))[0])
    other = jb.Demonstrations(8, table=one.buffer.table)
    other.from_bytes(one.to_bytes())
    other.finish()
    assert other.sample()["next_observation"] == ["o1", "o1"]
