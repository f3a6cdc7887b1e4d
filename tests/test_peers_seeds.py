"""Defects of two small buffers this library grew out of: each test fails where that defect returns.

The first is a ring of steps for Dreamer with a deque and an episode class beside it; the second a store of
episodes for vectorized environments.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import drawn, example, filled, quick_jit, told_apart
from scipy import stats

import jaxbuffers as jb

# The ring of steps


@pytest.mark.long  # quick: test_exhaustive.py
def test_no_window_has_a_terminal_inside_if_episodes_are_kept_apart():
    # Theirs promised it in words; 56% of its windows had one.
    replay = jb.Replay(32, None, 2000, jb.Sequences(4, "within"))
    terminal = [4, 9, 10, 18, 27, 31, 40]
    rows = told_apart(48, first=[0, *(time + 1 for time in terminal)], terminal=terminal)
    batch = drawn(replay, filled(replay, rows))
    assert batch.valid
    assert not batch.data.is_terminal[:, :-1].any()
    assert not batch.data.is_first[:, 1:].any()
    assert batch.data.is_terminal[:, -1].any()


@pytest.mark.long  # quick: test_uniform.py
@pytest.mark.parametrize("rows", [4, 5, 12, 16, 17, 40])
@pytest.mark.parametrize("view", [jb.Sequences(4), jb.Sequences(4, "within"), jb.Transitions()], ids=str)
def test_the_newest_window_is_drawn(view, rows):
    # At most 16 windows and 600 draws: missed with probability below (15/16)**600 < 1e-16.
    replay = jb.Replay(16, None, 600, view)
    batch = drawn(replay, filled(replay, told_apart(rows)))
    newest = batch.data.next_obs if isinstance(view, jb.Transitions) else batch.data.obs[:, -1]
    assert newest.max() == rows


@pytest.mark.long  # quick: test_exhaustive.py
@pytest.mark.parametrize("window", [9, 12, 15, 16])
@pytest.mark.parametrize("episodes", ["cross", "within", "pad"])
def test_windows_longer_than_half_of_a_full_ring_are_drawn(window, episodes):
    # Theirs looped forever: no start kept the write head out of the window.
    replay = jb.Replay(16, None, 600, jb.Sequences(window, episodes))
    batch = drawn(replay, filled(replay, told_apart(37)))
    assert batch.valid
    starts = np.unique(batch.data.obs[:, 0])
    oldest = 37 - 16 + 1
    count = 16 if episodes == "pad" else 16 - window + 1
    np.testing.assert_array_equal(starts, np.arange(oldest, oldest + count))


@pytest.mark.long  # quick: errors/test_sample_update.py
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_too_little_data_gives_zeros_and_says_so(rows):
    # Theirs returned a window all the same, of whatever lay in its uninitialized memory.
    replay = jb.Replay(64, None, 8, jb.Sequences(4, "within"))
    state = replay.init(example(told_apart(1)))
    if rows:
        state = filled(replay, told_apart(rows))
    batch = drawn(replay, state)
    assert not batch.valid
    assert not batch.mask.any()
    assert not bool(replay.can_sample(state))
    assert all(not leaf.any() for leaf in jax.tree.leaves(batch.data))


def test_an_episode_grows_from_arrays_row_by_row():
    # Theirs called append on the first observation, which fails if that is an array.
    episode = jb.episode_rows(
        obs=jnp.arange(15.0).reshape(5, 3), action=jnp.arange(4), reward=jnp.ones(4), terminated=True, truncated=False
    )
    replay = jb.Replay(8, None, 64, jb.Sequences(5, "within"))
    state = replay.init(jax.tree.map(lambda x: x[0], episode))
    add = quick_jit(replay.add)
    for time in range(5):
        state = add(state, jax.tree.map(lambda x, time=time: x[time], episode))
    batch = drawn(replay, state, size=1)
    jax.tree.map(lambda got, want: np.testing.assert_array_equal(got[0], want), batch.data, episode)


@pytest.mark.long  # quick: views/test_sequences.py
def test_the_time_axis_may_come_first():
    # Theirs returns [L, B, ...]: whoever comes from there finds the same layout, each column one window.
    replay = jb.Replay(16, None, 10, jb.Sequences(4, time_major=True))
    batch = drawn(replay, filled(replay, told_apart(16)))
    assert batch.data.obs.shape == (4, 10)
    np.testing.assert_array_equal(np.diff(batch.data.obs, axis=0), np.ones((3, 10)))


# The store of episodes


@pytest.mark.long  # quick: test_exhaustive.py
def test_old_rows_are_evicted_and_size_never_exceeds_capacity():
    # Theirs never called its eviction.
    replay = jb.Replay(12, 2, 400)
    for rows in (5, 6, 7, 29):
        state = filled(replay, told_apart(rows, 2))
        assert int(replay.size(state)) == min(12, 2 * rows)
        kept = np.unique(drawn(replay, state).data.obs % 1000)
        np.testing.assert_array_equal(kept, np.arange(max(rows - 6, 0) + 1, rows + 1))


@pytest.mark.long  # quick: test_exhaustive.py
def test_the_last_start_of_an_episode_is_drawn_and_so_are_its_terminals():
    replay = jb.Replay(16, None, 600, jb.Transitions())
    batch = drawn(replay, filled(replay, told_apart(12, first=[0, 5], terminal=[4, 11])))
    assert {4, 11} <= set(batch.data.obs.tolist())
    np.testing.assert_array_equal(np.unique(batch.data.next_obs[batch.data.discount == 0]), [5, 12])
    within = jb.Replay(16, None, 600, jb.Sequences(3, "within"))
    data = drawn(within, filled(within, told_apart(12, first=[0, 5], terminal=[4, 11]))).data
    np.testing.assert_array_equal(np.unique(data.obs[data.is_terminal]), [5, 12])


@pytest.mark.long  # quick: test_windows.py
@pytest.mark.parametrize("flags", ["first", "last", "both"])
def test_one_step_episodes_are_never_merged(flags):
    # Two rows each: only the pairs (1, 2), (3, 4), ... are transitions.
    first = range(0, 10, 2) if flags != "last" else ()
    last = range(1, 10, 2) if flags != "first" else ()
    replay = jb.Replay(10, None, 600, jb.Transitions(3))
    data = drawn(replay, filled(replay, told_apart(10, first=first, last=last))).data
    np.testing.assert_array_equal(np.unique(data.obs), np.arange(1, 11, 2))
    np.testing.assert_array_equal(data.next_obs, data.obs + 1)


@pytest.mark.long  # quick: test_windows.py
def test_episodes_of_a_single_row_are_never_merged():
    replay = jb.Replay(10, None, 600, jb.Sequences(2, "pad"))
    data = drawn(replay, filled(replay, told_apart(10, first=range(10), last=range(10)))).data
    np.testing.assert_array_equal(np.unique(data.obs[:, 0]), np.arange(1, 11))
    assert not data.obs[:, 1].any()


@pytest.mark.long  # quick: test_exhaustive.py
@pytest.mark.parametrize(
    "view, count", [(jb.Transitions(3), 7), (jb.Sequences(3, "within"), 6), (jb.Sequences(3, "pad"), 8)], ids=str
)
def test_an_episode_longer_than_the_capacity_keeps_its_newest_rows(view, count):
    replay = jb.Replay(8, None, 600, view)
    state = filled(replay, told_apart(101, terminal=[100]))
    assert int(replay.size(state)) == 8
    data = drawn(replay, state).data
    starts = data.obs if isinstance(view, jb.Transitions) else data.obs[:, 0]
    np.testing.assert_array_equal(np.unique(starts), np.arange(94, 94 + count))


@pytest.mark.long  # quick: test_uniform.py
def test_one_batch_draws_from_all_environments():
    # Theirs filled each batch from the shard of one worker. 8 streams, 256 draws: 8 * (7/8)**256 < 1e-13.
    replay = jb.Replay(8 * 16, 8, 256, jb.Sequences(4))
    state = filled(replay, told_apart(20, 8))
    for seed in range(5):
        np.testing.assert_array_equal(np.unique(drawn(replay, state, seed).index.stream), np.arange(8))


def test_an_observation_as_long_as_there_are_environments_is_not_taken_for_a_batch():
    # Theirs told a batch from a single row by an equal leading dimension.
    envs = 3
    one = jb.Replay(12, None, 4)
    state = quick_jit(one.add)(one.init(np.zeros(envs, np.float32)), np.array([1, 2, 3], np.float32))
    assert int(one.size(state)) == 1
    np.testing.assert_array_equal(drawn(one, state).data, [[1, 2, 3]] * 4)

    many = jb.Replay(12, envs, 4)
    state = many.init(np.zeros(envs, np.float32))
    with pytest.raises(jb.errors.ShapeError):
        many.add(state, np.array([1, 2, 3], np.float32))
    square = np.arange(9, dtype=np.float32).reshape(envs, envs)
    state = quick_jit(many.add)(state, square)
    assert int(many.size(state)) == envs
    rows, present = quick_jit(many.get)(state, jb.Index(jnp.arange(envs, dtype=jnp.int32), jnp.zeros(envs, jnp.int32)))
    assert present.all()
    np.testing.assert_array_equal(rows, square)


@pytest.mark.long  # quick: test_uniform.py
def test_a_step_of_a_short_episode_is_no_more_likely_than_one_of_a_long_episode():
    # 4 episodes of 2 steps and one of 56; episodes first would give the short ones 80% of the draws, not 12.5%.
    draws, alpha = 4000, 1e-6
    replay = jb.Replay(80, None, draws, jb.Transitions())
    short = np.arange(0, 12, 3)
    state = filled(replay, told_apart(69, first=[*short, 12], last=[*(short + 2), 68]))
    counts = np.bincount(drawn(replay, state).data.obs <= 12, minlength=2)
    null = np.array([56, 8]) / 64
    noncentrality = draws * np.sum((np.array([0.75, 0.25]) - null) ** 2 / null)  # a bias far below theirs
    assert stats.ncx2.sf(stats.chi2.isf(alpha, 1), 1, noncentrality) > 0.999
    assert stats.chisquare(counts, draws * null).pvalue > alpha


def test_rows_flagged_was_done_go_straight_in():
    # The observation that comes with `done` opens the next episode: is_first = was_done, and nothing else.
    envs, steps = 2, 20
    done = np.zeros((steps, envs), bool)
    done[4, 0] = done[9, 0] = done[6, 1] = True
    obs = np.arange(steps * envs, dtype=np.float32).reshape(steps, envs)
    rows = {"obs": obs, "action": obs, "reward": obs, "is_first": done, "is_terminal": np.zeros_like(done)}
    replay = jb.Replay(40, envs, 2000, jb.Transitions())
    data = drawn(replay, filled(replay, rows)).data
    pairs = set(zip(data.obs.tolist(), data.next_obs.tolist(), strict=True))
    want = {(obs[t, e], obs[t + 1, e]) for t in range(steps - 1) for e in range(envs) if not done[t + 1, e]}
    assert pairs == want
