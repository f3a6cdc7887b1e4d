"""Indices of other replays and of nothing, keys that are none, rows of a batch given as one row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxbuffers as jb
from errors.mistakes import ENVS, FLAGS, ROW, rows, says, zeros
from jaxbuffers import checks

PRIORITIZED = jb.Replay(12, ENVS, 4, jb.Items(), jb.Mix((0.5, jb.Prioritized()), (0.5, jb.Counted(jb.RankBased()))))


@pytest.fixture(scope="module")
def used():
    return jax.jit(PRIORITIZED.add)(PRIORITIZED.init(ROW), rows(3, ENVS))


def nothing(*shape):
    return jb.Index(zeros(shape, jnp.int32), zeros(shape, jnp.int32))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)], ids=str)
def test_an_empty_index_reads_nothing(used, shape):
    data, present = PRIORITIZED.get(used, nothing(*shape))
    assert present.shape == PRIORITIZED.age(used, nothing(*shape)).shape == shape
    assert jax.tree.map(jnp.shape, data) == jax.tree.map(lambda leaf: shape + leaf.shape, ROW)


@pytest.mark.parametrize("shape", [(0,), (0, 3)], ids=str)
def test_an_empty_index_changes_nothing(used, shape):
    new = {"reward": zeros(shape), "obs": {"image": zeros((*shape, 3, 5), jnp.uint8)}}
    for update in (PRIORITIZED.update, jax.jit(PRIORITIZED.update)):
        after = update(used, nothing(*shape), rows=new)
        jax.tree.map(np.testing.assert_array_equal, after, used)
    after = PRIORITIZED.update(used, nothing(0), priority=zeros(0), rows={"reward": zeros(0)})
    jax.tree.map(np.testing.assert_array_equal, after, used)


def test_what_is_wrong_with_an_empty_update_is_refused_all_the_same(used):
    with pytest.raises(jb.errors.StructureError, match="rewards"):
        PRIORITIZED.update(used, nothing(0), rows={"rewards": zeros(0)})
    with pytest.raises(jb.errors.ShapeError, match="priority"):
        PRIORITIZED.update(used, nothing(0), priority=zeros(1))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "bool", "int4"])
@pytest.mark.parametrize("size", [1, 700])
def test_rows_of_any_dtype_are_read_and_written_at_no_place(size, dtype):
    replay = jb.Replay(4, None)
    state = replay.init({"x": zeros(size, dtype), "y": zeros(3)})
    data, _ = replay.get(state, nothing(0))
    assert (data["x"].shape, data["x"].dtype) == ((0, size), jnp.dtype(dtype))
    after = replay.update(state, nothing(0), rows={"x": data["x"]})
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_no_probability_has_no_weight():
    assert jb.importance_weights(zeros(0), 3, 0.5).shape == (0,)


def of_streams(*stream):
    return jb.Index(jnp.array(stream, jnp.int32), zeros(len(stream), jnp.int32))


@pytest.mark.parametrize("index", [of_streams(0, 7, 1, 2), of_streams(0, -1)], ids=["beyond", "below"])
def test_an_index_of_a_replay_with_other_streams_is_refused_where_its_values_are_known(used, index):
    for what in ({"rows": {"reward": zeros(len(index.time))}}, {"priority": zeros(len(index.time))}, {}):
        with pytest.raises(jb.errors.ShapeError) as caught:
            PRIORITIZED.update(used, index, **what)
        says(caught, "name streams or times that this replay never has", "streams 0 to 1", "another replay")
    late = jb.Index(zeros(2, jnp.int32), jnp.array([0, 2**30], jnp.int32))
    with pytest.raises(jb.errors.ShapeError, match="1 entries"):
        PRIORITIZED.update(used, late)


def test_compiled_it_is_counted_as_dropped_and_raises_under_debug_checks(used):
    index, new = of_streams(0, 7, 1, 2), {"reward": zeros(4)}
    after = jax.jit(PRIORITIZED.update)(used, index, rows=new)
    assert int(after.dropped - used.dropped) == 2
    with jb.debug_checks():
        error, _ = jax.jit(checkify.checkify(lambda state: PRIORITIZED.update(state, index)))(used)
    with pytest.raises(checkify.JaxRuntimeError, match="2 entries of the index name streams or times of another"):
        error.throw()


def test_entries_without_a_row_may_name_any_stream(used):
    index = jb.Index(jnp.array([0, 9], jnp.int32), jnp.array([0, -1], jnp.int32))
    checks.check_places(PRIORITIZED.legal(used), index)


KEYS = [
    (7, jb.errors.DtypeError, "got an int; write jax.random.key(7)"),
    (np.int64(7), jb.errors.DtypeError, "got int64[]; write jax.random.key(7)"),
    (np.uint32(7), jb.errors.DtypeError, "got uint32[]; write jax.random.key(7)"),
    (jnp.int32(7), jb.errors.DtypeError, "got int32[]"),
    (True, jb.errors.DtypeError, "got a bool"),
    (None, jb.errors.DtypeError, "got a NoneType"),
    ("state", jb.errors.DtypeError, "got a ReplayState"),
    (jax.random.split(jax.random.key(0), 3), jb.errors.ShapeError, "one key is needed"),
    (np.zeros((3, 2), np.uint32), jb.errors.ShapeError, "one key is needed"),
]


@pytest.mark.parametrize("key, error, words", KEYS, ids=range(len(KEYS)))
def test_what_is_no_key_is_refused(used, key, error, words):
    key = used if isinstance(key, str) else key
    rollout = jb.Rollout(2, 2)
    full = rollout.batch_update(rollout.init(x=zeros()), "x", zeros((2, 2)))
    for draw in (
        lambda: PRIORITIZED.sample(used, key),
        lambda: jb.minibatches(key, {"x": zeros(4)}, 2),
        lambda: rollout.minibatches(full, key, 2),
    ):
        with pytest.raises(error) as caught:
            draw()
        says(caught, words)


def test_a_state_and_a_key_in_the_wrong_order_are_refused(used):
    with pytest.raises(jb.errors.StructureError, match=r"must be a jb\.ReplayState, got a PRNGKeyArray"):
        PRIORITIZED.sample(jax.random.key(0), used)
    with pytest.raises(jb.errors.ShapeError, match=r"must be an array with at least one row, got .*key"):
        jb.minibatches({"x": zeros(4)}, jax.random.key(0), 2)


def test_old_keys_are_keys_and_an_order_that_is_not_random_needs_none():
    replay, sample = jb.Replay(12, ENVS, 4), jax.jit(jb.Replay(12, ENVS, 4).sample)
    state = replay.init(ROW)
    for key in (jax.random.PRNGKey(0), np.asarray(jax.random.PRNGKey(0))):
        jax.tree.map(np.testing.assert_array_equal, sample(state, key), sample(state, jax.random.key(0)))
    assert len(jb.minibatches(None, {"x": zeros(4)}, 2, shuffle=False)) == 2


@pytest.mark.parametrize("batched", [{"x": zeros((2, 3))}, {"x": zeros((2, 3)), "y": zeros(2)}], ids=len)
@pytest.mark.parametrize("lead", [(), (5,)], ids=str)
def test_a_batch_of_rows_given_to_init_as_one_row_is_named_by_add(batched, lead):
    replay = jb.Replay(12, 2)
    state = replay.init(batched)
    with pytest.raises(jb.errors.ShapeError) as caught:
        replay.add(state, jax.tree.map(lambda leaf: zeros((*lead, *leaf.shape)), batched))
    says(caught, "[2, ...]", "init() begin with that axis themselves; give it one environment's")


def test_flags_of_a_batch_of_rows_say_so_to_init():
    flags = {name: jnp.zeros(2, bool) for name in FLAGS}
    with pytest.raises(jb.errors.ShapeError) as caught:
        jb.Replay(12, 2, 2, jb.Sequences(2, "within")).init(flags)
    says(caught, "'is_first'", "(2,)", "one row of one environment")


def test_a_terminal_row_that_is_not_the_last_raises_under_debug_checks():
    replay = jb.Replay(12, ENVS)
    terminal = {"is_terminal": jnp.array([True, False])}
    add = jax.jit(checkify.checkify(replay.add))
    state = replay.init(ROW)
    with jb.debug_checks():
        error, _ = add(state, rows(ENVS, **terminal))
        with pytest.raises(checkify.JaxRuntimeError, match="is_terminal but not is_last"):
            error.throw()
        add(state, rows(ENVS, **terminal, is_last=jnp.array([True, False])))[0].throw()
        add(state, rows(ENVS, **terminal), jnp.array([False, True]))[0].throw()
        # Without the flag the next is_first says where the episode ended.
        brief = {"is_terminal": jnp.bool_(True)}
        jax.jit(checkify.checkify(replay.add))(replay.init(brief), terminal)[0].throw()
