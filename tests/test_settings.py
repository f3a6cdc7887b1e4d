"""The main verbs under the settings of JAX that users turn: the same results, and none of the errors that these bring.

Programs that are traced through JAX's rules of promotion, 64-bit types or Threefry's layout could come out different;
checks for NaNs, for keys used twice and for transfers could stop them. Every case runs every verb anew.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.errors import KeyReuseError
from oracle import quick_jit
from tier import budget

import jaxbuffers as jb

STEPS, STREAMS = 12, 3


def near(achieved, desired):
    return -jnp.abs(achieved - desired)


HINDSIGHT = jb.Hindsight(jb.Transitions(n_step=2), near, achieved="obs.place", desired="obs.goal")
REPLAYS = budget(
    [jb.Replay(30, STREAMS, 8, HINDSIGHT, jb.Prioritized())],
    [
        jb.Replay(30, STREAMS, 8, HINDSIGHT, jb.Uniform()),
        jb.Replay(30, STREAMS, 8, jb.Sequences(3), jb.Prioritized()),
    ],
)
ROLLOUT, RECORDER = jb.Rollout(num_steps=4, num_envs=STREAMS), jb.Recorder("next_step")
HOST = jb.Replay(capacity=8, num_envs=None, batch_size=4, view=jb.Items())


def rows():
    """Rows ``[N, E]`` on the host that say where they are: three streams in step, with episodes of five."""
    step, stream = np.mgrid[:STEPS, :STREAMS]
    place = (100 * stream + step).astype(np.float32)
    obs = {"place": place, "goal": np.full_like(place, 9)}
    return jb.Row(obs, place.astype(np.int32), -place, step % 5 == 0, step % 5 == 4, step % 5 == 4)


def filled(replay, rows):
    state = replay.init(jax.tree.map(lambda x: x[0, 0], rows))
    halves = jax.tree.map(lambda x: x.reshape(2, STEPS // 2, *x.shape[1:]), rows)
    return jax.lax.scan(lambda state, half: (replay.add(state, half), None), state, halves)[0]  # the ring goes round


def learned(replay, state, batch):
    priority = batch.probability * 100 if replay.sampler.takes_priority else None
    again = {"action": jnp.full(batch.index.time.shape, 7, jnp.int32)}
    state = replay.update(state, batch.index, priority=priority, rows=again)
    return state, replay.get(state, batch.index)


def rolled_out(rows, key):
    state = ROLLOUT.init(reward=jax.ShapeDtypeStruct((), jnp.float32))
    state = ROLLOUT.update(state, "reward", jnp.int32(0), rows.reward[0])
    state = ROLLOUT.batch_update(state, "reward", rows.reward[:4])
    return ROLLOUT.flatten(state), list(ROLLOUT.minibatches(state, key, 2))


def recorded(rows):
    state = RECORDER.init(rows.obs["place"][0])
    ends = {"terminated": rows.is_terminal[4], "truncated": rows.is_terminal[0]}
    return RECORDER.step(state, action=rows.action[0], obs=rows.obs["place"][1], reward=rows.reward[1], **ends)


def from_host(key):
    """A `HostReplay`, called as its users do: with numbers and NumPy arrays."""
    buffer = jb.HostReplay(HOST, {"place": np.float32, "image": jax.ShapeDtypeStruct((2,), np.uint8)})
    buffer.key = key
    for place in range(6):
        buffer.insert(place=place, image=np.full(2, place, np.uint8))
    batch = buffer.sample()
    buffer.update(batch.index, rows={"place": np.full(4, 7, np.float32)})
    return batch.data, batch.index, buffer.get(batch.index), buffer.sample().data, buffer.state


def outcome(keys):
    """The results of all verbs under what is set now, as NumPy arrays."""
    block, results, keys = jax.device_put(rows()), [], iter(keys)
    for replay in REPLAYS:
        state = quick_jit(lambda block, replay=replay: filled(replay, block))(block)
        sample = quick_jit(replay.sample)
        batches = [sample(state, next(keys)) for _ in range(2)]
        state, found = quick_jit(lambda state, batch, replay=replay: learned(replay, state, batch))(state, batches[0])
        results.append((batches, found, sample(state, next(keys)), state))
    results.append((quick_jit(rolled_out)(block, next(keys)), quick_jit(recorded)(block), from_host(next(keys))))
    return jax.device_get(results)


def typed(impl="threefry2x32"):
    return [jax.random.key(seed, impl=impl) for seed in range(8)]


def raw(impl="threefry2x32"):
    return [jax.random.key_data(key) for key in typed(impl)]


def assert_same(got, expected):
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.fixture(scope="module")
def expected():
    """What comes out with nothing set: not the strict rules of this suite, but what users have."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"), jax.threefry_partitionable(True):
        return outcome(typed())


