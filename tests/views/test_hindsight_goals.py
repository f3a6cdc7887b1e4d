"""Which goals hindsight chooses: only those it may, as often as it says, and independent of everything else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import (
    Every,
    WrappedOracle,
    check,
    core_of,
    drawn,
    each_of,
    episode_of,
    fits,
    leaves_of,
    like_of,
    quick_jit,
    row_at,
    rows_of,
    slots_of,
    windows_to_arrays,
    with_goal,
)
from tier import budget, long_but

import jaxbuffers as jb

LENGTH, STREAMS, CASES, STEPS = 6, 2, budget(8, 16), 14


def distance(achieved, desired):
    """Also of NumPy's scalars, for the oracle."""
    return -abs(achieved - desired)


def kept_goal(view, goals, fraction=0.5):
    return jb.Hindsight(view, distance, goals, fraction)


VIEWS = [
    kept_goal(jb.Items(), "future"),
    kept_goal(jb.Transitions(), "episode"),
    kept_goal(jb.Transitions(3, gamma=0.5), "future"),
    kept_goal(jb.Sequences(3, burn_in=1), "final"),
    kept_goal(jb.Sequences(2, "within", burn_in=2, actions="previous", time_major=True), "episode"),
    kept_goal(jb.Sequences(3, "pad", actions="previous"), "future"),
    kept_goal(jb.Episodes(4), "future"),
    jb.FrameStack(kept_goal(jb.Sequences(2, burn_in=1), "episode"), 3),
    kept_goal(jb.FrameStack(jb.Transitions(2, gamma=0.5), 2, pad="zero"), "final"),
]


def rows_at_random(seed):
    """Rows ``[C, S, E]`` of which each has goals of its own, and a mask."""
    rng, shape = np.random.default_rng(seed), (CASES, STEPS, STREAMS)
    number = 1 + np.arange(CASES * STEPS * STREAMS, dtype=np.float32).reshape(shape)
    rows = jb.Row(
        obs={"achieved_goal": number, "desired_goal": 10_000 + number},
        action=number.astype(np.int32),
        reward=rng.integers(-8, 8, shape).astype(np.float32) / 4,
        is_first=rng.random(shape) < 0.2,
        is_last=rng.random(shape) < 0.2,
        is_terminal=rng.random(shape) < 0.1,
    )
    return rows, rng.random(shape) < 0.8


def sources(view, rows, start):
    """The rows whose achieved goal may be the goal of the window that begins at ``start``."""
    goals = (view if isinstance(view, jb.Hindsight) else view.view).goals
    present = episode_of(LENGTH, rows, start)
    return {"future": range(start + 1, present.stop), "final": present[-1:], "episode": present}[goals]


