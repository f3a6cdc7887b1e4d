"""Every dtype and shape comes back bit for bit, in every container and layout.

With JAX_ENABLE_X64=1 in the environment, the 64-bit dtypes too (test_x64.py).
"""

import math
from collections import namedtuple
from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import struct
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.storage import packing


def zeros(shape=(), dtype=jnp.float32):
    """Zeros of one dtype, with or without 64-bit types."""
    return jnp.zeros(shape, dtype)


WIDE = ["int64", "uint64", "float64", "complex128"]
FLOATS = ["float16", "bfloat16", "float32", "float8_e4m3fn", "float8_e5m2"]
DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint4", "int4", "complex64", *FLOATS]
if jax.config.jax_enable_x64:
    DTYPES += WIDE
OF_EACH_SIZE = {"uint16", "int4", "complex64", *WIDE}  # "beside" has one byte, floats below four, flags are bools
ENVS, LENGTH = 2, 4
VERBS = "add", "sample", "update", "get"
layouts = pytest.mark.parametrize("layout", long_but(["flat", "tiled"], quick=[0]))  # see "both layouts" below


def patterns(dtype, shape, seed=0):
    """Random bits: NaN payloads, negative zeros, infinities and denormals included."""
    dtype, generator = np.dtype(dtype), np.random.default_rng(seed)
    if dtype == np.bool_ or "int4" in dtype.name:
        return generator.integers(0, 2 if dtype == np.bool_ else 8, shape).astype(dtype)
    raw = generator.integers(0, 256, (math.prod(shape), dtype.itemsize), np.uint8)
    return raw.reshape(-1).view(dtype).reshape(shape)


