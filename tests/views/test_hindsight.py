"""What hindsight reads, by hand-written examples; test_hindsight_goals.py has which goals, and how often."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, check, drawn, leaves_of, quick_jit, read_all, rows_of
from tier import budget, long_but

import jaxbuffers as jb


def distance(achieved, desired):
    """Minus the distance to the goal: it tells both goals apart from all others."""
    return -jnp.abs(achieved - desired)


def walk(pattern, reward=None):
    """At time t the place is t, the goal 100 + t: each row can be told from the others by either."""
    rows, time = rows_of(pattern, reward), np.arange(len(pattern), dtype=np.float32)
    return rows.replace(obs={"achieved_goal": time, "desired_goal": 100 + time, "t": rows.obs})


FINAL = functools.partial(jb.Hindsight, reward=distance, goals="final", fraction=1.0)


def test_both_observations_of_a_transition_get_the_goal_and_its_reward_is_computed_for_the_row_reached():
    data = read_all(FINAL(jb.Transitions()), walk("F..LF.T")).data
    check(data.obs["desired_goal"], [3, 3, 3, 6, 6])
    check(data.next_obs["desired_goal"], [3, 3, 3, 6, 6])
    check(data.reward, [-2, -1, 0, -1, 0])
    check(data.obs["achieved_goal"], [0, 1, 2, 4, 5])
    check(data.discount[-1], 0)  # is_terminal is read as stored


def test_the_rewards_of_all_steps_of_a_fold_are_computed_again():
    data = read_all(FINAL(jb.Transitions(3, gamma=0.5)), walk("F..LF.T")).data
    check(data.reward, [-2 - 1 / 2, -1, 0, -1, 0])
    check(data.next_obs["desired_goal"], [3, 3, 3, 6, 6])


def test_a_first_row_keeps_its_reward_and_gets_the_goal():
    data = read_all(FINAL(jb.Sequences(3)), walk("F.L")).data
    check(data.reward, [[1, -1, 0]])
    check(data.obs["desired_goal"], [[2, 2, 2]])


@pytest.mark.parametrize("pattern", long_but(["..L..L", "..LF.L", "F..F..", "F.LF.L"], quick=[0, 2]))
def test_a_row_that_opens_an_episode_by_either_flag_or_the_stream_keeps_its_reward(pattern):
    data = read_all(FINAL(jb.Items()), walk(pattern)).data
    check(data.obs["desired_goal"], [2, 2, 2, 5, 5, 5])
    check(data.reward, [1, -1, 0, 8, -1, 0])


@pytest.mark.long  # quick: test_hindsight_goals.py, against an oracle
def test_rows_of_other_episodes_in_a_crossing_sequence_keep_their_goal_and_reward():
    batch = read_all(FINAL(jb.Sequences(3, burn_in=1)), walk("F.LF.F."))
    goals = [[0, 2, 2, 2], [2, 2, 2, 103], [2, 2, 103, 104], [102, 4, 4, 105], [4, 4, 105, 106]]
    rewards = [[0, 1, -1, 0], [1, -1, 0, 8], [-1, 0, 8, 16], [4, 8, 0, 32], [8, 0, 32, 64]]
    check(batch.data.obs["desired_goal"], goals)
    check(batch.data.reward, rewards)


@pytest.mark.long  # quick: test_hindsight_goals.py, against an oracle
def test_burn_in_of_the_same_episode_gets_the_goal_and_missing_rows_stay_zero():
    batch = read_all(FINAL(jb.Sequences(2, "within", burn_in=2)), walk("F..LF."))
    check(batch.data.obs["desired_goal"], [[0, 0, 3, 3], [0, 3, 3, 3], [3, 3, 3, 3], [0, 0, 5, 5]])
    for leaf in jax.tree.leaves(batch.data):
        assert not leaf[~batch.mask].any()


@pytest.mark.long  # quick: test_hindsight_goals.py, against an oracle
def test_the_goal_of_an_episode_that_goes_on_is_that_of_the_newest_row_so_far():
    replay = jb.Replay(8, None, 8, FINAL(jb.Transitions()), Every())
    rows = walk("F....")
    add, state = quick_jit(replay.add), replay.init(jax.tree.map(lambda x: x[0], walk("F")))
    for step in range(5):
        state = add(state, jax.tree.map(lambda x, step=step: x[step], rows))
        batch = drawn(replay, state)
        check(batch.data.next_obs["desired_goal"][batch.mask], [step] * step)


@pytest.mark.long  # quick: the rows that open an episode, above
def test_an_episode_that_was_abandoned_ends_where_the_next_begins():
    check(read_all(FINAL(jb.Transitions()), walk("F..F.")).data.obs["desired_goal"], [2, 2, 4])


@pytest.mark.long  # quick: test_hindsight_goals.py, against an oracle
def test_an_episode_partly_overwritten_has_goals_and_rewards_of_the_rows_left():
    # Row 3 is the oldest: no first row, so its reward is computed again.
    data = read_all(FINAL(jb.Sequences(1)), walk("F....LF"), length=4).data
    check(data.obs["desired_goal"], [[5], [5], [5], [6]])
    check(data.reward, [[-2], [-1], [0], [64]])
    oldest = jb.Hindsight(jb.Items(), distance, "episode", 1.0)
    replay = jb.Replay(4, None, 64, oldest)
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], walk("F"))), walk("F..."))
    state = quick_jit(replay.add)(state, jax.tree.map(lambda x: x[4:], walk("F....LF")))
    for seed in range(4):
        batch = drawn(replay, state, seed)
        early = batch.index.time < 6
        assert {*batch.data.obs["desired_goal"][early].tolist()} == {3, 4, 5}
        assert {*batch.data.obs["desired_goal"][~early].tolist()} == {6}


def test_a_window_without_a_later_row_keeps_its_goal():
    data = read_all(jb.Hindsight(jb.Items(), distance, "future", 1.0), walk("F.BF")).data
    check(data.obs["desired_goal"], [1, 101, 102, 103])
    check(data.reward, [1, 2, 4, 8])


def test_whole_episodes_get_one_goal():
    data = read_all(FINAL(jb.Episodes(4)), walk("F..LF.L")).data
    check(data.rows.obs["desired_goal"], [[3, 3, 3, 3], [6, 6, 6, 0]])
    check(data.rows.reward, [[1, -2, -1, 0], [16, -1, 0, 0]])


def test_goals_may_be_named_anywhere_in_the_row_and_have_axes():
    rows = rows_of("F..")
    place = np.arange(6, dtype=np.int8).reshape(3, 2)
    rows = rows.replace(extras={"deep": {"place": place}, "goal": -place, "rest": place[:, 0]})

    def reached(achieved, desired):
        assert achieved.shape == desired.shape == (2,)
        return jnp.all(achieved == desired).astype(jnp.float32)

    view = jb.Hindsight(jb.Sequences(2), reached, "final", 1.0, "extras.deep.place", "extras.goal")
    data = read_all(view, rows).data
    check(data.extras["goal"], [[[4, 5]] * 2] * 2)
    check(data.reward, [[1, 0], [0, 1]])
    check(data.extras["rest"], [[0, 2], [2, 4]])
    assert data.extras["goal"].dtype == np.int8


@pytest.mark.long  # quick: test_hindsight_goals.py compares every leaf
def test_nothing_but_the_goal_and_the_reward_changes_and_stored_rows_stay_as_they_are():
    rows = walk("F..LF.")
    plain = jb.Replay(8, None, 32, jb.Sequences(2))
    replay = jb.Replay(8, None, 32, FINAL(jb.Sequences(2)))
    state, other = (quick_jit(r.add)(r.init(jax.tree.map(lambda x: x[0], rows)), rows) for r in (replay, plain))
    batch, want = drawn(replay, state), drawn(plain, other)
    for path, leaf in leaves_of(batch.data).items():
        if path in ("obs.desired_goal", "reward"):
            assert (leaf != leaves_of(want.data)[path]).any()
        else:
            check(leaf, leaves_of(want.data)[path])
    stored, _ = quick_jit(replay.get)(state, batch.index)
    jax.tree.map(np.testing.assert_array_equal, stored, want.data)
    check(batch.probability, want.probability)


def test_goals_move_bit_for_bit():
    """Of rows that keep theirs and of rows that get another's: NaNs with payloads."""
    rng, rows = np.random.default_rng(0), rows_of("F..L" * 2)
    bits = rng.integers(0x7F81, 0x7FFF, (2, 8, 3), np.uint16)
    goals = {"achieved_goal": bits[0].view(jnp.bfloat16), "desired_goal": bits[1].view(jnp.bfloat16)}
    rows = rows.replace(obs=goals, reward=bits[0, :, 0].view(jnp.bfloat16))

    def nothing(achieved, desired):
        return jnp.bfloat16(0)

    for fraction, want in ((0.0, bits[1]), (1.0, bits[0, [3, 3, 3, 3, 7, 7, 7, 7]])):
        replay = jb.Replay(8, None, 8, jb.Hindsight(jb.Items(), nothing, "final", fraction), Every())
        state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
        data = drawn(replay, state).data
        check(data.obs["desired_goal"].view(np.uint16), want)
        check(
            data.reward.view(np.uint16),
            bits[0, :, 0] if fraction == 0 else [bits[0, 0, 0], 0, 0, 0, bits[0, 4, 0], 0, 0, 0],
        )


