"""update(rows=...): the last entry wins, stale rows are left alone and counted, nothing else is touched."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.storage import writeback


def zeros(shape=(), dtype=jnp.float32):
    """Zeros of one dtype, with or without 64-bit types."""
    return jnp.zeros(shape, dtype)


add, update, get = (jax.jit(getattr(jb.Replay, verb), static_argnums=0) for verb in ("add", "update", "get"))
sample = jax.jit(jb.Replay.sample, static_argnums=(0, 3))
ROW = {"x": jnp.float32(0), "big": zeros(300), "deep": {"a": jnp.int32(0), "b": jnp.int32(0)}}


def numbered(start, count):
    """Rows [count, 2] whose values are their times, the second stream's plus 100."""
    number = (start + jnp.arange(count))[:, None] + jnp.array([0, 100])[None]
    return {
        "x": number.astype(jnp.float32),
        "big": jnp.repeat(number[..., None].astype(jnp.float32), 300, axis=-1),
        "deep": {"a": number.astype(jnp.int32), "b": -number.astype(jnp.int32)},
    }


@pytest.fixture
def replay():
    return jb.Replay(capacity=8, num_envs=2, batch_size=4, view=jb.Items())


@pytest.fixture
def state(replay):
    """Times 2 to 5 of both streams are present; 0 and 1 have been overwritten."""
    return add(replay, add(replay, replay.init(ROW), numbered(0, 3)), numbered(3, 3))


def index(stream, time):
    return jb.Index(jnp.asarray(stream, jnp.int32), jnp.asarray(time, jnp.int32))


def everything(replay, state):
    rows, present = get(replay, state, index(np.repeat([[0, 1]], 4, 0), np.repeat([[2], [3], [4], [5]], 2, 1)))
    assert present.all()
    return rows


def test_stale_rows_are_left_alone_and_counted(replay, state):
    state = update(replay, state, index([0, 1, 0, 1], [1, 5, 0, 2]), rows={"x": jnp.float32([7, 8, 9, 10])})
    assert everything(replay, state)["x"].tolist() == [[2, 10], [3, 103], [4, 104], [5, 8]]
    assert int(state.dropped) == 2
    assert int(update(replay, state, index([0], [1]), rows={"x": jnp.float32([0])}).dropped) == 3


def test_a_row_that_was_overwritten_between_sample_and_update_is_not_changed(replay, state):
    batch = sample(replay, state, jax.random.key(0), 64)
    later = add(replay, state, numbered(6, 2))
    updated = update(replay, later, batch.index, rows={"x": jnp.full(64, -1, jnp.float32)})
    fresh, _ = get(replay, updated, index([0, 0, 1, 1], [6, 7, 6, 7]))
    assert fresh["x"].tolist() == [6, 7, 106, 107]
    assert int(updated.dropped) == int((batch.index.time < 4).sum()) > 0


def test_of_several_entries_for_one_row_the_last_wins(replay, state):
    rng = np.random.default_rng(0)
    stream, time, value = rng.integers(0, 2, 200), rng.integers(2, 6, 200), np.arange(200, dtype=np.float32)
    expected = {(s, t): v for s, t, v in zip(stream, time, value, strict=True)}
    state = update(
        replay, state, index(stream, time), rows={"x": jnp.asarray(value), "big": jnp.tile(value[:, None], (1, 300))}
    )
    rows = everything(replay, state)
    for (s, t), v in expected.items():
        assert float(rows["x"][t - 2, s]) == v
        assert (rows["big"][t - 2, s] == v).all()
    assert int(state.dropped) == 0


@pytest.mark.parametrize("count", [0, 1, 30])
def test_one_entry_of_each_row_is_written_so_that_the_order_of_writes_does_not_matter(count):
    address = np.random.default_rng(count).integers(-1, 8, count).astype(np.int32)
    last = [value not in address[i + 1 :] for i, value in enumerate(address)]
    np.testing.assert_array_equal(writeback._last_of_each(jnp.asarray(address)), np.array(last, bool))


def test_masked_entries_are_ignored_and_not_counted(replay, state):
    before = everything(replay, state)
    after = update(replay, state, index([0, 1, 0], [-1, -1, -1]), rows={"x": jnp.float32([7, 8, 9])})
    chex.assert_trees_all_equal(everything(replay, after), before)
    assert int(after.dropped) == 0


@pytest.mark.parametrize(
    "stream, time",
    [
        (2, 3),
        (-1, 3),
        (0, 6),
        (1, 2**30),
        (0, 2**31 - 1),
        (2**31 - 1, 3),
        (0, 2**30 + 3),
        (-(2**31), 3),
        (0, -5),
        (0, 1),
    ],
)
def test_addresses_that_are_not_rows_are_never_written(replay, state, stream, time):
    before = everything(replay, state)
    new = {"x": jnp.float32([-1]), "big": jnp.full((1, 300), -1, jnp.float32), "deep": {"a": jnp.int32([-1])}}
    after = update(replay, state, index([stream], [time]), rows=new)
    chex.assert_trees_all_equal(everything(replay, after), before)
    chex.assert_trees_all_equal(after.ring, state.ring)
    assert not get(replay, state, index([stream], [time]))[1].any()