def same_bits(got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert got.tobytes() == expected.tobytes()


add, sample, update, get = (jax.jit(getattr(jb.Replay, verb), static_argnums=0) for verb in VERBS)
EVERYWHERE = jb.Index(*(jnp.asarray(axis, jnp.int32) for axis in np.meshgrid(np.arange(ENVS), np.arange(LENGTH))))


def through(row, rows, layout="flat"):
    """Add rows [T, E] in one call and read all of them back, as [T, E]."""
    replay = jb.Replay(capacity=ENVS * LENGTH, num_envs=ENVS, batch_size=8, view=jb.Items(), layout=layout)
    state = add(replay, replay.init(row), rows)
    return replay, state, get(replay, state, EVERYWHERE)


@layouts
@pytest.mark.parametrize("dtype", long_but(DTYPES, quick=[DTYPES.index(x) for x in DTYPES if x in OF_EACH_SIZE]))
def test_every_bit_of_every_shape_survives_add_get_sample_and_update(dtype, layout):
    # A neighbor of one byte shows a leaf that writes past its own place in the packed block.
    kinds = {"scalar": (dtype, ()), "vector": (dtype, (3,)), "beside": ("uint8", ()), "matrix": (dtype, (5, 7))}
    stored = {name: patterns(kind, (LENGTH, ENVS, *shape)) for name, (kind, shape) in kinds.items()}
    row = {name: zeros(shape, kind) for name, (kind, shape) in kinds.items()}
    replay, state, (read, present) = through(row, jax.tree.map(jnp.asarray, stored), layout)
    assert present.all()
    for name, expected in stored.items():
        same_bits(read[name], expected)

    batch = sample(replay, state, jax.random.key(0))
    time, stream = np.asarray(batch.index.time), np.asarray(batch.index.stream)
    for name, expected in stored.items():
        same_bits(batch.data[name], expected[time, stream])

    new = {name: patterns(*kinds[name][:1], (LENGTH, ENVS, *kinds[name][1]), seed=2)[time, stream] for name in stored}
    del new["beside"], new["vector"]
    state = update(replay, state, batch.index, rows=jax.tree.map(jnp.asarray, new))
    for name, values in new.items():
        stored[name][time, stream] = values
    read, _ = get(replay, state, EVERYWHERE)
    for name, expected in stored.items():
        same_bits(read[name], expected)


@pytest.mark.parametrize("dtype", long_but(FLOATS + ["float64"] * jax.config.jax_enable_x64, quick=[1, 2, 4]))
def test_floats_that_compare_oddly_keep_their_bits(dtype):
    """NaN payloads, -0.0, infinities and denormals, in a view that masks and multiplies as well."""
    size = np.dtype(dtype).itemsize * 8
    if size == 8:
        odd = np.arange(256, dtype=np.uint8)
    else:
        exponent = {16: 0x7C00, 32: 0x7F800000, 64: 0x7FF << 52}[size] if dtype != "bfloat16" else 0x7F80
        sign = 1 << (size - 1)
        odd = [
            sign,
            1,
            sign | 1,
            exponent,
            sign | exponent,
            exponent | 1,
            exponent | 5,
            sign | exponent | 3,
            exponent - 1,
        ]
        odd = np.array(odd, f"uint{size}")
    values = odd.view(dtype)
    replay = jb.Replay(capacity=len(values), num_envs=None, batch_size=64, view=jb.Sequences(2, "pad"))
    row = {"x": zeros((), dtype), "is_first": jnp.bool_(False)}
    rows = {"x": jnp.asarray(values), "is_first": zeros(len(values), jnp.bool_)}
    state = add(replay, replay.init(row), rows)
    batch = sample(replay, state, jax.random.key(0))
    time, mask = np.asarray(batch.index.time), np.asarray(batch.mask)
    same_bits(np.asarray(batch.data["x"])[mask], values[time[mask]])
    assert not np.asarray(batch.data["x"])[~mask].tobytes().strip(b"\0")


@layouts
@pytest.mark.parametrize("more", long_but([-1, 0, 1, 2, 4], quick=[1, 2]))
@pytest.mark.parametrize("dtype", long_but(["uint8", "bfloat16", "float32"], quick=[0, 2]))
def test_leaves_around_the_packing_limit_come_back_bit_for_bit(dtype, more, layout):
    shape = (packing.SMALL // np.dtype(dtype).itemsize + more,)
    rows = patterns(dtype, (LENGTH, ENVS, *shape))
    _, state, (read, _) = through(zeros(shape, dtype), jnp.asarray(rows), layout)
    assert len(state.ring.blocks) == (more > 0), "the limit is not where this test looks for it"
    same_bits(read, rows)


@pytest.mark.parametrize(
    "view", long_but([jb.Items(), jb.Transitions(2), jb.Sequences(3, "within", burn_in=1)], quick=[2]), ids=repr
)
def test_both_layouts_sample_and_update_alike(view):
    def fields(*lead):
        return {
            "obs": {
                "image": jnp.asarray(patterns("uint8", (*lead, 9, 130))),
                "s": jnp.asarray(patterns("int16", (*lead, 3))),
            },
            "action": jnp.asarray(patterns("int8", lead)),
            "reward": jnp.arange(math.prod(lead), dtype=jnp.float32).reshape(lead),
            "is_first": jnp.arange(math.prod(lead)).reshape(lead) % 5 == 0,
            "is_terminal": zeros(lead, jnp.bool_),
        }

    results = []
    for layout in ("flat", "tiled"):
        replay = jb.Replay(capacity=12, num_envs=2, batch_size=6, view=view, layout=layout)
        state = replay.init(jax.tree.map(lambda x: x[0], fields(1)))
        for _ in range(2):
            state = add(replay, state, fields(4, 2))
        batch = sample(replay, state, jax.random.key(1))
        image = jnp.ones((*batch.mask.shape, 9, 130), jnp.uint8)
        state = update(replay, state, batch.index, rows={"obs": {"image": image}})
        results.append((batch, sample(replay, state, jax.random.key(2)), get(replay, state, batch.index)))
    flat, tiled = results
    chex.assert_trees_all_equal(flat, tiled, strict=True)
    assert flat[0].valid


Pair = namedtuple("Pair", ["obs", "reward"])


@chex.dataclass
class ChexRow:
    obs: Any
    reward: Any


@struct.dataclass
class FlaxRow:
    obs: Any
    reward: Any


ROWS = {
    "dict": lambda obs, reward: {"obs": obs, "reward": reward},
    "named tuple": Pair,
    "chex dataclass": lambda obs, reward: ChexRow(obs=obs, reward=reward),
    "flax dataclass": FlaxRow,
    "bare array": lambda obs, reward: obs,
    "nested": lambda obs, reward: {
        "obs": {"deep": (obs, [reward, FlaxRow(obs, {"deeper": reward})])},
        "reward": reward,
    },
}


@pytest.mark.parametrize("kind", long_but([*ROWS], quick=[1, 4, 5]))
def test_rows_of_any_container_come_back_as_they_went_in(kind):
    obs, reward = jnp.asarray(patterns("uint8", (LENGTH, ENVS, 5))), jnp.asarray(patterns("float32", (LENGTH, ENVS)))
    rows = ROWS[kind](obs, reward)
    replay, state, (read, present) = through(ROWS[kind](obs[0, 0], reward[0, 0]), rows)
    assert type(read) is type(rows)
    assert jax.tree.structure(read) == jax.tree.structure(rows)
    assert present.all()
    for got, expected in zip(jax.tree.leaves(read), jax.tree.leaves(rows), strict=True):
        same_bits(got, expected)
    batch = sample(replay, state, jax.random.key(0))
    assert type(batch.data) is type(rows)
    # Writing a whole batch back as it is changes nothing, whatever the container.
    again = update(replay, state, batch.index, rows=batch.data)
    for got, expected in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        same_bits(got, expected)


@pytest.mark.parametrize("kind", long_but(["named tuple", "chex dataclass", "flax dataclass"], quick=[1]))
def test_fields_of_any_container_are_written_back_by_name(kind):
    obs, reward = zeros((LENGTH, ENVS, 5), jnp.uint8), zeros((LENGTH, ENVS))
    replay, state, _ = through(ROWS[kind](obs[0, 0], reward[0, 0]), ROWS[kind](obs, reward))
    index = jb.Index(jnp.int32([0, 1]), jnp.int32([2, 3]))
    state = update(replay, state, index, rows={"reward": jnp.float32([5, 6])})
    read, _ = get(replay, state, index)
    assert read.reward.tolist() == [5, 6]
    assert not read.obs.any()


def test_ml_dtypes_of_numpy_are_taken_as_they_are():
    row = np.zeros((), ml_dtypes.bfloat16)
    _, _, (read, _) = through(row, patterns("bfloat16", (LENGTH, ENVS)))
    same_bits(read, patterns("bfloat16", (LENGTH, ENVS)))
