"""fence: changes no value, orders the writes after it behind the reads before it, and takes data of any dtype."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.testing import assert_in_place

pytestmark = pytest.mark.usefixtures("readable")  # compiled programs are read


def zeros(shape=(), dtype=jnp.float32):
    """Zeros of one dtype, with or without 64-bit types."""
    return jnp.zeros(shape, dtype)


DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "bfloat16", "float32"]
DTYPES += ["float8_e4m3fn", "float8_e5m2", "int4", "uint4", "complex64"]


@cache
def verbs(replay):
    """An add, and a fence after a sample: compiled once for all values of one shape."""
    return jax.jit(replay.add), jax.jit(lambda state, key: jb.fence(state, replay.sample(state, key)))


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.mark.parametrize("dtype", long_but(DTYPES, quick=[1, 12]))
def test_a_fence_on_any_dtype_leaves_every_bit_of_the_state(dtype):
    replay = jb.Replay(capacity=8, num_envs=2, batch_size=4, view=jb.Items())
    state = jax.jit(replay.add)(replay.init(zeros(3, dtype)), jnp.ones((3, 2, 3), dtype))

    @jax.jit
    def fenced(state, key):
        return jb.fence(state, replay.sample(state, key))

    for seed in range(3):
        assert bits(fenced(state, jax.random.key(seed))) == bits(state)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan")])
def test_a_fence_on_any_value_leaves_every_bit_of_the_state(value):
    """The condition that is never true must stay false whatever the data holds."""
    replay = jb.Replay(capacity=8, num_envs=None, batch_size=4, view=jb.Items())
    row = {"x": jnp.float32(value), "y": jnp.int32(-(2**31)), "z": jnp.uint32(2**32 - 1)}
    add, fenced = verbs(replay)
    state = add(replay.init(row), row)
    assert bits(fenced(state, jax.random.key(0))) == bits(state)


def test_no_integer_trips_a_fence():
    """All residues that a square modulo 2**32 could have, and many random bit patterns."""
    replay = jb.Replay(capacity=4, num_envs=None, batch_size=1, view=jb.Items())
    state = replay.init(jnp.int32(0))
    batch = replay.sample(state, jax.random.key(0))
    anything = jax.random.bits(jax.random.key(0), 100_000, jnp.uint32).astype(jnp.int32)
    numbers = jnp.concatenate([jnp.arange(-70_000, 70_000, dtype=jnp.int32), anything])

    @jax.jit
    @jax.vmap
    def time(number):
        return jb.fence(state, batch.replace(data=number[None])).ring.time

    assert not time(numbers).any()


def test_a_fence_works_where_the_replay_is_empty_and_under_vmap():
    replay = jb.Replay(capacity=8, num_envs=2, batch_size=4, view=jb.Sequences(2))
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), replay.init(jnp.float32(0)))
    batches = jax.jit(jax.vmap(replay.sample))(states, jax.random.split(jax.random.key(0)))
    assert bits(jax.vmap(jb.fence)(states, batches)) == bits(states)


@pytest.mark.parametrize("view", long_but([jb.Items(), jb.Transitions(3), jb.Sequences(4)], quick=[1]), ids=repr)
@pytest.mark.parametrize("used", long_but(["reward", "obs"], quick=[0]))
def test_a_fence_orders_all_reads_even_if_the_program_uses_one_field(view, used):
    """What the rest of the program does not use must not bring the copy back."""
    flags = dict.fromkeys(("is_first", "is_last", "is_terminal"), jnp.bool_(False))
    row = {"obs": zeros(400), "action": jnp.int32(0), "reward": jnp.float32(0), **flags}
    replay = jb.Replay(capacity=4096, num_envs=2, batch_size=4, view=view)
    state, rows = replay.init(row), jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), row)

    def step(state, key):
        batch = replay.sample(state, key)
        data = batch.data if isinstance(batch.data, dict) else vars(batch.data)
        return replay.add(jb.fence(state, batch), rows), data[used]

    assert_in_place(step, state, jax.random.key(0))


def test_a_write_back_that_does_not_depend_on_the_sample_needs_the_fence_too():
    replay = jb.Replay(capacity=8192, num_envs=2, batch_size=4, view=jb.Sequences(4))
    state = replay.init({"obs": zeros(4), "seen": jnp.bool_(False)})

    def mark(fence, state, key):
        batch = replay.sample(state, key)
        state = jb.fence(state, batch) if fence else state
        return replay.update(state, batch.index, rows={"seen": jnp.ones((4, 4), jnp.bool_)}), batch

    assert_in_place(lambda *args: mark(True, *args), state, jax.random.key(0))
    with pytest.raises(AssertionError, match=r"copies leaf 'ring\.words'"):
        assert_in_place(lambda *args: mark(False, *args), state, jax.random.key(0))


def test_a_function_that_does_not_return_the_state_first_is_told_so():
    replay = jb.Replay(capacity=4096, num_envs=None, batch_size=2)
    state = replay.init(jnp.zeros(8))
    for fn in (lambda state: (jnp.float32(0), state), lambda state: ((state, jnp.float32(0)), jnp.float32(0))):
        with pytest.raises(AssertionError, match="must return the state, or a tuple whose first element is the state"):
            assert_in_place(fn, state)
