"""Texts are freed when nothing refers to them any more, and never before."""

import jax
import numpy as np
import pytest

import jaxbuffers as jb
from host.shells import contents, seen, shell
from jaxbuffers.errors import TextTableFullError, UnknownTextError


def texts(buffer):
    return {text.decode() for _, text in buffer.table._store.items()}


def fill(buffer, numbers, notes=()):
    for i in numbers:
        buffer.insert(mission=f"m{i}", notes=list(notes), reward=i)


def test_overwritten_texts_are_freed():
    buffer = shell()
    fill(buffer, range(4), ["note", "note"])
    assert buffer.sweep() == 0
    fill(buffer, range(4, 7))
    batch = buffer.sample(64)
    assert buffer.sweep() == 3
    assert texts(buffer) == {"m3", "m4", "m5", "m6", "note"}
    assert set(batch.text("mission")) == {"m3", "m4", "m5", "m6"}
    fill(buffer, [7])
    assert buffer.sweep() == 2
    with pytest.raises(UnknownTextError):
        batch.text("mission")


def test_forks_and_pins_keep_their_texts_until_they_are_given_up():
    buffer = shell()
    fill(buffer, range(4))
    fork, pins = buffer.state, buffer.table.intern(["m1", "m2"])
    fill(buffer, range(4, 8))
    assert buffer.sweep(states=[fork], pins=pins) == 0
    assert [row[0] for row in contents(buffer, fork)] == ["m0", "m1", "m2", "m3"]
    assert buffer.sweep(states={}, pins=[pins[:1], pins[1]]) == 2
    assert texts(buffer) == {"m1", "m2", "m4", "m5", "m6", "m7"}
    assert buffer.sweep(pins=pins[1:]) == 1
    assert buffer.sweep() == 1
    assert buffer.sweep() == 0


def test_another_replay_on_the_same_table_keeps_its_texts_when_its_state_is_given():
    table = jb.TextTable()
    one, two = shell(table=table), shell(table=table)
    fill(one, range(4))
    fill(two, range(2, 6))
    fill(one, range(10, 14))
    assert one.sweep(states=two.state) == 2
    assert [row[0] for row in contents(two)] == ["m2", "m3", "m4", "m5"]
    assert one.sweep() == 2  # two is given up


def test_everything_frees_what_no_row_of_this_replay_ever_held():
    buffer = shell()
    fill(buffer, range(2))
    held = buffer.table.intern(["elsewhere", "pinned"])
    assert buffer.sweep() == 0
    assert buffer.sweep(pins=held[1:], everything=True) == 1
    assert texts(buffer) == {"m0", "m1", "pinned"}


def test_a_text_that_came_back_is_kept():
    buffer = shell()
    fill(buffer, [0, 1, 2, 3, 0])
    assert buffer.sweep() == 0
    fill(buffer, [4, 5, 6, 7])
    assert buffer.sweep() == 4


def test_many_overwritten_texts_are_remembered_in_little_room():
    buffer = shell()
    for i in range(1200):
        buffer.insert(mission=f"m{i % 7}", notes=[], reward=0)
    assert len(buffer._replaced) < 1001
    assert buffer.sweep() == 3


def test_environments_that_wait_keep_their_texts():
    buffer = shell(capacity=4, num_envs=2, fields={"mission": jb.text})
    for i in range(3):
        buffer.add({"mission": [f"a{i}", f"b{i}"]}, mask=np.array([True, i < 2]))
    assert buffer.sweep() == 1
    assert texts(buffer) == {"a1", "a2", "b0", "b1"}
    buffer.add({"mission": [[f"a{i}", f"b{i}"] for i in (3, 4)]}, mask=np.array([[False, True], [True, False]]))
    assert buffer.sweep() == 2
    assert texts(buffer) == {"a2", "a4", "b1", "b3"}


def test_a_full_table_refuses_a_row_and_takes_it_after_a_sweep():
    buffer = shell(table=jb.TextTable(max_bytes=10))
    fill(buffer, range(5))
    before = seen(buffer)
    with pytest.raises(TextTableFullError):
        buffer.insert(mission="m0", notes=["xy", "z"], reward=0)
    assert seen(buffer) == before
    assert buffer.sweep() == 1
    buffer.insert(mission="m4", notes=["xy"], reward=0)
    assert contents(buffer)[-1] == ("m4", ["xy", None, None], 0.0)


def test_texts_written_back_are_known_and_those_they_replace_can_be_freed():
    buffer = shell(batch_size=1)
    buffer.insert(mission="old", notes=["a", "b"], reward=0)
    kept, batch = buffer.state, buffer.sample()
    before = seen(buffer)
    foreign = jb.TextTable().intern(["x"])
    for wrong, error in ((foreign, UnknownTextError), (["new"], TypeError), (np.zeros(1, np.int64), TypeError)):
        with pytest.raises(error):
            buffer.update(batch.index, rows={"mission": wrong})
        assert seen(buffer) == before
    buffer.update(batch.index, rows={"mission": buffer.table.intern(["new"])})
    assert buffer.sample().text("mission") == ["new"]
    assert contents(buffer, kept) == [("old", ["a", "b", None], 0.0)]
    assert buffer.sweep() == 1
    assert texts(buffer) == {"new", "a", "b"}


def test_a_replay_without_texts_has_nothing_to_sweep():
    buffer = shell(fields={"x": np.float32})
    buffer.insert(x=1)
    assert buffer.sweep() == 0
    buffer.table.intern("nobody's")
    assert buffer.sweep() == 0
    assert buffer.sweep(everything=True) == 1


def test_stacked_forks():
    buffer = shell()
    fill(buffer, range(4))
    first = buffer.state
    fill(buffer, range(4, 8))
    second = buffer.state
    fill(buffer, range(8, 12))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), first, second)
    assert buffer.sweep(states=stacked) == 0
    assert buffer.sweep(states=second) == 4
    assert buffer.sweep() == 4