@pytest.mark.parametrize(
    "view", long_but(VIEWS, quick=[4, 7]), ids=lambda view: f"{type(view).__name__}-{core_of(view)}"
)
def test_every_window_reads_as_with_its_own_goal_or_one_that_it_may_have(view):
    """Of random layouts, masks and laps: what is read is what the oracle reads with that goal, in every leaf."""
    replay = jb.Replay(LENGTH * STREAMS, STREAMS, LENGTH * STREAMS, view, Every(), layout="flat")
    rows, mask = rows_at_random(VIEWS.index(view))
    row = jax.tree.map(lambda x: x[0, 0, 0], rows)

    def step(state, inputs):
        rows, mask, key = inputs
        state = replay.add(state, rows, mask)
        return state, replay.sample(state, key)

    keys = jax.random.split(jax.random.key(0), (CASES, STEPS))
    run = each_of(lambda *inputs: jax.lax.scan(step, replay.init(row), inputs)[1])
    batch = jax.tree.map(np.asarray, run(rows, mask, keys))
    data = leaves_of(batch.data.rows if isinstance(batch.data, jb.Episode) else batch.data)
    if getattr(core_of(view), "time_major", False):
        data = {path: np.swapaxes(leaf, 2, 3) for path, leaf in data.items()}
    leaves, like, slots = leaves_of(rows), like_of(view, leaves_of(row)), slots_of(view)
    assert data.keys() == like.keys()
    own = other = 0
    for case in range(CASES):
        oracle = WrappedOracle(view, LENGTH, STREAMS)
        history = [[], []]
        for step in range(STEPS):
            for stream in np.flatnonzero(mask[case, step]):
                history[stream].append(row_at(leaves, case, step, stream))
                oracle.append(stream, history[stream][-1])
            windows = oracle.windows(view)
            real = np.flatnonzero(batch.probability[case, step])
            assert len(real) == len(windows)
            if step % 3 != case % 3:
                continue  # a third of the moments is enough
            for window, place in zip(windows, real, strict=True):
                past = history[window.stream]
                legal = sources(view, past, window.start)
                others = [with_goal(view, LENGTH, past, window.start, source) for source in legal]
                _, want = windows_to_arrays([window, *others], slots, like)
                same = np.ones(1 + len(others), bool)
                for path, leaf in want.items():
                    got = data[path][case, step, place].reshape(leaf.shape[1:])
                    same &= (leaf == got).reshape(len(leaf), -1).all(axis=1)
                assert same.any(), (case, step, window)
                own, other = own + same[0], other + same[1:].any()
    assert own > 20
    assert other > 20


@functools.cache
def adding(replay):
    return quick_jit(replay.add)


def state_of(replay, pattern):
    rows, time = rows_of(pattern), np.arange(len(pattern), dtype=np.float32)
    rows = rows.replace(obs={"achieved_goal": time, "desired_goal": np.full_like(time, -1)})
    state = replay.init(jax.tree.map(lambda x: x[0], rows))
    for begin in range(0, len(pattern), replay.length):
        state = adding(replay)(state, jax.tree.map(lambda x, i=begin: x[i : i + replay.length], rows))
    return state


MAY = {  # of 11 rows, a ring of 8 has 3 to 10: the rest of an episode, one of 4 rows, one of 3 that goes on
    "future": {3: [], 4: [5, 6, 7], 5: [6, 7], 6: [7], 7: [], 8: [9, 10], 9: [10], 10: []},
    "final": {3: [3], 4: [7], 5: [7], 6: [7], 7: [7], 8: [10], 9: [10], 10: [10]},
    "episode": {t: [3] if t == 3 else [4, 5, 6, 7] if t < 8 else [8, 9, 10] for t in range(3, 11)},
}


@pytest.mark.parametrize("goals", long_but([*MAY], quick=[0, 2]))
def test_goals_are_drawn_uniformly_from_the_rows_named_and_only_from_these(goals):
    """8000 draws a window: a fraction of 0.85 for 0.8, or one row left out or twice as likely, would be noticed."""
    replay = jb.Replay(8, None, 8, kept_goal(jb.Items(), goals, 0.8), Every())
    state = state_of(replay, "F..LF..LF..")
    sample = quick_jit(jax.vmap(lambda key: replay.sample(state, key)))
    batch = jax.tree.map(np.asarray, sample(jax.random.split(jax.random.key(1), 8000)))
    for place, (start, legal) in enumerate(MAY[goals].items()):
        check(batch.index.time[:, place], np.full(8000, start))
        cells = [-1, *legal]
        counts = np.array([(batch.data.obs["desired_goal"][:, place] == cell).sum() for cell in cells])
        assert counts.sum() == 8000
        if legal:
            many = len(legal)
            null = np.array([0.2, *[0.8 / many] * many])
            twice = np.array([0.2, 1.6 / (many + 1), *[0.8 / (many + 1)] * (many - 1)])
            defects = {"fraction 0.85": np.array([0.15, *[0.85 / many] * many])}
            defects |= {"one twice": twice} if many > 1 else {}
            fits(counts, null, defects)


