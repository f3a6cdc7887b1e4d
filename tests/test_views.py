"""What each view reads, by hand-written examples."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, OracleReplay, leaves_of, quick_jit, row_at, windows_to_arrays

import jaxbuffers as jb

NAN = float("nan")


def rows_of(pattern, reward=None):
    """One row a character, ``F`` first, ``L`` last (truncated), ``T`` last and terminal, ``B`` first and last.

    At time t the observation is 10 + t, the action 20 + t and the reward 2**t unless given.
    """
    steps = np.arange(len(pattern))
    flag = {name: np.array([c in kinds for c in pattern]) for name, kinds in (("F", "FB"), ("L", "LTB"), ("T", "T"))}
    return jb.Row(
        obs=(10 + steps).astype(np.float32),
        action=(20 + steps).astype(np.int32),
        reward=np.asarray(2.0**steps if reward is None else reward, np.float32),
        is_first=flag["F"],
        is_last=flag["L"],
        is_terminal=flag["T"],
        extras={"note": (30 + steps).astype(np.uint8)},
    )


def read_all(view, rows, length=8):
    """Every legal window of one stream, oldest first: a `Batch` without the padding."""
    replay = jb.Replay(length, None, length, view, Every())
    state = replay.init(jax.tree.map(lambda x: x[0], rows))
    steps = len(jax.tree.leaves(rows)[0])

    @quick_jit
    def run(state, rows):
        state, _ = jax.lax.scan(lambda state, row: (replay.add(state, row), None), state, rows)
        return replay.sample(state, jax.random.key(0))

    assert steps > 0
    batch = jax.tree.map(np.asarray, run(state, rows))
    real = batch.probability > 0
    pick = (lambda x: np.swapaxes(x, 0, 1)[real]) if getattr(view, "time_major", False) else (lambda x: x[real])
    return jb.Batch(*jax.tree.map(pick, (batch.data, batch.index)), batch.probability[real], batch.valid)


def check(got: Any, want: list) -> None:
    np.testing.assert_array_equal(got, np.array(want))


# Transitions


def test_a_transition_pairs_a_row_with_the_reward_and_observation_that_follow_it():
    data = read_all(jb.Transitions(gamma=0.5), rows_of("F..L")).data
    check(data.obs, [10, 11, 12])
    check(data.action, [20, 21, 22])
    check(data.reward, [2, 4, 8])
    check(data.discount, [0.5, 0.5, 0.5])
    check(data.next_obs, [11, 12, 13])
    check(data.extras["note"], [30, 31, 32])


def test_truncation_keeps_its_bootstrap_and_termination_does_not():
    check(read_all(jb.Transitions(gamma=0.5), rows_of("F.LF.T")).data.discount, [0.5, 0.5, 0.5, 0])


def test_n_steps_are_folded_with_the_discount_of_the_last():
    data = read_all(jb.Transitions(3, gamma=0.5), rows_of("F...T")).data
    check(data.obs, [10, 11, 12, 13])
    check(data.reward, [2 + 4 / 2 + 8 / 4, 4 + 8 / 2 + 16 / 4, 8 + 16 / 2, 16])
    check(data.discount, [0.125, 0, 0, 0])
    check(data.next_obs, [13, 14, 14, 14])


def test_the_fold_stops_at_a_truncation_and_bootstraps_there():
    data = read_all(jb.Transitions(3, gamma=0.5), rows_of("F.LF..")).data
    check(data.obs, [10, 11, 13, 14])
    check(data.reward, [2 + 4 / 2, 4, 16 + 32 / 2, 32])
    check(data.discount, [0.25, 0.5, 0.25, 0.5])
    check(data.next_obs, [12, 12, 15, 15])


def test_the_fold_stops_at_the_newest_row_and_bootstraps_there():
    data = read_all(jb.Transitions(4, gamma=0.5), rows_of("F.."), length=5).data
    check(data.reward, [2 + 4 / 2, 4])
    check(data.discount, [0.25, 0.5])
    check(data.next_obs, [12, 12])


def test_the_fold_never_reads_past_the_newest_row_of_a_full_ring():
    # The slot after the newest row holds the oldest one, of the same endless episode.
    data = read_all(jb.Transitions(3, gamma=1.0), rows_of("F......"), length=4).data
    check(data.obs, [13, 14, 15])
    check(data.reward, [16 + 32 + 64, 32 + 64, 64])
    check(data.next_obs, [16, 16, 16])


def test_an_episode_abandoned_without_is_last_ends_at_the_next_is_first():
    data = read_all(jb.Transitions(3, gamma=0.5), rows_of("F.F.")).data
    check(data.obs, [10, 12])
    check(data.next_obs, [11, 13])
    check(data.reward, [2, 8])


def test_what_lies_beyond_the_fold_does_not_matter_even_if_it_is_nan_or_infinite():
    reward = [NAN, 1, 1, NAN, float("inf"), 1]  # of first rows and of the next episode
    data = read_all(jb.Transitions(3, gamma=0.5), rows_of("F.LF.L", reward)).data
    check(data.reward, [1.5, 1, float("inf"), 1])
    data = read_all(jb.Transitions(2, gamma=0.0), rows_of("F..", [NAN, 1, 2])).data
    check(data.reward, [1, 2])
    check(data.discount, [0, 0])
    # Compiled, a product with a mask becomes a selection by itself; operation by operation it does not.
    rows = rows_of("F.LF..", reward)
    replay = jb.Replay(8, None, 8, jb.Transitions(3), Every())
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
    assert not jnp.isnan(replay.sample(state, jax.random.key(0)).data.reward).any()


def test_gamma_one_and_zero_are_exact():
    check(read_all(jb.Transitions(3, gamma=1.0), rows_of("F...")).data.discount, [1, 1, 1])
    check(read_all(jb.Transitions(3, gamma=0.0), rows_of("F...")).data.discount, [0, 0, 0])
    check(read_all(jb.Transitions(3, gamma=0.0), rows_of("F...")).data.reward, [2, 4, 8])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_reward_and_discount_keep_the_dtype_of_the_reward(dtype):
    rows = rows_of("F...T")
    rows = rows.replace(reward=rows.reward.astype(dtype))
    data = read_all(jb.Transitions(2, gamma=0.5), rows).data
    assert data.reward.dtype == data.discount.dtype == dtype
    check(data.reward.astype(np.float32), [2 + 4 / 2, 4 + 8 / 2, 8 + 16 / 2, 16])


def test_long_folds_agree_with_a_reverse_sum_in_64_bits():
    rng = np.random.default_rng(0)
    rows = rows_of("F" + "." * 38 + "T", rng.normal(size=40))
    data = read_all(jb.Transitions(20, gamma=0.99), rows, length=40).data
    for start in range(39):
        steps = min(20, 39 - start)
        want = 0.0
        for i in reversed(range(steps)):
            want = float(rows.reward[start + 1 + i]) + 0.99 * want
        np.testing.assert_allclose(data.reward[start], want, rtol=1e-5, atol=1e-5)
        want = 0.0 if start + steps == 39 else 0.99**steps
        np.testing.assert_allclose(data.discount[start], want, rtol=1e-6)


def test_the_index_of_a_transition_is_that_of_its_first_row():
    batch = read_all(jb.Transitions(2), rows_of("F..LF."))
    check(batch.index.time, [0, 1, 2, 4])
    assert batch.mask.all()


# Sequences


def test_crossing_sequences_hold_the_rows_as_stored():
    rows = rows_of("F.LF.")
    data = read_all(jb.Sequences(3), rows).data
    for got, stored in zip(jax.tree.leaves(data), jax.tree.leaves(rows), strict=True):
        check(got, [stored[i : i + 3] for i in range(3)])


def test_padded_sequences_end_with_their_episode_or_with_the_newest_row():
    batch = read_all(jb.Sequences(3, "pad"), rows_of("F.LF"))
    check(batch.data.obs, [[10, 11, 12], [11, 12, 0], [12, 0, 0], [13, 0, 0]])
    check(batch.mask, [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]])
    check(batch.index.time, [[0, 1, 2], [1, 2, -1], [2, -1, -1], [3, -1, -1]])


def test_padding_is_zero_in_every_leaf():
    batch = read_all(jb.Sequences(3, "pad", burn_in=2, actions="previous"), rows_of("F.TBF.", [NAN] * 6))
    assert not batch.mask.all()
    for leaf in jax.tree.leaves(batch.data):
        assert not leaf[~batch.mask].any()


def test_burn_in_is_masked_where_it_is_of_another_episode():
    batch = read_all(jb.Sequences(2, "within", burn_in=2), rows_of("F.LF.."))
    check(batch.data.obs, [[0, 0, 10, 11], [0, 10, 11, 12], [0, 0, 13, 14], [0, 13, 14, 15]])
    check(batch.mask, [[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]])


def test_crossing_burn_in_is_masked_only_where_rows_are_missing():
    batch = read_all(jb.Sequences(2, burn_in=2), rows_of("F.LF"))
    check(batch.data.obs, [[0, 0, 10, 11], [0, 10, 11, 12], [10, 11, 12, 13]])


def test_burn_in_is_masked_where_it_is_overwritten():
    batch = read_all(jb.Sequences(2, "within", burn_in=1), rows_of("F....."), length=4)
    check(batch.data.obs, [[0, 12, 13], [12, 13, 14], [13, 14, 15]])
    check(batch.index.time, [[-1, 2, 3], [2, 3, 4], [3, 4, 5]])


def test_the_previous_action_is_zero_at_the_start_of_an_episode_and_never_of_another():
    data = read_all(jb.Sequences(4, actions="previous"), rows_of("F.LF.")).data
    check(data.action, [[0, 20, 21, 0], [20, 21, 0, 23]])
    check(data.obs, [[10, 11, 12, 13], [11, 12, 13, 14]])


def test_the_previous_action_is_zero_after_is_last_alone():
    check(read_all(jb.Sequences(3, actions="previous"), rows_of("F.L..")).data.action[1:], [[20, 21, 0], [21, 0, 23]])


def test_a_row_whose_previous_action_is_overwritten_is_masked():
    batch = read_all(jb.Sequences(2, "within", actions="previous"), rows_of("F...."), length=3)
    check(batch.mask, [[0, 1], [1, 1]])
    check(batch.data.action, [[0, 22], [22, 23]])
    check(batch.data.obs, [[0, 13], [13, 14]])


def test_the_oldest_row_of_a_ring_is_not_masked_if_it_opens_an_episode():
    batch = read_all(jb.Sequences(2, "within", actions="previous"), rows_of("F.F.."), length=3)
    check(batch.mask, [[1, 1], [1, 1]])
    check(batch.data.action, [[0, 22], [22, 23]])


def test_previous_actions_of_every_leaf_are_shifted_and_nothing_else_is():
    rows = rows_of("F..")
    rows = rows.replace(action={"move": np.array([[1, 2], [3, 4], [5, 6]], np.int8), "jump": np.array([1, 0, 1], bool)})
    batch = read_all(jb.Sequences(3, actions="previous"), rows)
    check(batch.data.action["move"], [[[0, 0], [1, 2], [3, 4]]])
    check(batch.data.action["jump"], [[False, True, False]])
    check(batch.data.reward, [[1, 2, 4]])
    check(batch.data.extras["note"], [[30, 31, 32]])


def test_time_major_only_swaps_the_axes():
    rows = rows_of("F.LF..")
    for episodes in ("cross", "within", "pad"):
        config = {"episodes": episodes, "burn_in": 1, "actions": "previous"}
        plain = jb.Replay(8, None, 8, jb.Sequences(2, **config), Every())
        major = jb.Replay(8, None, 8, jb.Sequences(2, **config, time_major=True), Every())
        state = quick_jit(plain.add)(plain.init(jax.tree.map(lambda x: x[0], rows)), rows)
        want, got = (quick_jit(replay.sample)(state, jax.random.key(0)) for replay in (plain, major))
        assert got.mask.shape == (3, 8)
        swapped = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (got.data, got.index))
        jax.tree.map(np.testing.assert_array_equal, swapped, (want.data, want.index))


# Containers, fields and dtypes


class Step(NamedTuple):
    obs: Any
    action: Any
    reward: Any
    is_first: Any
    is_terminal: Any


@pytest.mark.parametrize("view", [jb.Transitions(2, gamma=0.5), jb.Sequences(2, "within", actions="previous")], ids=str)
def test_any_container_with_the_named_fields_reads_alike(view):
    row = rows_of("F..F..")  # without is_last, which is optional
    names = Step._fields
    want = read_all(view, row).data
    for rows in ({name: getattr(row, name) for name in names}, Step(*(getattr(row, name) for name in names))):
        got = leaves_of(read_all(view, rows).data)
        assert got.keys() <= leaves_of(want).keys()
        for path, leaf in got.items():
            np.testing.assert_array_equal(leaf, leaves_of(want)[path], err_msg=path)


def test_items_need_no_names_at_all():
    check(read_all(jb.Items(), np.arange(5, dtype=np.float32), length=3).data, [2, 3, 4])


@pytest.mark.parametrize(
    "view, missing",
    [
        (jb.Transitions(), "obs"),
        (jb.Transitions(), "action"),
        (jb.Transitions(), "reward"),
        (jb.Transitions(), "is_first"),
        (jb.Transitions(), "is_terminal"),
        (jb.Sequences(2, "within"), "is_first"),
        (jb.Sequences(2, "pad"), "is_first"),
        (jb.Sequences(2, actions="previous"), "is_first"),
        (jb.Sequences(2, actions="previous"), "action"),
    ],
    ids=str,
)
def test_a_missing_field_is_named_at_init(view, missing):
    names = {"obs", "action", "reward", "is_first", "is_last", "is_terminal"} - {missing}
    row = {name: getattr(rows_of("F"), name)[0] for name in names}
    with pytest.raises(jb.MissingFieldError, match=repr(missing)):
        jb.Replay(8, None, 1, view).init(row)


FLAGGED = [jb.Transitions(), jb.Transitions(2), jb.Sequences(2, "within"), jb.Sequences(2, "pad")]


READS = [(view, flag) for view in FLAGGED for flag in ("is_first", "is_last")]
READS += [(view, "is_terminal") for view in FLAGGED[:2]]


@pytest.mark.parametrize("view, flag", READS, ids=str)
@pytest.mark.parametrize("value", [np.float32(0), np.int32(0), np.zeros(1, bool)], ids=["float32", "int32", "bool[1]"])
def test_a_flag_that_is_not_one_bool_is_refused_at_init_by_name(view, flag, value):
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(**{flag: value})
    with pytest.raises((jb.DtypeError, jb.ShapeError), match=flag):
        jb.Replay(8, None, 1, view).init(row)


@pytest.mark.parametrize("view", [jb.Transitions(), jb.Transitions(2)], ids=str)
@pytest.mark.parametrize("reward", [np.int32(0), np.bool_(0)], ids=["int32", "bool"])
def test_a_reward_that_is_no_float_is_refused_at_init_by_name(view, reward):
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(reward=reward)
    with pytest.raises(jb.DtypeError, match="reward"):
        jb.Replay(8, None, 1, view).init(row)


@pytest.mark.parametrize("view", [jb.Transitions(), jb.Transitions(2)], ids=str)
def test_a_reward_with_axes_of_its_own_is_refused_at_init_by_name(view):
    row = jax.tree.map(lambda x: x[0], rows_of("F")).replace(reward=np.zeros(2, np.float32))
    with pytest.raises(jb.ShapeError, match="reward"):
        jb.Replay(8, None, 1, view).init(row)


BAD = [
    lambda: jb.Transitions(0),
    lambda: jb.Transitions(True),
    lambda: jb.Transitions(1.0),
    lambda: jb.Transitions(gamma=1.5),
    lambda: jb.Transitions(gamma=-0.1),
    lambda: jb.Transitions(gamma=NAN),
    lambda: jb.Sequences(0),
    lambda: jb.Sequences(2, "inside"),
    lambda: jb.Sequences(2, burn_in=-1),
    lambda: jb.Sequences(2, period=0),
    lambda: jb.Sequences(2, actions="next"),
    lambda: jb.Sequences(2, time_major=1),
]


@pytest.mark.parametrize("make", BAD)
def test_impossible_configurations_are_refused(make):
    with pytest.raises(jb.ConfigurationError):
        make()


@pytest.mark.parametrize(
    "view, needs",
    [
        (jb.Items(), 1),
        (jb.Transitions(3), 4),
        (jb.Sequences(4), 4),
        (jb.Sequences(4, burn_in=2), 6),
        (jb.Sequences(4, "pad", burn_in=2, actions="previous"), 7),
    ],
    ids=str,
)
def test_a_ring_too_small_for_one_window_is_refused_with_the_size_needed(view, needs):
    jb.Replay(3 * needs, 3, 1, view)
    if needs > 1:
        with pytest.raises(jb.ConfigurationError, match=f"at least {3 * needs}"):
            jb.Replay(3 * (needs - 1), 3, 1, view)


VIEWS = [
    jb.Items(),
    jb.Transitions(3),
    jb.Sequences(3, burn_in=1),
    jb.Sequences(3, "within", actions="previous"),
    jb.Sequences(3, "pad", time_major=True),
]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_a_sample_without_legal_windows_is_zero_masked_and_not_valid(view):
    replay = jb.Replay(16, 2, 5, view)
    state = replay.init(jax.tree.map(lambda x: x[0], rows_of("F")))
    batch = quick_jit(replay.sample)(state, jax.random.key(0))
    assert not batch.valid
    assert not batch.mask.any()
    assert all(not leaf.any() for leaf in jax.tree.leaves(batch.data))
    np.testing.assert_array_equal(batch.index.time, np.full(batch.mask.shape, -1))


def test_the_oracle_reads_padding_masks_and_actions_as_the_examples_above():
    oracle = OracleReplay(8)
    rows = leaves_of(rows_of("F.LF"))
    for time in range(4):
        oracle.append(0, row_at(rows, time))
    view = jb.Sequences(3, "pad", burn_in=1, actions="previous")
    times, leaves = windows_to_arrays(oracle.windows(view), 4, {path: leaf[0] for path, leaf in rows.items()})
    check(times, [[-1, 0, 1, 2], [0, 1, 2, -1], [1, 2, -1, -1], [-1, 3, -1, -1]])
    check(leaves["action"], [[0, 0, 20, 21], [0, 20, 21, 0], [20, 21, 0, 0], [0, 0, 0, 0]])
    check(leaves["obs"], [[0, 10, 11, 12], [10, 11, 12, 0], [11, 12, 0, 0], [0, 13, 0, 0]])