@pytest.mark.long  # quick: all settings at once, below
def test_the_strict_rules_of_promotion_change_nothing(expected):
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        assert_same(outcome(typed()), expected)


@pytest.mark.long  # quick: all settings at once, below
def test_64_bit_types_change_nothing(expected):
    with jax.enable_x64(True):
        assert_same(outcome(typed()), expected)


@pytest.mark.long  # quick: all settings at once, below
def test_raw_keys_and_the_old_layout_of_threefry_change_nothing(expected):
    keys = raw()
    with jax.threefry_partitionable(False):
        assert_same(outcome(keys), expected)


def checks():
    """Everything that raises where a program does what it should not."""
    stack = contextlib.ExitStack()
    for each in (jax.debug_key_reuse(True), jax.transfer_guard("disallow"), jax.debug_nans(True)):
        stack.enter_context(each)
    return stack


@pytest.mark.long  # quick: all settings at once, below
def test_checks_for_nans_transfers_and_keys_used_twice_find_nothing(expected):
    keys = typed()
    with checks():
        assert_same(outcome(keys), expected)


def test_all_settings_at_once_change_nothing_and_the_checks_find_nothing(expected):
    with (
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.threefry_partitionable(False),
        jax.enable_x64(True),
    ):
        keys = typed()
        with checks():
            assert_same(outcome(keys), expected)


def test_the_checks_find_what_they_are_for():
    replay, key = REPLAYS[0], jax.random.key(0)
    state = jax.jit(lambda: filled(replay, jax.tree.map(jnp.asarray, rows())))()
    zero = jnp.zeros(())
    with checks():
        with pytest.raises(KeyReuseError):
            jax.jit(lambda state, key: (replay.sample(state, key), replay.sample(state, key)))(state, key)
        with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
            jax.jit(replay.add)(state, jax.tree.map(lambda x: x[0], rows()))
        with pytest.raises(FloatingPointError):
            jax.jit(lambda zero: zero / zero)(zero)


@pytest.mark.long  # quick: tests/host/test_refusals.py draws with every kind of key
def test_rbg_keys_draw_rows_that_are_where_the_index_says():
    """Their draws are other ones, on every kind of device, so there is nothing to compare them with."""
    keys, raw_keys = typed("rbg"), raw("rbg")
    with jax.default_prng_impl("rbg"):
        got = outcome(raw_keys)
    for others in budget([], [keys]):
        with checks():
            assert_same(outcome(others), got)
    for batches, _, last, _ in got[:-1]:
        for batch in (*batches, last):
            place, first = batch.data.obs["place"].reshape(8, -1)[:, 0], batch.index.time.reshape(8, -1)[:, 0]
            np.testing.assert_array_equal(place, 100 * batch.index.stream.reshape(8, -1)[:, 0] + first)
            assert batch.valid
        assert (batches[0].data.obs["place"] != batches[1].data.obs["place"]).any()
    goals = np.concatenate([batch.data.obs["goal"] for batch in got[0][0]])
    assert len(np.unique(goals)) > 4, "a view's bits come from the same key"
