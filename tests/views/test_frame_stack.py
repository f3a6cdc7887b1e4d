"""What stacks of frames hold, by hand-written examples; test_exhaustive_wrapped.py has all small cases."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, check, leaves_of, quick_jit, read_all, rows_of
from tier import budget

import jaxbuffers as jb


def test_a_stack_repeats_the_first_frame_and_never_reaches_back_over_the_start_of_an_episode():
    data = read_all(jb.FrameStack(jb.Items(), 3), rows_of("F..LF.")).data
    check(data.obs, [[10, 10, 10], [10, 10, 11], [10, 11, 12], [11, 12, 13], [14, 14, 14], [14, 14, 15]])


def test_a_stack_padded_with_zeros_holds_only_frames_of_its_episode():
    data = read_all(jb.FrameStack(jb.Items(), 3, pad="zero"), rows_of("F.LBF.")).data
    check(data.obs, [[0, 0, 10], [0, 10, 11], [10, 11, 12], [0, 0, 13], [0, 0, 14], [0, 14, 15]])


def test_is_last_alone_and_is_first_alone_end_a_stack():
    for pattern in ("..L..", "...F.", "..LF."):
        data = read_all(jb.FrameStack(jb.Items(), 3, pad="zero"), rows_of(pattern)).data
        begin = 13
        check(data.obs[3:], [[0, 0, begin], [0, begin, begin + 1]])
        check(data.obs[:3], [[0, 0, 10], [0, 10, 11], [10, 11, 12]])


def test_flags_of_rows_without_is_last_are_enough():
    row = rows_of("F..F.")
    rows = {"obs": row.obs, "is_first": row.is_first}
    check(read_all(jb.FrameStack(jb.Items(), 2), rows).data["obs"], [[10, 10], [10, 11], [11, 12], [13, 13], [13, 14]])


def test_a_stack_of_one_frame_is_the_observation_with_an_axis():
    rows = rows_of("F.LF.")
    views = [jb.Sequences(2, "pad", burn_in=1), jb.Items(), jb.Transitions(2)]
    for view in budget(views[:1], views):
        plain, stacked = read_all(view, rows, length=4), read_all(jb.FrameStack(view, 1), rows, length=4)
        check(stacked.index.time, plain.index.time)
        for path, leaf in leaves_of(stacked.data).items():
            want = leaves_of(plain.data)[path]
            check(leaf, want[..., None] if "obs" in path else want)


def test_no_stack_is_short_because_its_frames_were_overwritten():
    # The same 7 rows in rings of 5 and of 7: rows at which no whole stack ends are not drawn any more.
    rows = rows_of("F......")
    batch = read_all(jb.FrameStack(jb.Items(), 3), rows, length=5)
    check(batch.index.time, [4, 5, 6])
    check(batch.data.obs, [[12, 13, 14], [13, 14, 15], [14, 15, 16]])
    check(read_all(jb.FrameStack(jb.Items(), 3), rows, length=7).index.time, [2, 3, 4, 5, 6])


def test_the_rows_drawn_are_the_newest_t_less_k_minus_one_of_a_ring_that_is_filling():
    replay = jb.Replay(5, None, 5, jb.FrameStack(jb.Items(), 3), Every())
    rows = rows_of("F.....")
    add, sample = quick_jit(replay.add), quick_jit(replay.sample)
    state = replay.init(jax.tree.map(lambda x: x[0], rows))
    for step, want in enumerate(([0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5])):
        state = add(state, jax.tree.map(lambda x, step=step: x[step], rows))
        batch = jax.tree.map(np.asarray, sample(state, jax.random.key(0)))
        check(batch.index.time[batch.mask], want)


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_burn_in_rows_are_masked_where_their_stack_would_be_short():
    view = jb.FrameStack(jb.Sequences(2, "within", burn_in=2), 3)
    batch = read_all(view, rows_of("F......."), length=6)  # rows 2 to 7 are present
    check(batch.index.time, [[-1, -1, 4, 5], [-1, 4, 5, 6], [4, 5, 6, 7]])
    check(batch.data.obs[1], [[0, 0, 0], [12, 13, 14], [13, 14, 15], [14, 15, 16]])
    for times, stacks in zip(batch.index.time, batch.data.obs, strict=True):
        for time, stack in zip(times, stacks, strict=True):
            check(stack, [0, 0, 0] if time < 0 else [8 + time, 9 + time, 10 + time])


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_the_action_before_the_oldest_row_read_is_known():
    view = jb.FrameStack(jb.Sequences(2, "within", actions="previous"), 2)
    batch = read_all(view, rows_of("F......"), length=5)  # row 2 for its frame, row 3 for its action
    check(batch.index.time, [[4, 5], [5, 6]])
    check(batch.data.action, [[23, 24], [24, 25]])
    check(batch.data.obs, [[[13, 14], [14, 15]], [[14, 15], [15, 16]]])


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_a_transition_has_a_stack_at_both_ends_and_its_reward_as_before():
    rows = rows_of("F..TF.")
    for pad, first in (("first", 10), ("zero", 0)):
        data = read_all(jb.FrameStack(jb.Transitions(2, gamma=0.5), 2, pad), rows).data
        check(data.obs, [[first, 10], [10, 11], [11, 12], [first and 14, 14]])
        check(data.next_obs, [[11, 12], [12, 13], [12, 13], [14, 15]])
        check(data.reward, [2 + 4 / 2, 4 + 8 / 2, 8, 32])
        check(data.discount, [0.25, 0, 0, 0.5])
        check(data.action, [20, 21, 22, 24])


def test_crossing_sequences_start_their_stacks_again_at_each_episode():
    data = read_all(jb.FrameStack(jb.Sequences(3), 2), rows_of("F.LF.")).data
    check(data.obs[1], [[10, 11], [11, 12], [13, 13]])
    check(data.action[1], [21, 22, 23])


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_padding_of_a_sequence_is_zero_in_its_stacks_too():
    batch = read_all(jb.FrameStack(jb.Sequences(3, "pad", burn_in=1), 2), rows_of("F.LF"))
    assert not batch.mask.all()
    for leaf in jax.tree.leaves(batch.data):
        assert not leaf[~batch.mask].any()


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_stacks_of_time_major_sequences_have_their_axis_after_the_batch():
    rows = rows_of("F.LF..")
    replay = jb.Replay(8, None, 5, jb.FrameStack(jb.Sequences(3, time_major=True), 2))
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
    batch = quick_jit(replay.sample)(state, jax.random.key(0))
    assert batch.data.obs.shape == (3, 5, 2)
    assert batch.data.action.shape == batch.mask.shape == (3, 5)
    check(batch.data.obs[..., 1] - 10, batch.index.time)


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_episodes_of_stacks_are_whole():
    batch = read_all(jb.FrameStack(jb.Episodes(3), 2), rows_of("F.LBF.L"), length=6)
    check(batch.data.rows.obs, [[[13, 13], [0, 0], [0, 0]], [[14, 14], [14, 15], [15, 16]]])
    check(batch.data.length, [1, 3])


def test_every_leaf_of_the_observation_is_stacked_and_no_other_and_no_bit_changes():
    rows, rng = rows_of("F.LF."), np.random.default_rng(0)
    bits = rng.integers(0x7F81, 0x7FFF, (5, 3), np.uint16)  # NaNs with payloads
    image = rng.integers(0, 256, (5, 20, 20), np.uint8)  # large: a block of its own
    rows = rows.replace(obs={"image": image, "deep": {"half": bits.view(jnp.bfloat16), "on": rng.random(5) < 0.5}})
    replay = jb.Replay(6, None, 5, jb.FrameStack(jb.Items(), 2), Every())
    state = replay.add(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)  # a scan would change the NaNs
    data = jax.tree.map(np.asarray, quick_jit(replay.sample)(state, jax.random.key(0)).data)
    frames = np.array([[0, 0], [0, 1], [1, 2], [3, 3], [3, 4]])
    check(data.obs["image"], image[frames])
    check(data.obs["deep"]["half"].view(np.uint16), bits[frames])
    check(data.obs["deep"]["on"], rows.obs["deep"]["on"][frames])
    assert [x.dtype for x in jax.tree.leaves(data)] == [x.dtype for x in jax.tree.leaves(rows)]
    check(data.extras["note"], rows.extras["note"])


@pytest.mark.long  # quick: test_exhaustive_wrapped.py
def test_a_stack_of_stacks_stacks_what_the_inner_one_reads():
    view = jb.FrameStack(jb.FrameStack(jb.Items(), 2), 3, pad="zero")
    data = read_all(view, rows_of("F....."), length=6).data
    check(data.obs, [[[11 - k, 12 - k], [12 - k, 13 - k], [13 - k, 14 - k]] for k in (1, 0, -1)])
    data = read_all(view, rows_of("F..F"), length=8).data
    check(data.obs[0], [[0, 0], [0, 0], [10, 10]])
    check(data.obs[1], [[0, 0], [10, 10], [10, 11]])
    check(data.obs[3], [[0, 0], [0, 0], [13, 13]])


@pytest.mark.long  # quick: test_exhaustive_wrapped.py, and stacks of goals in test_hindsight.py
def test_stacks_around_goals_around_stacks_keep_their_order():
    def minus(achieved, desired):
        return desired - achieved

    plain = rows_of("F..LF..")
    number = plain.action.astype(np.float32)  # 20 + time
    rows = plain.replace(action=number, extras={"goal": np.zeros_like(number)})
    goals = jb.Hindsight(jb.FrameStack(jb.Sequences(1), 2), minus, "final", 1.0, "action", "extras.goal")
    batch = read_all(jb.FrameStack(jb.FrameStack(goals, 3), 4), rows, length=13)
    frames = np.arange(-3, 1)[:, None, None] + np.arange(-2, 1)[:, None] + np.arange(-1, 1)
    begin = np.array([0, 0, 0, 0, 4, 4, 4])
    time = np.arange(7)
    # Each stack repeats the first one of its episode.
    check(batch.data.obs[:, 0], 10 + np.maximum(time[:, None, None, None] + frames, begin[:, None, None, None]))
    check(batch.data.extras["goal"][:, 0], 20 + np.array([3, 3, 3, 3, 6, 6, 6]))
    check(batch.data.reward[:, 0], np.where(time == begin, rows.reward, [3, 2, 1, 0, 2, 1, 0]))


def test_stacks_hold_what_was_written_back():
    rows = rows_of("F..")
    replay = jb.Replay(4, None, 4, jb.FrameStack(jb.Sequences(3), 2))
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
    index = jb.Index(jnp.zeros(2, jnp.int32), jnp.array([0, 2], jnp.int32))
    state = quick_jit(lambda state: replay.update(state, index, rows={"obs": np.array([50, 52], np.float32)}))(state)
    check(quick_jit(replay.sample)(state, jax.random.key(0)).data.obs[0], [[50, 50], [50, 11], [11, 52]])


@pytest.mark.parametrize("view, k, needs", [(jb.Items(), 4, 4), (jb.Transitions(3), 3, 6), (jb.Sequences(4), 2, 5)])
def test_a_ring_too_small_for_one_window_and_its_history_is_refused_with_the_size_needed(view, k, needs):
    jb.Replay(2 * needs, 2, 1, jb.FrameStack(view, k))
    with pytest.raises(jb.errors.ConfigurationError, match=f"at least {2 * needs}"):
        jb.Replay(2 * (needs - 1), 2, 1, jb.FrameStack(view, k))


def test_a_state_of_other_stacks_is_refused_where_windows_are_queued():
    row = jax.tree.map(lambda x: x[0], rows_of("F"))
    three, two = (jb.Replay(8, None, 1, jb.FrameStack(jb.Transitions(), k)) for k in (3, 2))
    with pytest.raises(jb.errors.ConfigurationError, match="another configuration"):
        two.sample(three.init(row), jax.random.key(0))


BAD = [
    lambda: jb.FrameStack(jb.Items(), 0),
    lambda: jb.FrameStack(jb.Items(), 2.0),
    lambda: jb.FrameStack(jb.Items(), True),
    lambda: jb.FrameStack(jb.Items(), 2, pad="last"),
    lambda: jb.FrameStack(jb.Items, 2),
    lambda: jb.FrameStack(4, jb.Items()),
]


@pytest.mark.parametrize("make", BAD)
def test_impossible_stacks_are_refused(make):
    with pytest.raises(jb.errors.ConfigurationError):
        make()


@pytest.mark.parametrize("missing", ["obs", "is_first"])
def test_a_field_that_stacks_need_is_named_at_init(missing):
    row = {"obs": np.float32(0), "is_first": np.False_}
    del row[missing]
    with pytest.raises(jb.errors.MissingFieldError, match=re.escape(repr(missing))):
        jb.Replay(8, None, 1, jb.FrameStack(jb.Items(), 2)).init(row)


@pytest.mark.parametrize("flag", ["is_first", "is_last"])
@pytest.mark.parametrize("value", [np.float32(0), np.int32(0), np.zeros(1, bool)], ids=["float32", "int32", "bool[1]"])
def test_a_flag_that_is_not_one_bool_is_refused_at_init_by_name(flag, value):
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(**{flag: value})
    with pytest.raises((jb.errors.DtypeError, jb.errors.ShapeError), match=flag):
        jb.Replay(8, None, 1, jb.FrameStack(jb.Items(), 2)).init(row)


def test_the_view_inside_checks_the_row_too():
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(reward=np.int32(0))
    with pytest.raises(jb.errors.DtypeError, match="reward"):
        jb.Replay(8, None, 1, jb.FrameStack(jb.Transitions(), 2)).init(row)
