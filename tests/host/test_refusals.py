"""What is not what it seems is refused by name, and leaves all as it was: masked arrays, traced calls, copies, keys."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from host.shells import seen, shell
from jaxbuffers.errors import ConfigurationError, DtypeError, EmptyReplayError, ShapeError, StructureError

ROW = {"mission": "a", "notes": ["n"], "reward": 0.5}


def filled(**options):
    buffer = shell(sampler=jb.Prioritized(), **options)
    for i in range(5):
        buffer.insert(mission=f"m{i}", notes=[], reward=i)
    return buffer


def masked(values, dtype, mask=True):
    return np.ma.MaskedArray(np.array(values, dtype), mask=mask)


@pytest.mark.parametrize(
    "row",
    [
        {"reward": masked(1, np.float32)},
        {"reward": np.ma.masked},
        {"mission": masked("a", str)},
        {"mission": masked(1, np.int32)},
        {"mission": np.ma.masked},
        {"notes": masked(["a", "b"], object)},
        {"notes": ["a", masked("b", str)]},
        {"notes": masked([1, -1, -1], np.int32)},
        {"reward": masked(1, np.float32, mask=False)},
    ],
)
def test_masked_arrays_are_no_rows(row):
    buffer = filled()
    before = seen(buffer)
    with pytest.raises(DtypeError, match=f"{next(iter(row))}.*masked.*filled"):
        buffer.insert(**ROW | row)
    assert seen(buffer) == before


def test_masked_arrays_are_no_masks_priorities_indices_nor_values():
    buffer = filled()
    index = buffer.sample().index
    before = seen(buffer)
    two = masked([1, 1], np.float32)
    wrong = [
        lambda: buffer.add(ROW, mask=masked(True, np.bool_)),
        lambda: buffer.update(index, priority=two),
        lambda: buffer.update(index, rows={"reward": two}),
        lambda: buffer.update(jb.Index(masked([0, 0], np.int32), np.asarray(index.time))),
        lambda: buffer.get(jb.Index(np.asarray(index.stream), masked([0, 0], np.int32))),
    ]
    for call in wrong:
        with pytest.raises(DtypeError, match="masked"):
            call()
    assert seen(buffer) == before


def test_masked_arrays_are_refused_by_the_pure_verbs_too():
    replay = jb.Replay(4, None, 2, jb.Items(), jb.Prioritized())
    state = replay.init({"x": np.float32(0)})
    with pytest.raises(DtypeError, match="'x' is a masked"):
        replay.add(state, {"x": masked(1, np.float32)})
    with pytest.raises(DtypeError, match="mask is a masked"):
        replay.add(state, {"x": np.float32(1)}, mask=masked(True, np.bool_))
    index = jb.Index(np.zeros(2, np.int32), np.zeros(2, np.int32))
    with pytest.raises(DtypeError, match="priority is a masked"):
        replay.update(state, index, priority=masked([1, 1], np.float32))
    with pytest.raises(DtypeError, match="'x' is a masked"):
        replay.update(state, index, rows={"x": masked([1, 1], np.float32)})


@pytest.mark.parametrize("verb", ["insert", "sample", "batches", "update", "state", "key", "priority", "mask"])
def test_a_call_inside_jit_is_refused_and_the_buffer_lives(verb):
    buffer = filled()
    index = buffer.sample().index

    @jax.jit
    def program(x):
        if verb == "insert":
            buffer.insert(**ROW | {"mission": "m4", "notes": []})
        elif verb == "sample":
            buffer.sample()
        elif verb == "batches":
            next(buffer.batches())
        elif verb == "update":
            buffer.update(index, stale="drop")
        elif verb == "state":
            buffer.state = jax.tree.map(lambda leaf: leaf + leaf, buffer._state)
        elif verb == "key":
            buffer.key = jax.random.wrap_key_data(x.astype(jnp.uint32))
        elif verb == "priority":
            buffer.update(index, priority=x)
        else:
            buffer.add(ROW, mask=x[0] > 0)

    before = seen(buffer)
    with pytest.raises(StructureError, match="jit"):
        program(np.ones(2, np.float32))
    assert seen(buffer) == before
    buffer.insert(**ROW)
    assert buffer.sample().valid


def test_batches_may_be_drawn_while_a_gradient_is_taken():
    buffer = filled()
    loss = jax.grad(lambda weight: weight * jnp.sum(buffer.sample().data["reward"]))
    assert 2 <= loss(jnp.float32(1)) <= 8
    assert buffer.sample().valid


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_buffer_is_not_copied(way):
    with pytest.raises(StructureError, match=r"not copied or pickled.*save"):
        way(filled())


@pytest.mark.parametrize(
    "key", [None, 0, "key", np.zeros(2, np.uint32), jnp.zeros(2), jax.random.split(jax.random.key(0))]
)
def test_what_is_not_one_key_is_refused(key):
    buffer = filled()
    before = seen(buffer)
    with pytest.raises(ConfigurationError, match=r"one PRNG key"):
        buffer.key = key
    assert seen(buffer) == before


@pytest.mark.parametrize("key", [jax.random.PRNGKey(3), jax.random.key(3), jax.random.key(3, impl="rbg")])
def test_any_key_of_jax_draws_and_is_saved(key):
    buffer = filled()
    buffer.key = key
    data = buffer.to_bytes()
    drawn = buffer.sample(8).data["reward"].tolist()
    buffer.from_bytes(data)
    assert buffer.sample(8).data["reward"].tolist() == drawn


def test_arrays_on_other_devices_are_refused_and_do_not_move_the_buffer():
    buffer, there = filled(), jax.devices()[1]
    index = buffer.sample().index
    before, devices = seen(buffer), buffer._state.ring.time.devices()

    def key(x):
        buffer.key = x

    for call, x in (
        (lambda x: buffer.insert(**ROW | {"reward": x}), np.float32(1)),
        (lambda x: buffer.add(ROW, mask=x), np.bool_(True)),
        (lambda x: buffer.update(x), index),
        (lambda x: buffer.update(index, rows={"reward": x}), np.ones(2, np.float32)),
        (buffer.get, index),
        (key, jax.random.key(0)),
    ):
        with pytest.raises(StructureError, match=r"is on .*[:_]1, the replay on .*[:_]0"):
            call(jax.device_put(x, there))
    assert (seen(buffer), buffer._state.ring.time.devices()) == (before, devices)
    buffer.insert(**ROW | {"reward": jax.device_put(np.float32(1), jax.devices()[0])})


def test_a_state_that_was_donated_is_refused():
    buffer = filled()
    gone = jax.tree.map(jnp.copy, buffer.state)
    gone.ring.words.delete()
    before = seen(buffer)
    with pytest.raises(StructureError, match="deleted or donated"):
        buffer.state = gone
    assert seen(buffer) == before


@pytest.mark.parametrize(
    "mask", [True, [True], "yes", jax.ShapeDtypeStruct((), np.bool_), np.array(1), np.zeros(1, np.bool_)]
)
def test_what_is_no_mask_is_refused_also_after_a_good_one(mask):
    buffer = filled()
    buffer.add(ROW, mask=np.array(True))
    before = seen(buffer)
    with pytest.raises((DtypeError, ShapeError), match="mask"):
        buffer.add(ROW, mask=mask)
    assert seen(buffer) == before


@pytest.mark.parametrize("seed", [True, None, "seed", 1.0, 2**80])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ConfigurationError, match="seed"):
        shell(seed=seed)


def test_a_seed_of_numpy_is_the_same_seed():
    assert shell(seed=np.int64(3)).key == shell(seed=3).key


def test_rows_without_names_go_in_by_add():
    buffer = shell(fields=np.float32)
    buffer.add(1.0)
    with pytest.raises(StructureError, match=r"declared without names.*add\(\)"):
        buffer.insert(x=2.0)
    assert buffer.sample().data.tolist() == [1, 1]


def test_a_field_may_have_any_name():
    buffer = shell(fields={"self": np.float32, "fields": np.float32, "rows": np.float32, "mask": np.float32})
    buffer.insert(self=1, fields=2, rows=3, mask=4)
    assert {name: x.tolist() for name, x in buffer.sample(1).data.items()} == {
        "self": [1],
        "fields": [2],
        "rows": [3],
        "mask": [4],
    }


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float32, np.float16, jnp.float8_e4m3fn])
def test_large_integers_are_stored_exactly_or_refused(dtype):
    buffer = shell(fields={"x": dtype})
    for value in (2**15, -(2**63), 2**63, 2**64, 2**100, 2**63 + 1, 10**400):
        exact = value == 2**15 if dtype is np.float16 else value % 2**15 == 0 and value <= 2**100
        if exact and dtype is not jnp.float8_e4m3fn:
            buffer.insert(x=value)
            assert int(float(buffer.get(jb.Index(np.int32(0), buffer._state.ring.time[0] - 1))[0]["x"])) == value
        else:
            with pytest.raises(DtypeError, match="'x'"):
                buffer.insert(x=value)


def test_numbers_are_the_same_where_numpy_raises_at_rounding():
    buffer = shell(fields={"x": np.float32})
    with np.errstate(all="raise"):
        for value in (1e-45, 1e-60, 0.1, float("inf"), float("nan")):
            buffer.insert(x=value)
        with pytest.raises(DtypeError, match="too large"):
            buffer.insert(x=1e300)


def test_under_debug_checks_the_errors_have_their_names():
    buffer = jb.HostReplay(
        jb.Replay(7, None, 3, jb.Items(), jb.Prioritized()), {"x": np.float32}
    )  # not compiled before
    with jb.debug_checks():
        with pytest.raises(EmptyReplayError):
            buffer.sample()
        for i in range(9):
            buffer.insert(x=i)
        index = buffer.sample().index
        buffer.update(index, priority=np.ones(3, np.float32), rows={"x": np.ones(3, np.float32)})
        for i in range(9):
            buffer.insert(x=i)
        with pytest.raises(jb.errors.StaleIndexError):
            buffer.update(index)
        buffer.update(index, priority=np.ones(3, np.float32), rows={"x": np.ones(3, np.float32)}, stale="drop")
        buffer.from_bytes(buffer.to_bytes())
        assert (len(buffer), buffer.count(), len(list(buffer.batches(2)))) == (7, 7, 2)


def test_a_buffer_without_texts_has_none_to_free():
    table = jb.TextTable()
    table.intern("of another buffer")
    buffer = shell(fields={"x": np.float32}, table=table)
    for i in range(6):
        buffer.insert(x=i)
    buffer.from_bytes(buffer.to_bytes())
    assert buffer.sweep() == 0
    assert len(table) == 1
    assert buffer.text_ids().tolist() == []
