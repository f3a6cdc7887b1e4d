"""The ring by itself, against a dict of rows: what is held, where, until when, and that nothing else changes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit

from jaxbuffers.row import RowSpec
from jaxbuffers.storage.ring import Ring

LENGTH, STREAMS, CYCLE = 5, 2, 1_073_741_820
SHAPES = {"byte": ("uint8", (3,)), "flag": ("bool", ()), "large": ("float32", (131,)), "pair": ("int32", (2,))}
ROW = {name: jnp.zeros(shape, dtype) for name, (dtype, shape) in SHAPES.items()}
FAR = [-(2**31), -1, CYCLE, CYCLE + 1, 2**30, 2**31 - 1]  # no time, of whatever stream


def ring_of(**tiled):
    return Ring(RowSpec.of(ROW), LENGTH, STREAMS, **tiled)


def random_rows(rng, *lead):
    """Rows of which no value is zero where another would be as likely."""
    return {
        name: rng.integers(1, 2 if kind == "bool" else 256, (*lead, *x)).astype(kind)
        for name, (kind, x) in SHAPES.items()
    }


def zeros(*lead):
    return {name: np.zeros((*lead, *shape), kind) for name, (kind, shape) in SHAPES.items()}


def held(model, at):
    """The rows at (stream, time), zeros where the model has none, and whether it has one."""
    rows, there = zeros(len(at)), np.array([tuple(each) in model for each in at])
    for i in np.flatnonzero(there):
        for name, value in model[tuple(at[i])].items():
            rows[name][i] = value
    return rows, there


def everywhere(times):
    """Each of these times, and some that none has, of each stream and of some that are none."""
    streams = [-(2**31), -1, *range(STREAMS + 1), 2**31 - 1]
    return np.array([(stream, time) for stream in streams for time in [*times, *FAR]], np.int32)


same = np.testing.assert_array_equal


@pytest.mark.parametrize("tiled", [{}, {"tiled": True}], ids=["flat", "tiled"])
@pytest.mark.parametrize("begin", [0, CYCLE - 7])
def test_the_newest_rows_of_each_stream_are_held_and_nothing_else(begin, tiled):
    ring, rng = ring_of(**tiled), np.random.default_rng(begin)
    add, read, present, age = map(quick_jit, (ring.add, ring.read, ring.present, ring.age))
    column = quick_jit(ring.column, static_argnums=1)
    state = ring.init()
    state = replace(state, time=state.time + begin)
    model, count = {}, np.zeros(STREAMS, int)
    at = everywhere([(begin + i) % CYCLE for i in range(-2, 20)])
    for number in (1, 2, 2, LENGTH, 1, 2, 2):
        rows, mask = random_rows(rng, number, STREAMS), rng.random((number, STREAMS)) < 0.7
        state, time = add(state, rows, mask)
        for i, stream in zip(*np.nonzero(mask), strict=True):
            now = (begin + count[stream]) % CYCLE
            assert time[i, stream] == now
            model[stream, now] = {name: x[i, stream] for name, x in rows.items()}
            model.pop((stream, (now - LENGTH) % CYCLE), None)
            count[stream] += 1
        same(state.time, (begin + count) % CYCLE)
        same(state.size, np.minimum(count, LENGTH))

        want, there = held(model, at)
        same(present(state, at[:, 1], at[:, 0]), there)
        newest = (begin + count - 1)[np.clip(at[:, 0], 0, STREAMS - 1)]
        same(age(state, at[:, 1], at[:, 0]), np.where(there, (newest - at[:, 1].astype(int)) % CYCLE, -1))
        wanted = there & (rng.random(len(at)) < 0.8)
        got = read(state, at[:, 1], at[:, 0], wanted)
        for name in SHAPES:
            same(got[name], np.where(wanted.reshape(-1, *[1] * (want[name].ndim - 1)), want[name], 0))
        for leaf, name in enumerate(SHAPES):
            values, slots = column(state, leaf)
            assert values.dtype == ROW[name].dtype
            full = {(stream, time % LENGTH): row[name] for (stream, time), row in model.items()}
            same(slots, [[(stream, slot) in full for stream in range(STREAMS)] for slot in range(LENGTH)])
            for (stream, slot), value in full.items():
                same(values[slot, stream], value)
    assert min(count) > 2 * LENGTH - 3


@pytest.mark.parametrize("names", [["pair"], ["large"], ["byte", "flag", "pair"], ["large", "flag"]], ids="+".join)
def test_a_write_replaces_the_leaves_it_names_where_the_mask_says_so(names):
    ring, rng = ring_of(), np.random.default_rng(0)
    rows = random_rows(rng, LENGTH, STREAMS)
    state, _ = quick_jit(ring.add)(ring.init(), rows, np.ones((LENGTH, STREAMS), bool))
    time, stream = np.int32([[0, 4, 9], [3, 0, 9]]), np.int32([[0, 1, 0], [1, 1, 7]])
    mask = np.array([[True, True, False], [False, True, False]])
    new = {name: value for name, value in random_rows(rng, 2, 3).items() if name in names}
    leaves = {i: new[name] for i, name in enumerate(SHAPES) if name in names}
    write = quick_jit(lambda *x: ring.write(x[0], leaves, *x[1:]))
    # Only what must be is read: the words of which a part is replaced.
    small = [name for name in names if name != "large"]
    text = str(write.trace(state, time, stream, mask).jaxpr)
    assert text.count("gather[") == (0 < len(small) < 3)
    assert text.count("scatter[") == ("large" in names) + (small != [])
    state = write(state, time, stream, mask)
    for name in names:
        rows[name][time[mask], stream[mask]] = new[name][mask]
    at = np.indices((LENGTH, STREAMS), np.int32)
    got = quick_jit(ring.read)(state, *at, np.ones((LENGTH, STREAMS), bool))
    jax.tree.map(same, got, rows)
    same(state.time, [5, 5])
    same(state.size, [5, 5])


def test_times_go_round_at_the_last_multiple_of_the_length_below_two_to_the_thirty():
    spec = RowSpec.of(ROW)
    assert [Ring(spec, length, 1).cycle for length in (1, 4, 5, 2**29 + 1)] == [2**30, 2**30, CYCLE, 2**29 + 1]
    ring = ring_of()
    moves = [(0, -1, CYCLE - 1), (0, 0, 0), (CYCLE - 1, 1, 0), (CYCLE - 1, 2, 1), (3, -3, 0), (3, -4, CYCLE - 1)]
    moves += [(CYCLE - 1, CYCLE - 1, CYCLE - 2), (0, 1 - CYCLE, 1), (7, 3, 10)]
    time, steps, want = np.array(moves, np.int32).T
    same(ring.shift(time, steps), want)
    got = ring.slot(jnp.int32([0, 4, 5, CYCLE - 1]))
    same(got, [0, 4, 0, 4])
    assert got.dtype == jnp.uint32


def test_static_steps_and_computed_ones_and_differences_all_go_round():
    time, steps = np.array([0, 1, 7, CYCLE - 7, CYCLE - 2, CYCLE - 1], np.int32), (0, 1, -1, 6, -6)
    ring = ring_of()

    @quick_jit
    def moved(time, computed):
        static = [ring.shift(time, each) for each in steps]
        back = [ring.since(each, time) for each in static]
        return jnp.stack(static), ring.shift(time[None], computed), jnp.stack(back)

    static, computed, back = moved(time, np.array(steps, np.int32)[:, None])
    wanted = (time[None].astype(np.int64) + np.array(steps)[:, None]) % CYCLE
    np.testing.assert_array_equal(static, wanted)
    np.testing.assert_array_equal(computed, wanted)
    np.testing.assert_array_equal(back, np.broadcast_to(np.array(steps)[:, None] % CYCLE, back.shape))


@pytest.mark.parametrize("tiled", [{}, {"tiled": True}], ids=["flat", "tiled"])
def test_an_empty_ring_is_zeros_in_blocks_of_whole_rows_or_of_whole_tiles(tiled):
    state = ring_of(**tiled).init()
    assert state.words.shape == (LENGTH, STREAMS, 1, 128 if tiled else 3)  # two int32, three bytes and a flag
    assert [block.shape[2:] for block in state.blocks] == [(2, 128) if tiled else (1, 131)]
    assert not any(np.any(x) for x in jax.tree.leaves(state))
    assert state.time is not state.size  # each can be donated
    assert Ring(RowSpec.of({"large": ROW["large"]}), 2, 1, **tiled).init().words is None
    assert Ring(RowSpec.of({"pair": ROW["pair"]}), 2, 1, **tiled).init().blocks == ()
