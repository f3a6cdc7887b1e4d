"""Rows that wait on the host: what is taken as it is, when it reaches the device, and that nothing is half done."""

import linecache
import signal
import sys
import threading
from types import SimpleNamespace

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tier import budget

import jaxbuffers as jb
from host.staged import assert_alike, bits, pair
from jaxbuffers.errors import ConfigurationError, EmptyReplayError

DTYPES = "bool uint8 int8 int16 int32 uint32 float16 bfloat16 float32 float8_e4m3fn int4 complex64"
KINDS = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in DTYPES.split()}
ITEMS = jb.Replay(capacity=600, num_envs=None, batch_size=4, view=jb.Items())


def whatever(dice, dtype, shape):
    """Values of a dtype made of random bits, NaNs with a payload among them."""
    if dtype == np.bool_:
        return dice.random(shape) < 0.5
    if dtype.name == "int4":
        return dice.integers(-8, 8, shape).astype(dtype)
    return np.frombuffer(dice.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


@pytest.mark.parametrize("num_envs", [None, 2])
def test_every_kind_of_leaf_arrives_bit_for_bit(num_envs):
    """Scalars, small leaves of odd sizes and large ones of every dtype, in containers and in a flat dict."""
    small = {name: jax.ShapeDtypeStruct((3,), dtype) for name, dtype in KINDS.items()}
    one = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in KINDS.items()}
    fields = {"pair": (small, one), "large": jax.ShapeDtypeStruct((20, 30), np.uint8)}
    replay = jb.Replay(capacity=40, num_envs=num_envs, batch_size=2, view=jb.Items())
    buffers, dice, lead = pair(replay, fields), np.random.default_rng(0), () if num_envs is None else (num_envs,)
    for i in range(35):  # round the ring of two streams
        row = jax.tree.map(lambda leaf: whatever(dice, np.dtype(leaf.dtype), lead + leaf.shape), fields)
        mask = np.asarray(dice.random(lead) < 0.6) if i % 3 == 0 else None
        for buffer in buffers:
            buffer.add(row, mask)
    assert buffers[0]._staging.count > 1
    assert_alike(*buffers)


VALUES = st.one_of(
    st.integers(-(2**65), 2**65),
    st.integers(-3, 300),
    st.floats(),
    st.floats(width=32),
    st.booleans(),
    st.sampled_from(
        [2**24, 2**24 + 1, -(2**31), 2**31, 3.4028234e38, 3.5e38, None, "a", [1], 1j, np.ones(1, np.float32)]
    ),
    st.builds(
        lambda kind, value: np.array(value).astype(kind)[()],
        st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_]),
        st.integers(0, 200),
    ),
)


@pytest.fixture(scope="module")
def scalars():
    replay = jb.Replay(capacity=3000, num_envs=None, batch_size=2, view=jb.Items())
    return {name: pair(replay, {"x": KINDS[name]}) for name in ("float32", "int32", "uint8", "bool", "bfloat16")}


