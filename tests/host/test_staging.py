"""Rows that wait on the host: when they reach the device, who sees them, and that nothing is half done."""

import sys
import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxbuffers as jb
from host.staged import assert_alike, pair
from jaxbuffers.errors import ConfigurationError

ITEMS = jb.Replay(capacity=600, num_envs=None, batch_size=4, view=jb.Items())


def counting(buffer):
    """Let every call that adds to the state be noted, with the shapes of what is transferred."""
    real, calls = buffer._verbs, []

    def noting(name):
        def shared(kind):
            def run(state, *arrays):
                calls.append((name, [np.shape(leaf) for leaf in jax.tree.leaves(arrays)]))
                return getattr(real, name)(kind)(state, *arrays)

            return run

        return shared

    others = {name: getattr(real, name) for name in ("update", "sample", "stale", "replaced", "rewritten")}
    buffer._verbs = SimpleNamespace(**others, add=noting("add"), add_staged=noting("add_staged"))
    return calls


def test_a_full_block_is_one_program_and_one_array_and_readers_get_the_rest():
    buffer = jb.HostReplay(ITEMS, {"x": np.float32, "y": jax.ShapeDtypeStruct((5,), np.uint8), "z": np.bool_})
    calls = counting(buffer)
    for i in range(600):
        buffer.insert(x=i, y=np.full(5, i % 256, np.uint8), z=i % 2 == 0)
        assert len(buffer) == i + 1
    assert calls == [("add_staged", [(256, 4)])] * 2
    assert sorted(buffer.state.sampler) == []
    assert calls[2:] == [("add_staged", [(256, 4)])], "88 rows need the third of the sizes 1, 8, 64, 256"
    buffer.flush()
    assert len(calls) == 3
    rows, present = buffer.get(jb.Index(np.zeros(600, np.int32), np.arange(600, dtype=np.int32)))
    assert present.all()
    np.testing.assert_array_equal(rows["x"], np.arange(600, dtype=np.float32))
    np.testing.assert_array_equal(rows["y"], np.repeat(np.arange(600)[:, None] % 256, 5, axis=1).astype(np.uint8))
    np.testing.assert_array_equal(rows["z"], np.arange(600) % 2 == 0)


READERS = {
    "sample": lambda buffer: buffer.sample(),
    "batches": lambda buffer: next(buffer.batches()),
    "state": lambda buffer: buffer.state,
    "to_bytes": lambda buffer: buffer.to_bytes(),
    "count": lambda buffer: buffer.count(),
    "get": lambda buffer: buffer.get(jb.Index(np.int32(0), np.int32(0))),
    "update": lambda buffer: buffer.update(jb.Index(np.int32([0]), np.int32([0])), rows={"x": np.float32([5])}),
    "sweep": lambda buffer: buffer.sweep(),
    "text_ids": lambda buffer: buffer.text_ids(),
    "flush": lambda buffer: buffer.flush(),
    "add a large block": lambda buffer: buffer.add({"x": np.zeros(129, np.float32)}),
}


@pytest.mark.parametrize("reader", READERS)
def test_whoever_reads_sees_every_row(reader):
    buffer = jb.HostReplay(ITEMS, {"x": np.float32})
    buffer.insert(x=1.0)
    buffer.insert(x=2.0)
    assert (buffer._staging.count, int(buffer._added.adds)) == (2, 0)
    READERS[reader](buffer)
    assert buffer._staging.count == 0
    assert int(buffer._added.adds) >= 2
    assert len(buffer) == 2 + 129 * (reader == "add a large block")