def test_a_reward_that_is_no_number_shows_only_where_it_is_asked_for():
    def spoilt(achieved, desired):
        return jnp.where(desired == 2.0, np.float32(-1), np.float32(np.nan))

    data = read_all(jb.Hindsight(jb.Sequences(3, "pad"), spoilt, "final", 1.0), walk("F.LF")).data
    check(data.reward, [[1, -1, -1], [-1, -1, 0], [-1, 0, 0], [8, 0, 0]])


@pytest.mark.long  # quick: both orders, by hand, below
def test_stacks_of_hindsight_are_hindsight_of_stacks():
    rows, inner = walk("F..LF...F.L."), jb.Sequences(2, burn_in=1)
    one = jb.FrameStack(jb.Hindsight(inner, distance, "future", 0.5), 3)
    two = jb.Hindsight(jb.FrameStack(inner, 3), distance, "future", 0.5)
    batches = []
    for view in (one, two):
        replay = jb.Replay(10, None, 256, view)
        state = quick_jit(replay.add)(
            replay.init(jax.tree.map(lambda x: x[0], rows)), jax.tree.map(lambda x: x[:8], rows)
        )
        state = quick_jit(replay.add)(state, jax.tree.map(lambda x: x[8:], rows))
        batches.append(drawn(replay, state))
    jax.tree.map(np.testing.assert_array_equal, *batches)
    goals = batches[0].data.obs["desired_goal"]
    assert goals.shape == (256, 3, 3)
    assert (goals < 100).any()
    assert (goals >= 100).any()


def test_every_frame_of_a_stack_has_the_goal():
    views = jb.FrameStack(FINAL(jb.Transitions()), 2), FINAL(jb.FrameStack(jb.Transitions(), 2))
    for view in budget(views[1:], views):  # quick: the first one in test_hindsight_goals.py
        data = read_all(view, walk("F..LF.")).data
        check(data.obs["desired_goal"], [[3, 3], [3, 3], [3, 3], [5, 5]])
        check(data.next_obs["desired_goal"], [[3, 3], [3, 3], [3, 3], [5, 5]])
        check(data.reward, [-2, -1, 0, 0])