@settings(max_examples=budget(150, 1500), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(value=VALUES, name=st.sampled_from(["float32", "int32", "uint8", "bool", "bfloat16"]))
def test_one_number_is_taken_or_refused_as_without_waiting(scalars, value, name):
    staged, single = scalars[name]
    said = []
    for buffer in (staged, single):
        before = len(buffer)
        try:
            with np.errstate(all="raise"):
                buffer.insert(x=value)
            said.append(None)
        except (ValueError, TypeError) as error:
            said.append((type(error), str(error)))
            assert len(buffer) == before
    assert said[0] == said[1]
    if len(staged) % 20 == 1:
        assert_alike(staged, single)


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
    "add a block": lambda buffer: buffer.add({"x": np.zeros(2, np.float32)}),
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
    assert len(buffer) == 2 + 2 * (reader == "add a block")


def test_the_array_that_was_inserted_may_be_written_to_again():
    buffer, x = jb.HostReplay(ITEMS, {"x": jax.ShapeDtypeStruct((200,), np.float32)}), np.zeros(200, np.float32)
    for i in range(300):
        x[:] = i
        buffer.insert(x=x)
    x[:] = -1
    rows, _ = buffer.get(jb.Index(np.zeros(300, np.int32), np.arange(300, dtype=np.int32)))
    np.testing.assert_array_equal(
        rows["x"][:, [0, 199]], np.repeat(np.arange(300, dtype=np.float32)[:, None], 2, axis=1)
    )


def test_arrays_of_jax_wait_too_and_so_do_their_masks():
    replay = jb.Replay(capacity=8, num_envs=2, batch_size=2, view=jb.Items())
    staged, single = pair(replay, {"x": np.float32})
    for buffer in (staged, single):
        buffer.insert(x=jnp.float32([1, 2]))
        buffer.add({"x": jnp.float32([3, 4])}, jnp.bool_([True, False]))
        buffer.insert(x=np.float32([5, 6]))
    assert staged._staging.count == 3
    assert_alike(staged, single)


def test_a_block_that_cannot_be_added_leaves_the_last_row_out():
    replay = jb.Replay(capacity=3, num_envs=None, batch_size=2, view=jb.Items())
    buffer = jb.HostReplay(replay, {"x": np.float32})
    for x in (1, 2):
        buffer.insert(x=x)
    real, full = buffer._verbs, [True]

    def failing(shared):
        def run(*arrays):
            if full:
                raise MemoryError("full")
            return real.add_staged(shared)(*arrays)

        return run

    buffer._verbs = SimpleNamespace(sample=real.sample, add_staged=failing)
    for _ in range(2):
        with pytest.raises(MemoryError):
            buffer.insert(x=3)
        assert len(buffer) == 2
    full.clear()
    buffer.insert(x=4)
    assert set(buffer.sample(64).data["x"].tolist()) == {1, 2, 4}


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


class Interrupt(BaseException):
    """What the next test raises, as a handler of Ctrl-C would."""


@pytest.mark.parametrize("size", [2, 256])
def test_an_insert_that_is_interrupted_at_any_line_is_whole_or_never_was(size):
    """Every line of the path of one row, by a tracer; from `flush` on handlers wait (tests/host/test_signals.py)."""
    traced = {"insert", "add", "_staged", "put", "_flush_if_full"}

    def interrupted(buffer, at):
        seen = [0]

        def trace(frame, event, _):
            ours = "jaxbuffers/host" in frame.f_code.co_filename.replace("\\", "/")
            if event == "call":
                return trace if ours and frame.f_code.co_name in traced else None
            # Leaving a `with` is traced as one more step on its line, on which no handler ever runs.
            if event == "line" and not linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip().startswith(
                "with"
            ):
                seen[0] += 1
                if seen[0] == at:
                    raise Interrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            buffer.insert(is_last=True, is_terminal=True, x=7.0)
        except Interrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, view=jb.Items())
    fields, outcomes = {"is_last": np.bool_, "is_terminal": np.bool_, "x": np.float32}, set()
    for at in range(1, 200):
        buffer = jb.HostReplay(replay, fields, staging=size)
        buffer.insert(is_last=False, is_terminal=False, x=1.0)
        if not interrupted(buffer, at):
            break
        there = len(buffer) - 1
        outcomes.add(there)
        buffer.insert(is_last=False, is_terminal=False, x=2.0)
        rows, _ = buffer.get(jb.Index(np.zeros(4, np.int32), np.arange(4, dtype=np.int32)))
        assert rows["x"].tolist() == ([1, 7, 2, 0] if there else [1, 2, 0, 0])
        assert rows["is_terminal"].tolist() == ([False, True, False, False] if there else [False] * 4)
        others = threading.Thread(target=buffer.flush)  # the lock is free
        others.start()
        others.join(60)
        assert not others.is_alive()
    else:
        raise AssertionError("the insert never came to its end")
    assert at > 20
    assert outcomes == {0, 1}


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


def test_several_batches_are_those_of_as_many_calls():
    sampler = jb.Mix((0.5, jb.Prioritized()), (0.5, jb.Uniform()))
    replay = jb.Replay(capacity=64, num_envs=2, batch_size=6, view=jb.Sequences(3), sampler=sampler)
    one, other = (jb.HostReplay(replay, {"x": np.float32}, seed=3) for _ in range(2))
    for buffer in (one, other):
        buffer.add({"x": np.arange(40, dtype=np.float32).reshape(20, 2)})
    several = one.sample(batches=4)
    each = [other.sample() for _ in range(4)]
    for i, batch in enumerate(each):
        taken = jax.tree.map(lambda leaf, i=i: leaf[i], several)
        assert bits((taken.data, taken.index, taken.mask, taken.valid)) == bits(
            (batch.data, batch.index, batch.mask, batch.valid)
        )
        np.testing.assert_allclose(taken.probability, batch.probability, rtol=1e-6)
    assert several.data["x"].shape == (4, 6, 3)
    assert len({tuple(np.ravel(batch.data["x"])) for batch in each}) == 4
    assert bits(jax.random.key_data(one.key)) == bits(jax.random.key_data(other.key))
    one.update(taken.index, priority=np.ones(6, np.float32))
    assert jax.tree.leaves(one.sample(2, batches=3).data)[0].shape == (3, 2, 3)


def test_several_batches_of_an_empty_replay_and_no_batches_are_refused():
    buffer = jb.HostReplay(ITEMS, {"x": np.float32, "text": jb.text})
    before = bits(jax.random.key_data(buffer.key))
    with pytest.raises(EmptyReplayError, match="no legal window"):
        buffer.sample(batches=2)
    assert bits(jax.random.key_data(buffer.key)) == before
    with pytest.raises(ConfigurationError, match="batches must be an int of at least 1"):
        buffer.sample(batches=0)
    buffer.insert(x=0, text="a")
    assert buffer.sample(2, batches=2).text("text") == [["a", "a"], ["a", "a"]]


def test_a_signal_while_a_block_is_added_is_handled_afterwards():
    buffer, came = jb.HostReplay(ITEMS, {"x": np.float32}, staging=2), []
    buffer.insert(x=0)
    real = buffer._verbs

    def interrupting(shared):
        def run(*arrays):
            signal.raise_signal(signal.SIGTERM)
            return real.add_staged(shared)(*arrays)

        return run

    buffer._verbs = SimpleNamespace(sample=real.sample, add_staged=interrupting)

    def handle(*_):
        came.append(len(buffer))
        raise Interrupt

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(Interrupt):
            buffer.insert(x=1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [2]
    assert set(buffer.sample(64).data["x"].tolist()) == {0, 1}
