"""A stream may run for ever: counters that have gone round, or come far, change nothing.

Billions of rows cannot be added here: counters are moved on as those rows would have moved them.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import each_of, likely, quick_jit, told_apart
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.windows.queue import QueueState

LENGTH = 8
CYCLE = 2**30  # of a ring of 8 rows


def later(state, jump):
    """The state as if so many more rows of the running episode had come, a multiple of T: each completed a window."""

    def moved(x):
        return (x + jump) % CYCLE

    queue = state.windows
    if isinstance(queue, QueueState):
        queue = replace(queue, made=moved(queue.made), gone=moved(queue.gone), starts=moved(queue.starts))
    sampler = replace(state.sampler, completed=moved(state.sampler.completed))
    return replace(state, ring=replace(state.ring, time=moved(state.ring.time)), windows=queue, sampler=sampler)


def alike(count, first):
    """How likely each window is that begins in the last rows if episodes are equally likely: by its age."""
    episode = np.cumsum(first)
    starts = [
        t for t in range(max(len(first) - LENGTH, 0), len(first) + 1 - count) if not any(first[t + 1 : t + count])
    ]
    sizes = {e: sum(episode[t] == e for t in starts) for e in {episode[t] for t in starts}}
    return {len(first) - 1 - t: 1 / len(sizes) / sizes[episode[t]] for t in starts}


JUMPS = [0, *(edge + LENGTH * step for edge in (2**29, 3 * 2**28, CYCLE) for step in (-3, -2, -1, 0, 1))]


@pytest.mark.parametrize("view", long_but([jb.Items(), jb.Transitions()], quick=[1]), ids=str)
def test_an_episode_may_have_as_many_windows_as_it_likes_and_counts_as_one(view):
    replay = jb.Replay(LENGTH, None, 4, view, jb.ByEpisode())
    before, after = 13, 20
    first = np.isin(np.arange(before + after), [0, 5, 16, 17, 20, 28])
    rows = jax.tree.map(lambda x: x[:, 0], told_apart(before + after, first=np.flatnonzero(first)))

    def step(state, row):
        state = replay.add(state, row)
        age = jnp.arange(LENGTH, dtype=jnp.int32)
        start = (state.ring.time[0] - 1 - age) % CYCLE
        likely = replay.sampler.probability(state.sampler, replay.legal(state), jnp.zeros_like(age), start)
        return state, (likely, replay.sample(state, jax.random.key(0), 256))

    def run(jump):
        state = replay.init(jax.tree.map(lambda x: x[0], rows))
        state, _ = jax.lax.scan(step, state, jax.tree.map(lambda x: x[:before], rows))
        state, seen = jax.lax.scan(step, later(state, jump), jax.tree.map(lambda x: x[before:], rows))
        return seen, state.ring.time

    jumps = np.array(JUMPS, np.int32)
    (likely, batch), time = jax.tree.map(np.asarray, each_of(run)(jumps))
    for n in range(after):
        want = alike(view.required, first[: before + n + 1])
        for jump in range(len(jumps)):
            got = {age: likely[jump, n, age] for age in want}
            assert got == pytest.approx(want, rel=1e-6), f"{jumps[jump]} windows later, after {n} more rows"
            age = (time[jump, 0] - (after - n) - batch.index.time[jump, n]) % CYCLE
            np.testing.assert_allclose(batch.probability[jump, n], [want[a] for a in age.tolist()], rtol=1e-6)


def test_an_episode_as_long_as_the_clock_goes_round_is_not_taken_for_the_next_one():
    replay = jb.Replay(LENGTH, None, 4, sampler=jb.ByEpisode())
    rows = jax.tree.map(lambda x: x[:, 0], told_apart(16, first=[0, 5, 13]))
    add = quick_jit(replay.add)
    state = replay.init(jax.tree.map(lambda x: x[0], rows))
    for t in range(16):
        if t == 13:
            state = later(state, CYCLE - 8)
            assert int(state.ring.time[0]) == 5  # when the running episode began, by the clock
        state = add(state, jax.tree.map(lambda x, t=t: x[t], rows))
    got = likely(replay, state, [0, 4, 5, 6, 7])
    np.testing.assert_allclose(got, [1 / 10, 1 / 10, 1 / 6, 1 / 6, 1 / 6], rtol=1e-6)


@pytest.mark.parametrize("quarters", long_but(range(6), quick=[5]))
def test_new_windows_are_drawn_first_after_any_number_of_rows_without_a_window(quarters):
    """Episodes of one row have no transition; the clock goes round once in four quarters."""
    replay = jb.Replay(LENGTH, None, 2, jb.Transitions(), jb.OnlineFirst())
    row = jax.tree.map(lambda x: x[0, 0], told_apart(1))
    add, state = quick_jit(replay.add), replay.init(row)

    def grown(state, *first):
        for flag in first:
            state = add(state, row.replace(is_first=np.bool_(flag)))
        return state

    state = grown(state, True, False, *[True] * 10)
    for _ in range(quarters):
        time = (state.ring.time + CYCLE // 4) % CYCLE
        state = grown(replace(state, ring=replace(state.ring, time=time)), True)
    state = grown(state, False)
    assert quick_jit(replay.sample)(state, jax.random.key(0)).probability[0] == 1
    assert int(state.sampler.queued) == 2  # the first one is gone, but has not been let go of


def test_an_endless_episode_has_one_beginning():
    view = jb.Hindsight(jb.Items(), lambda achieved, desired: jnp.float32(0), achieved="obs", desired="obs")
    replay = jb.Replay(LENGTH, None, 2, view)
    row = jax.tree.map(lambda x: x[0, 0], told_apart(1))
    add, state = quick_jit(replay.add), replay.init(row)
    for _ in range(12):
        state = add(state, row.replace(is_first=np.bool_(False)))
    episodes = state.windows.episodes
    run = jnp.where(episodes.run > 1, CYCLE - 5, episodes.run)  # as far as rows are counted
    state = replace(state, windows=replace(state.windows, episodes=replace(episodes, run=run)))
    for _ in range(10):
        state = add(state, row.replace(is_first=np.bool_(False)))
    newest = (state.ring.time - 1) % CYCLE
    first, last, began = replay.legal(state).bounds(jnp.zeros(1, jnp.int32), newest)
    assert (int(first[0]), int(last[0]), bool(began[0])) == (22 - LENGTH, 21, False)


def test_uses_of_a_window_are_counted_up_to_a_billion_and_stay_there():
    replay = jb.Replay(4, None, 3, sampler=jb.Counted(jb.Uniform()))
    state = quick_jit(replay.add)(replay.init(np.float32(0)), np.float32(1))
    update = quick_jit(lambda state: replay.update(state, replay.sample(state, jax.random.key(0)).index))
    for before, after in ((7, 10), (2**30 - 1, 2**30 + 2), (2**30 + 2, 2**30 + 2)):
        used = replace(state.sampler, uses=state.sampler.uses.at[0].set(before))
        assert update(replace(state, sampler=used)).sampler.uses.tolist() == [after, -1, -1, -1]
