"""What waits on the host is bit for bit what was given, and is refused as it would be without waiting."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tier import budget, long_but

import jaxbuffers as jb
from host.staged import assert_alike, pair

ITEMS = jb.Replay(capacity=600, num_envs=None, batch_size=4, view=jb.Items())


DTYPES = "bool uint8 int8 int16 int32 uint32 float16 bfloat16 float32 float8_e4m3fn int4 complex64"
KINDS = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in DTYPES.split()}


def whatever(dice, dtype, shape):
    """Values of a dtype made of random bits, NaNs with a payload among them."""
    if dtype == np.bool_:
        return dice.random(shape) < 0.5
    if dtype.name == "int4":
        return dice.integers(-8, 8, shape).astype(dtype)
    return np.frombuffer(dice.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


@pytest.mark.parametrize("num_envs", long_but([None, 2], quick=[1]))
def test_every_kind_of_leaf_arrives_bit_for_bit(num_envs):
    """Scalars, small leaves of odd sizes and large ones of every dtype, in containers and in a flat dict."""
    small = {name: jax.ShapeDtypeStruct((3,), dtype) for name, dtype in KINDS.items()}
    one = {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in KINDS.items()}
    fields = {"pair": (small, one), "large": jax.ShapeDtypeStruct((20, 30), np.uint8)}
    replay = jb.Replay(capacity=40, num_envs=num_envs, batch_size=2, view=jb.Items())
    buffers, dice, lead = pair(replay, fields), np.random.default_rng(0), () if num_envs is None else (num_envs,)
    waited = 0
    for i in range(35):  # round the ring of two streams
        axes = (int(dice.integers(1, 4)), *lead) if i % 5 == 4 else lead
        row = jax.tree.map(lambda leaf, axes=axes: whatever(dice, np.dtype(leaf.dtype), axes + leaf.shape), fields)
        mask = np.asarray(dice.random(axes) < 0.6) if i % 3 == 0 else None
        for buffer in buffers:
            buffer.add(row, mask)
        waited = max(waited, buffers[0]._staging.count)
    assert waited > 1
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


@settings(max_examples=budget(80, 1500), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
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


FLAGS = {"is_last": np.bool_, "is_terminal": np.bool_, "x": np.float32}
BAD = [
    {"x": np.zeros(3, np.float64)},
    {"x": np.zeros(2, np.float32)},
    {"x": np.zeros((3, 1), np.float32)},
    {"x": np.float32(0)},
    {"x": None},
    {"is_terminal": np.array([False, True, False])},
    {"more": np.zeros(3, np.float32)},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_block_that_is_refused_leaves_nothing_behind_and_is_refused_as_without_waiting(bad):
    said = []
    for buffer in pair(jb.Replay(capacity=30, num_envs=None, batch_size=4, view=jb.Items()), FLAGS):
        rows = {"is_last": np.zeros(3, np.bool_), "is_terminal": np.zeros(3, np.bool_), "x": np.ones(3, np.float32)}
        buffer.add(rows)
        with pytest.raises((ValueError, TypeError)) as error:
            buffer.add(rows | bad)
        said.append((type(error.value), str(error.value)))
        assert len(buffer) == 3
        with pytest.raises((ValueError, TypeError), match="mask"):
            buffer.add(rows, np.ones(2, np.bool_))
        buffer.add(rows | {"is_terminal": np.ones(3, np.bool_)}, mask=np.zeros(3, np.bool_))
        assert (len(buffer), int(buffer.state.adds)) == (3, 2)
    assert said[0] == said[1]
