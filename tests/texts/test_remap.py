"""Tables of several hosts become one: content is the identity, a gather turns ids."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.storage.ring import Ring
from jaxbuffers.texts.remap import Remap


def test_ids_by_a_gather_outside_and_under_jit(make):
    here, there = make(), make()
    mine = here.intern(["both", "mine"])
    theirs = there.intern(["theirs", "both", "\ud800", ""])
    there.commit()
    remap = here.merge(there)
    assert len(here) == 5
    ids = np.array([[*theirs, -1], [0, *theirs[::-1]]], np.int32)
    for new in (remap(ids), jax.jit(lambda r, x: r(x))(remap, ids), remap(jnp.asarray(ids))):
        assert new.dtype == jnp.int32
        assert here.lookup(new) == there.lookup(ids)
    assert remap(theirs)[1] == mine[0]
    np.testing.assert_array_equal(here.digests(remap(theirs)), there.digests(theirs))
    assert len(there) == 4, "the other table stays as it is"


def test_unknown_ids_become_one_that_no_table_looks_up(make):
    here, there = make(), make()
    ids = there.intern(["a", "b", "c"])
    remap = here.merge(there)
    low, high = int(min(ids)), int(max(ids))
    wrong = np.array([low - 1, high + 1, 2**31 - 1, -2, -3, -(2**31), 1 if low > 1 else -9], np.int32)
    assert remap(wrong).tolist() == [-2 if w else 0 for w in wrong]
    with pytest.raises(jb.errors.UnknownTextError, match=r"text id -2 "):
        here.lookup(remap(wrong[1:]))
    empty = here.merge(make())
    assert empty(np.array([-1, 0, 1, low, 2**31 - 1], np.int32)).tolist() == [-1, 0, -2, -2, -2]


def test_holes_where_texts_were_freed(make, replay):
    _, state, _ = replay
    here, there = make(), make()
    ids = there.intern(["a", "b", "c"])
    there.commit()
    there.sweep(state, pins=ids[[0, 2]])
    remap = here.merge(there)
    assert remap(ids).tolist()[1] == -2
    assert here.lookup(remap(ids[[0, 2]])) == ["a", "c"]
    assert len(here) == 2


def test_a_table_merged_with_itself_or_twice(make):
    here, there = make(), make()
    mine, ids = here.intern(["a", "b"]), there.intern(["b", "c"])
    first = here.merge(there)
    assert here.merge(there)(ids).tolist() == first(ids).tolist()
    everything = np.array([*mine, *first(ids)], np.int32)
    assert here.merge(here)(everything).tolist() == everything.tolist()
    assert len(here) == 3
    assert there.lookup(there.merge(here)(everything)) == here.lookup(everything)


def test_its_size_is_that_of_the_texts_not_of_the_gap_between_their_ids():
    ids = np.array([2**24, 1, 2**24 - 1, 5, 0, -1, 2, -(2**31)], np.int32)
    remap = Remap.of([2**24, 1, 5], [7, 9, 8])
    for new in (remap(ids), jax.jit(lambda r, x: r(x))(remap, ids)):
        assert new.tolist() == [7, 9, -2, 8, 0, -1, -2, -2]
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(remap)) == 2 * 3 * 4


@pytest.mark.parametrize("wrong", [3, [1, 2], np.zeros(2, np.int64), np.zeros(2, np.float32), None], ids=str)
def test_ids_are_int32(wrong):
    with pytest.raises(jb.errors.DtypeError, match=r"ids must be an int32 array, got "):
        Remap.of([1, 2], [3, 4])(wrong)


LAYOUTS = [(2, "flat"), (2, "tiled"), (200, "flat"), (200, "tiled")]


@pytest.mark.parametrize("size, layout", long_but(LAYOUTS, quick=[3]))
def test_rows_of_a_state(opened, size, layout):
    """Every text field of every row, nothing else; rows that are not held stay as they are."""
    here, there = opened(), opened()
    here.intern([f"mine {i}" for i in range(50)])
    replay = jb.Replay(capacity=6, num_envs=2, batch_size=2, view=jb.Items(), layout=layout)
    state = replay.init({"many": jb.text[size], "n": jnp.int32(0), "one": jb.text, "small": jnp.uint8(0)})
    add = jax.jit(replay.add)
    expected = [[], []]
    for step in range(4):
        many = there.intern([[f"{step} {e} {i}" for i in range(size)] for e in range(2)])
        many[:, 1] = -1
        one = there.intern([f"one {step}", "shared"])
        rows = {"many": many, "n": many[:, 0], "one": one, "small": np.full(2, step, np.uint8)}
        mask = np.array([True, step % 2 == 0])
        state = add(state, rows, mask)
        for e in np.flatnonzero(mask):
            expected[e] = [*expected[e], (there.lookup(many[e]), int(many[e, 0]), there.lookup(one[e]), step)][-3:]
    remap = here.merge(there)
    for new in (remap.rows(state), jax.jit(lambda r, s: r.rows(s))(remap, state)):
        assert (new.ring.time == state.ring.time).all()
        for e in range(2):
            times = np.arange(int(new.ring.time[e]) - len(expected[e]), int(new.ring.time[e]), dtype=np.int32)
            got = rows_at(replay, new, times, e)
            found = [
                (here.lookup(got["many"][k]), int(got["n"][k]), here.lookup(got["one"][k]), int(got["small"][k]))
                for k in range(len(times))
            ]
            assert found == expected[e]


def rows_at(replay, state, times, stream):
    read = reading(state.spec, replay)
    return read(state.ring, times, np.full(times.shape, stream, np.int32), np.ones(times.shape, bool))


@functools.cache
def reading(spec, replay):
    return quick_jit(Ring(spec, replay.capacity // 2, 2, tiled=replay.layout == "tiled").read)


@pytest.mark.long  # quick: rows of a state, above, and a sweep of stacked ones in test_sweep.py
def test_rows_of_stacked_states(opened, replay):
    _, state, add = replay
    here, there = opened(), opened()
    here.intern(["x", "y"])
    ids = there.intern(["a", "b", "c"])
    states = [add(state, ids[:2]), add(state, ids[1:])]
    remap = here.merge(there)
    stacked = remap.rows(jax.tree.map(lambda *x: jnp.stack(x), *states))
    for i, one in enumerate(states):
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=i: x[i], stacked), remap.rows(one))
    assert here.sweep(stacked) == 2
    assert here.lookup(remap(ids)) == ["a", "b", "c"]


def test_rows_without_text_are_refused():
    replay = jb.Replay(capacity=4, num_envs=None, batch_size=2, view=jb.Items())
    with pytest.raises(jb.errors.StructureError, match=r"no text fields"):
        Remap.of([1], [2]).rows(replay.init({"text": jnp.int32(0)}))
    with pytest.raises(
        jb.errors.StructureError, match=r"expected a state of a replay, such as buffer.state, got HostReplay"
    ):
        Remap.of([1], [2]).rows(jb.HostReplay(replay, {"text": jb.text}))