def test_small_blocks_wait_as_single_rows_do():
    buffer = jb.HostReplay(ITEMS, {"x": np.float32})
    calls, waiting = counting(buffer), []
    for first in range(0, 480, 40):
        buffer.add({"x": np.arange(first, first + 40, dtype=np.float32)})
        buffer.insert(x=-1)
        waiting.append(buffer._staging.count)
        assert len(buffer) == (first // 40 + 1) * 41
    assert waiting == [41, 82, 123, 164, 205, 246] * 2
    assert calls == [("add_staged", [(256, 2)])], "for lack of room"
    buffer.add({"x": np.arange(480, 490, dtype=np.float32)})
    assert buffer._staging.count == 0, "a block that is full goes at once"
    assert calls == [("add_staged", [(256, 2)])] * 2
    rows, present = buffer.get(jb.Index(np.zeros(502, np.int32), np.arange(502, dtype=np.int32)))
    assert present.all()
    expected = np.insert(np.arange(490.0), range(40, 481, 40), -1)
    np.testing.assert_array_equal(rows["x"], expected)
    assert int(buffer.state.adds) == 25


@pytest.mark.parametrize("rows", [1, 2])
def test_a_block_that_cannot_be_added_leaves_the_last_row_out(rows):
    replay = jb.Replay(capacity=2 + rows, num_envs=None, batch_size=2, view=jb.Items())
    buffer = jb.HostReplay(replay, {"x": np.float32})

    def add(x):
        buffer.insert(x=x) if rows == 1 else buffer.add({"x": np.full(rows, x, np.float32)})

    for x in (1, 2):
        buffer.insert(x=x)
    real, full = buffer._verbs, [True]

    def failing(shared):
        def run(*arrays):
            if full:
                raise MemoryError("full")
            return real.add_staged(shared)(*arrays)

        return run

    buffer._verbs = SimpleNamespace(sample=real.sample, add=real.add, add_staged=failing)
    for _ in range(2):
        with pytest.raises(MemoryError):
            add(3)
        assert len(buffer) == 2
    full.clear()
    add(4)
    assert set(buffer.sample(64).data["x"].tolist()) == {1, 2, 4}


def test_an_interrupt_does_not_take_back_what_another_thread_has_brought_meanwhile():
    buffer = jb.HostReplay(ITEMS, {"x": np.float32}, staging=2)
    buffer.insert(x=1)
    buffer.insert(x=2)
    buffer.insert(x=3)
    flush = buffer.flush

    def interrupted():
        buffer.flush = flush
        flush()  # by another thread, which fills the next block
        assert all(buffer._staging.put({"x": np.float32(x)}, None) for x in (5, 6))
        raise KeyboardInterrupt

    buffer.flush = interrupted
    with pytest.raises(KeyboardInterrupt):
        buffer.insert(x=4)
    assert len(buffer) == 6
    assert set(buffer.sample(128).data["x"].tolist()) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("staging", [0, -1, 2.5, True, "many"])
def test_other_sizes_of_blocks_are_refused(staging):
    with pytest.raises(ConfigurationError, match="staging must be an int of at least 1"):
        jb.HostReplay(ITEMS, {"x": np.float32}, staging=staging)


def test_no_more_rows_wait_than_were_asked_for():
    buffer = jb.HostReplay(ITEMS, {"x": np.float32}, staging=3)
    calls, waiting = counting(buffer), []
    for i in range(7):
        buffer.insert(x=i)
        waiting.append(buffer._staging.count)
    assert waiting == [1, 2, 0, 1, 2, 0, 1]
    assert [name for name, _ in calls] == ["add_staged"] * 2


def test_readers_beside_writers_of_numbers_see_whole_rows():
    buffer, done = jb.HostReplay(ITEMS, {"x": np.float32, "y": np.int32}), threading.Event()
    buffer.insert(x=0.0, y=0)
    errors, usual = [], sys.getswitchinterval()

    def write(first):
        try:
            for i in range(first, first + 250):
                buffer.insert(x=float(i), y=i)
        except BaseException as error:
            errors.append(error)

    def read():
        try:
            while not done.is_set():
                least = len(buffer)
                batch = buffer.sample(8)
                assert batch.data["x"].tolist() == batch.data["y"].tolist()
                assert least <= len(buffer) <= 501
        except BaseException as error:
            errors.append(error)

    sys.setswitchinterval(5e-6)
    try:
        writers = [threading.Thread(target=write, args=(first,)) for first in (1, 1001)]
        reader = threading.Thread(target=read)
        for thread in (*writers, reader):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        reader.join()
    finally:
        sys.setswitchinterval(usual)
    assert not errors
    rows, _ = buffer.get(jb.Index(np.zeros(501, np.int32), np.arange(501, dtype=np.int32)))
    y = rows["y"].tolist()
    assert y == rows["x"].tolist()
    assert [i for i in y if i < 1000] == list(range(251))
    assert [i for i in y if i > 1000] == list(range(1001, 1251))


def test_a_checkpoint_in_the_middle_of_a_block_goes_on_bit_for_bit(tmp_path):
    fields = {"x": np.float32, "text": jb.text}
    going, single = pair(ITEMS, fields)
    other = jb.HostReplay(ITEMS, fields)
    for i in range(40):
        for buffer in (going, single):
            buffer.insert(x=i, text=f"t{i % 7}")
    other.insert(x=99, text="forgotten")  # waits, and goes with the state that it was for
    going.save(tmp_path / "one")
    other.load(tmp_path / "one")
    assert other.sample().text("text") == going.sample().text("text") == single.sample().text("text")
    for i in range(40, 60):
        for buffer in (going, other, single):
            buffer.insert(x=i, text=f"t{i % 7}")
    assert_alike(going, single)
    assert_alike(other, single)
