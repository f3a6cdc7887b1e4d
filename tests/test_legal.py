"""Legal, the one face of rows and windows: names, ages, addresses and rows, by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.row import RowSpec
from jaxbuffers.storage.ring import Ring
from jaxbuffers.windows.base import Contiguous, Windows
from jaxbuffers.windows.queue import Queued, WholeEpisodes

LENGTH, CYCLE = 5, 2**30 // 5 * 5
ADDED = np.array([7, 3])  # rows of each stream: the first has lost two
FIRST = np.isin(np.arange(7)[:, None], [0, 1, 5]) & np.array([True, False])
same = np.testing.assert_array_equal


@pytest.fixture(params=[0, CYCLE - 4], ids=["from the start", "where the clock goes round"])
def begin(request):
    return request.param


def filled(view, begin):
    """Two streams with rows numbered from 1 and from 101; episodes of the first begin with its rows 0, 1 and 5."""
    replay = jb.Replay(2 * LENGTH, 2, 1, view)
    number = np.arange(1, 8)[:, None] + np.array([0, 100])
    rows = {"obs": number.astype(np.int32), "reward": number.astype(np.float32), "is_first": FIRST}
    state = replay.init({"obs": jnp.int32(0), "reward": jnp.float32(0), "is_first": jnp.bool_(False)})
    state = replace(state, ring=replace(state.ring, time=state.ring.time + begin))
    add = quick_jit(replay.add)
    for part in (slice(0, 4), slice(4, 7)):
        mask = np.arange(7)[part, None] < ADDED
        state = add(state, jax.tree.map(lambda x, part=part: x[part], rows), mask)
    return replay, state


WINDOWS = {  # (stream, row of the stream)
    jb.Items(): [(0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 0), (1, 1), (1, 2)],
    jb.Sequences(2): [(0, 2), (0, 3), (0, 4), (0, 5), (1, 0), (1, 1)],
    jb.Sequences(2, "within"): [(0, 2), (0, 3), (0, 5), (1, 0), (1, 1)],
    jb.FrameStack(jb.Sequences(2, "within"), 2): [(0, 3), (0, 5), (1, 0), (1, 1)],
}


@pytest.mark.parametrize("view", WINDOWS, ids=str)
def test_each_legal_window_is_known_by_rank_and_address_and_nothing_else_is(view, begin):
    replay, state = filled(view, begin)
    stream, row = np.array(WINDOWS[view], np.int32).T
    start = (row + begin) % CYCLE
    count = np.bincount(stream)
    same(replay.legal(state).count(), count)
    rank = np.concatenate([np.arange(n, dtype=np.int32) for n in count])
    address = (start % LENGTH * 2 + stream).astype(np.uint32)

    everything = np.indices((2, 11), np.int32).reshape(2, -1)
    others = everything[0], (everything[1] - 2 + begin) % CYCLE
    strange = np.int32([-1, 2, 2**31 - 1, 0, 0, 0]), np.int32([3, 3, 3, -1, CYCLE, -(2**31)])
    others = [np.concatenate(each) for each in zip(others, strange, strict=True)]

    def look(state):
        legal = replay.legal(state)
        asked = legal.start(stream, rank), legal.older(stream, start), legal.address(stream, start)
        return *asked, legal.window_at(address), legal.known(*others), legal.only_known(jb.Draw.of(*others)).valid

    begins, older, addresses, window, known, valid = quick_jit(look)(state)
    same(begins, start)
    same(older, rank)
    same(addresses, address)
    same(window, (stream, start))
    assert [x.dtype for x in (addresses, *window)] == [jnp.uint32, jnp.int32, jnp.int32]
    legal_ones = {*zip(stream.tolist(), start.tolist(), strict=True)}
    same(known, [pair in legal_ones for pair in zip(*map(np.ndarray.tolist, others), strict=True)])
    same(valid, known)


def test_rows_are_read_where_they_are_present_and_aged_by_those_that_followed(begin):
    replay, state = filled(jb.Items(), begin)
    legal = replay.legal(state)
    stream, row = (x.reshape(-1) for x in np.indices((2, 9), np.int32))
    time = (row + begin) % CYCLE
    there = (row < ADDED[stream]) & (row >= ADDED[stream] - LENGTH)
    same(legal.present(stream, time), there)
    same(legal.age(stream, time)[there], (ADDED[stream] - 1 - row)[there])
    same(legal.slot(time), time % LENGTH)
    same(legal.read(stream, time)["obs"], np.where(there, row + 1 + 100 * stream, 0))
    some = there & (row % 2 == 0)
    same(legal.read(stream, time, some)["obs"], np.where(some, row + 1 + 100 * stream, 0))
    same(legal.time, (ADDED + begin) % CYCLE)
    same(legal.size, [5, 3])


def test_bounds_are_the_first_and_the_last_row_present_of_an_episode(begin):
    def reward(achieved, desired):
        return jnp.float32(0)

    replay, state = filled(jb.Hindsight(jb.Items(), reward, achieved="obs", desired="obs"), begin)
    stream, row = np.array(WINDOWS[jb.Items()], np.int32).T
    first, last, began = quick_jit(lambda state: replay.legal(state).bounds(stream, (row + begin) % CYCLE))(state)
    same(first, (np.array([2, 2, 2, 5, 5, 0, 0, 0]) + begin) % CYCLE)
    same(last, (np.array([4, 4, 4, 6, 6, 2, 2, 2]) + begin) % CYCLE)
    same(began, [False] * 3 + [True] * 5)  # row 1, which began the episode of row 2, is overwritten


@pytest.mark.parametrize("view, said", [(jb.Items(), ()), (jb.Transitions(), ("windows", "too_long"))], ids=str)
def test_windows_beside_bounds_report_what_they_do_alone(view, said):
    replay = jb.Replay(LENGTH, None, 1, jb.Hindsight(view, lambda *_: jnp.float32(0), achieved="obs", desired="obs"))
    state = replay.init(jb.Row(*[np.float32(0)] * 3, *[np.bool_(False)] * 3))
    assert {*state.windows.stats()} == set(said)


def test_what_is_no_draw_is_refused_before_it_is_looked_up():
    replay = jb.Replay(LENGTH, None, 1)
    with pytest.raises(jb.errors.StructureError, match="Draw"):
        replay.legal(replay.init(jnp.float32(0))).only_known((np.zeros(1, np.int32), np.zeros(1, np.int32)))


def test_a_queue_begins_with_nothing_in_it_and_counts_what_never_joins_it():
    replay = jb.Replay(LENGTH, None, 1, jb.Episodes(2))
    row = jb.Row(*[np.float32(0)] * 3, *[np.bool_(False)] * 3)
    state = replay.init(row)
    same(state.windows.run, [-1])
    assert not any(np.any(x) for x in jax.tree.leaves(replace(state.windows, run=state.windows.gone)))
    same(state.windows.stats()["windows"], [0])
    rows = jax.tree.map(lambda x: np.zeros(5, x.dtype), row)
    state = replay.add(state, rows.replace(is_last=np.array([True, True, False, False, True])))
    same(state.windows.stats()["windows"], [2])
    same(state.windows.stats()["too_long"], [1])
    assert replay.legal(state).required == 1


def test_windows_begin_at_any_row_and_need_no_history_unless_told():
    ring = Ring(RowSpec.of({"obs": jnp.float32(0)}), LENGTH, 1)
    kinds = Contiguous(ring, 3), Queued(ring, 3, within=True), WholeEpisodes(ring, 3)
    assert [kind.reach for kind in kinds] == [LENGTH] * 3
    assert [kind.reach for kind in (kind.with_history(2) for kind in kinds)] == [LENGTH - 2] * 3
    assert kinds[1].period == 1


def test_a_search_outside_of_jit_is_traced_once(monkeypatch):
    """Its loop would be compiled in each call, and no program forgotten."""
    replay, state = filled(jb.Sequences(2, "within", period=2), 0)
    legal, traced, start = replay.legal(state), [], Queued.start

    def noting(windows, *args):
        traced.append(any(isinstance(arg, jax.core.Tracer) for arg in args))
        return start(windows, *args)

    monkeypatch.setattr(Queued, "start", noting)
    for _ in range(3):
        assert legal.older(jnp.int32([0, 1]), jnp.int32([5, 0])).tolist() == [1, 0]
    assert len(traced) <= 2
    assert all(traced)


def test_the_rule_of_windows_names_what_decides_which_are_legal():
    ring = Ring(RowSpec.of({"obs": jnp.int32(0)}), LENGTH, 2)
    assert Contiguous(ring, 2, 1).rule == (
        ("kind of windows", "Contiguous"),
        ("required rows", 2),
        ("rows of history", 1),
    )


def test_windows_that_cannot_count_those_of_an_episode_say_what_to_define():
    windows = Contiguous(Ring(RowSpec.of({"obs": jnp.int32(0)}), LENGTH, 2), 2)
    with pytest.raises(ConfigurationError, match=r"Contiguous does not say .* define count_in\(\) and start_in\(\)"):
        Windows.count_in(windows, np.array([3]), np.array([True]))
