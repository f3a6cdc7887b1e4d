"""sweep frees what no live state refers to, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.texts import columns, live


def gone(table, i):
    with pytest.raises(jb.errors.UnknownTextError):
        table.lookup(i)
    return True


@pytest.mark.parametrize("commits", [False, True])
def test_a_fork_keeps_what_the_other_one_overwrote(table, replay, commits):
    _, state, add = replay
    old = table.intern(["a", "b", "c", "d"])
    fork = add(state, old)
    if commits:
        table.commit()
    new = table.intern(["e", "f"])
    state = add(fork, new)  # overwrites a and b
    assert table.sweep([state, {"eval": fork}]) == 0
    assert table.lookup([*old, *new]) == ["a", "b", "c", "d", "e", "f"]
    assert table.sweep(state) == 2
    assert gone(table, old[0])
    assert gone(table, old[1])
    assert table.lookup([*old[2:], *new]) == ["c", "d", "e", "f"]
    again = table.intern(["a", "f"])
    assert again[0] not in old
    assert again[1] == new[1]
    with pytest.raises(jb.errors.UnknownTextError, match=f"text id {old[0]} is not in this table"):
        table.sweep([state, fork])  # it refers to what was freed
    assert len(table) == 5, "nothing was freed"


def test_only_rows_that_are_held_count(table, replay):
    """Also where a slot still holds the id of before."""
    jb_replay, state, add = replay
    ids = table.intern(["a", "b", "c", "d"])
    state = add(state, ids[:3])
    assert table.sweep(state) == 1
    assert gone(table, ids[3])
    assert table.sweep(jb_replay.init({"text": jb.text, "reward": jnp.float32(0)})) == 3


def test_pins_and_candidates(table, replay):
    _, state, add = replay
    ids = table.intern([str(i) for i in range(8)])
    state = add(state, ids[:2])
    pins = {"batch": jnp.asarray(ids[2:4]), "more": [ids[4].reshape(1, 1), None], "null": np.array([-1, 0], np.int64)}
    assert table.sweep(state, pins, candidates=np.array([ids[0], ids[2], ids[5], ids[5], -1, 0, 10**6])) == 1
    assert gone(table, ids[5])
    assert table.sweep(state, pins, candidates=[]) == 0
    assert table.sweep(state, pins) == 2
    assert table.lookup(ids[:5]) == ["0", "1", "2", "3", "4"]
    with pytest.raises(jb.errors.UnknownTextError, match=f"text id {ids[7]} "):
        table.sweep(state, pins=[ids[7]])
    assert len(table) == 5


def test_null_and_unwritten_memory_are_nobodys(table, replay):
    _, state, add = replay
    state = add(state, [-1, 0, table.intern("a")])
    assert table.sweep(state) == 0
    assert len(table) == 1


@pytest.mark.parametrize("size", long_but([((),), ((3,),), ((2, 3),), ((200,),)], quick=[0, 3]))
def test_fields_of_any_size_in_several_streams_with_masks(table, size):
    """A field of 200 texts lies in a block of its own, small ones share words with their neighbours."""
    replay = jb.Replay(capacity=6, num_envs=2, batch_size=2, view=jb.Items())
    row = {
        "flag": jnp.bool_(0),
        "reward": jnp.float32(0),
        "second": jb.text,
        "text": jb.text[size] if size else jb.text,
    }
    state = replay.init(row)
    held = [[], []]  # what each stream holds: [(ids of the row)]
    key = np.random.default_rng(0)
    add = jax.jit(replay.add)
    for step in range(5):
        ids = table.intern([f"{step} {i}" for i in range(2 * int(np.prod(size)) + 2)])
        second, first = ids[:2], ids[2:].reshape(2, *size)
        mask = key.random(2) < 0.7
        rows = {"flag": np.ones(2, bool), "reward": np.ones(2, np.float32), "second": second, "text": first}
        state = add(state, rows, mask)
        for stream in np.flatnonzero(mask):
            held[stream] = [*held[stream], {second[stream], *first[stream].ravel()}][-3:]
        everything = set().union(*held[0], *held[1])
        assert set(live.ids_of(state).tolist()) == everything
        before = len(table)
        assert table.sweep(state) == before - len(everything)
        table.lookup(list(everything))


def test_stacked_states(table, replay):
    _, state, add = replay
    ids = table.intern([str(i) for i in range(8)])
    states = [add(state, ids[:3]), add(state, ids[3:5]), add(state, ids[5:6])]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    assert sorted(live.ids_of(stacked)) == sorted(ids[:6])
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), stacked)
    assert sorted(live.ids_of(twice)) == sorted([*ids[:6]] * 2)
    assert table.sweep(twice) == 2
    assert table.lookup(ids[:6]) == [str(i) for i in range(6)]


def test_a_second_sweep_compiles_nothing(table, replay):
    _, state, add = replay
    state = add(state, table.intern(["a", "b"]))
    table.sweep(state)
    before = columns._column._cache_size()
    table.sweep(add(state, table.intern(["a", "c"])))
    assert columns._column._cache_size() == before


def test_what_is_no_state_is_refused(table, replay):
    _, state, _ = replay
    table.intern("a")
    for wrong, name in ((None, "NoneType"), ([], "list"), ({"x": None}, "dict")):
        message = f"expected states of a replay, such as a buffer or buffer.state, got {name}"
        with pytest.raises(jb.errors.StructureError, match=message):
            table.sweep(wrong)
    for wrong in (np.zeros(2, np.float32), np.zeros(2, bool), "ab"):
        with pytest.raises(jb.errors.DtypeError, match=r"pins must be text ids, int32 arrays; got "):
            table.sweep(state, pins=[wrong])
    assert len(table) == 1


def test_re_interning_between_sweep_and_purge(tmp_path, opened, replay):
    _, state, _ = replay
    table = opened(tmp_path / "t.db")
    old = table.intern("a")
    table.commit()
    assert table.sweep(state) == 1
    assert gone(table, old)
    new = table.intern("a")
    table.commit()
    assert new != old
    assert gone(table, old)
    assert table.intern("a") == new
    assert (len(table), table.nbytes) == (1, 1)
    table.purge()
    assert gone(table, old)
    assert table.lookup(new) == "a"
    assert (len(table), table.nbytes) == (1, 1)