def test_a_partial_nested_dict_replaces_what_it_names_and_nothing_else(replay, state):
    before = everything(replay, state)
    after = everything(replay, update(replay, state, index([0], [4]), rows={"deep": {"b": jnp.int32([77])}}))
    assert int(after["deep"]["b"][2, 0]) == 77
    before["deep"]["b"] = before["deep"]["b"].at[2, 0].set(77)
    chex.assert_trees_all_equal(after, before)


def test_large_and_small_leaves_are_written_together(replay, state):
    new = {"big": jnp.full((1, 300), 3.5, jnp.float32), "deep": {"a": jnp.int32([8])}}
    after = everything(replay, update(replay, state, index([1], [5]), rows=new))
    expected = everything(replay, state)
    expected["big"] = expected["big"].at[3, 1].set(3.5)
    expected["deep"]["a"] = expected["deep"]["a"].at[3, 1].set(8)
    chex.assert_trees_all_equal(after, expected)


FLAGS = {"is_first": jnp.bool_(False), "is_last": jnp.bool_(False)}


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("mode", long_but(["cross", "within", "pad"], quick=[2]))
def test_burn_in_rows_and_time_major_windows_are_written_where_they_came_from(mode, time_major):
    """What a stateful model writes back lands on the row it was computed at, whatever the axes."""
    view = jb.Sequences(3, mode, burn_in=2, time_major=time_major)
    replay = jb.Replay(capacity=24, num_envs=2, batch_size=16, view=view)
    state = replay.init({"x": jnp.float32(0), "latent": jnp.float32(0), **FLAGS})
    time = jnp.repeat(jnp.arange(20)[:, None], 2, axis=1)
    rows = {"x": (time + jnp.array([[0, 100]])).astype(jnp.float32), "latent": jnp.full((20, 2), -1, jnp.float32)}
    rows |= {"is_first": time % 5 == 0, "is_last": time % 5 == 4}
    state = add(replay, add(replay, state, jax.tree.map(lambda x: x[:10], rows)), jax.tree.map(lambda x: x[10:], rows))
    batch = sample(replay, state, jax.random.key(3))
    assert batch.mask.shape == ((5, 16) if time_major else (16, 5))
    state = update(replay, state, batch.index, rows={"latent": batch.data["x"] * 2})
    read, _ = get(replay, state, batch.index)
    mask = np.asarray(batch.mask)
    assert mask[:2].any() if time_major else mask[:, :2].any(), "no burn-in row was there to be written"
    np.testing.assert_array_equal(np.asarray(read["latent"])[mask], 2 * np.asarray(read["x"])[mask])
    everywhere = index(np.repeat([[0, 1]], 12, 0), np.repeat(np.arange(8, 20)[:, None], 2, 1))
    read, _ = get(replay, state, everywhere)
    written = {(int(s), int(t)) for s, t in zip(batch.index.stream[mask], batch.index.time[mask], strict=True)}
    for t, s in np.ndindex(12, 2):
        expected = 2 * float(read["x"][t, s]) if (s, t + 8) in written else -1
        assert float(read["latent"][t, s]) == expected
    assert int(state.dropped) == 0


def test_debug_checks_raise_on_stale_rows_and_count_them(replay, state):
    def write(time):
        return replay.update(state, index([0, 0, 0], time), rows={"x": zeros(3)})

    with jb.debug_checks():
        error, _ = jax.jit(checkify.checkify(write))(jnp.int32([0, 1, 5]))
        fine, _ = jax.jit(checkify.checkify(write))(jnp.int32([2, -1, 5]))
    assert "2 rows are stale" in error.get()
    fine.throw()


def test_an_update_without_anything_to_write_returns_the_state(replay, state):
    chex.assert_trees_all_equal(update(replay, state, index([0], [4])), state)


@pytest.mark.parametrize("flag", ["is_first", "is_last"])
def test_flags_that_have_decided_which_windows_are_legal_cannot_be_replaced(flag):
    rows = jb.episode_rows(jnp.arange(4.0), jnp.zeros(3), jnp.ones(3), True, False)
    row = jax.tree.map(lambda x: x[0], rows)
    replay = jb.Replay(8, None, 2, jb.Transitions())
    state = add(replay, replay.init(row), rows)
    index = sample(replay, state, jax.random.key(0)).index
    with pytest.raises(jb.errors.StructureError, match=flag):
        replay.update(state, index, rows={flag: jnp.ones(2, bool)})
    # Where no window depends on it, the flag is a value like any other.
    replay = jb.Replay(8, None, 2, jb.Sequences(2))
    state = add(replay, replay.init(row), rows)
    index = sample(replay, state, jax.random.key(0)).index
    state = update(replay, state, index, rows={flag: jnp.ones((2, 2), bool)})
    assert bool(getattr(get(replay, state, index)[0], flag).all())


def test_an_index_of_another_dtype_or_of_unequal_shapes_is_refused_by_name():
    replay = jb.Replay(8, None, 2)
    state = replay.add(replay.init(jnp.float32(0)), jnp.arange(3, dtype=jnp.float32))
    wrong = jb.Index(np.zeros(2, np.int64), np.zeros(2, np.int32))
    with pytest.raises(jb.errors.DtypeError, match=r"index\.stream"):
        replay.get(state, wrong)
    with pytest.raises(jb.errors.DtypeError, match=r"index\.stream"):
        replay.update(state, wrong, rows=jnp.zeros(2, jnp.float32))
    with pytest.raises(jb.errors.ShapeError, match=r"index\.stream"):
        replay.get(state, jb.Index(np.zeros(1, np.int32), np.zeros(2, np.int32)))