@pytest.mark.long  # quick: the test above tells 0.85 from 0.8
def test_the_part_of_the_windows_with_a_new_goal_is_the_fraction():
    some = ((0.8, (0.79, 0.81)), (0.25, (0.24, 0.26)), (0.0, ()), (1.0, ()))
    for fraction, wrong in budget(some[:1] + some[3:], some):
        replay = jb.Replay(8, None, 160_000, kept_goal(jb.Items(), "final", fraction))
        new = int((drawn(replay, state_of(replay, "F..L")).data.obs["desired_goal"] >= 0).sum())
        if wrong:
            counts, null = np.array([new, 160_000 - new]), np.array([fraction, 1 - fraction])
            fits(counts, null, {str(other): np.array([other, 1 - other]) for other in wrong})
        else:
            assert new == 160_000 * fraction


def test_goals_are_independent_of_the_windows_and_of_each_other():
    """Tables of window, goal and the next window's goal: a tenth of them tied to each other would be noticed."""
    replay = jb.Replay(4, None, 60_000, kept_goal(jb.Items(), "episode", 0.5))
    batch = drawn(replay, state_of(replay, "F..."))
    start, goal = batch.index.time, batch.data.obs["desired_goal"].astype(int)
    free = np.outer(np.full(4, 1 / 4), [1 / 2, *[1 / 8] * 4])
    tied = 0.9 * free + 0.1 * np.pad(np.eye(4) / 4, [(0, 0), (1, 0)])
    never = 0.9 * free + 0.1 * np.outer([1, 0, 0, 0], free[0] * 4)
    table = np.zeros((4, 5), int)
    np.add.at(table, (start, goal + 1), 1)
    fits(table.reshape(-1), free.reshape(-1), {"tied": tied.reshape(-1), "by window": never.reshape(-1)})
    pairs = np.zeros((5, 5), int)
    np.add.at(pairs, (goal[:-1:2] + 1, goal[1::2] + 1), 1)
    both = np.outer(free[0] * 4, free[0] * 4)
    same = 0.9 * both + 0.1 * np.diag(free[0] * 4)
    fits(pairs.reshape(-1), both.reshape(-1), {"the same": same.reshape(-1)})


SAMPLERS = [jb.Uniform(), jb.Prioritized(), jb.Mix((0.5, jb.Uniform()), (0.5, jb.Recent(half_life=2)))]


@pytest.mark.parametrize("sampler", long_but(SAMPLERS, quick=[0]), ids=lambda sampler: type(sampler).__name__)
def test_hindsight_does_not_change_which_windows_a_key_draws(sampler):
    alone = jb.Replay(8, None, 64, jb.Transitions(2), sampler)
    replay = jb.Replay(8, None, 64, kept_goal(jb.Transitions(2), "future", 0.8), sampler)
    states = {replay: state_of(replay, "F..LF..L") for replay in (alone, replay)}
    for seed in range(3):
        want, got = (drawn(each, state, seed) for each, state in states.items())
        jax.tree.map(np.testing.assert_array_equal, (got.index, got.probability), (want.index, want.probability))


@pytest.mark.long  # quick: tests/contract/test_contract.py
def test_the_same_key_gives_the_same_goals_and_another_key_others_also_under_vmap():
    replay = jb.Replay(8, None, 64, kept_goal(jb.Transitions(), "future", 0.8))
    states = [state_of(replay, pattern) for pattern in ("F......", "F..LF...F..")]
    keys = jax.random.split(jax.random.key(3), 2)
    sample = quick_jit(replay.sample)
    singles = [sample(*each) for each in zip(states, keys, strict=True)]
    mapped = quick_jit(jax.vmap(replay.sample))(jax.tree.map(lambda *x: jnp.stack(x), *states), keys)
    jax.tree.map(np.testing.assert_array_equal, mapped, jax.tree.map(lambda *x: jnp.stack(x), *singles))
    jax.tree.map(np.testing.assert_array_equal, sample(states[0], keys[0]), singles[0])
    one, two = (np.asarray(sample(states[0], key).data.obs["desired_goal"]) for key in keys)
    assert (one != two).mean() > 0.5
