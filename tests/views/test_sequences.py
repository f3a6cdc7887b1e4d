"""What sequences read, by hand-written examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, OracleReplay, check, leaves_of, quick_jit, read_all, row_at, rows_of, windows_to_arrays

import jaxbuffers as jb

NAN = float("nan")


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


@pytest.mark.long  # quick: tests/test_exhaustive.py
def test_the_oldest_row_of_a_full_ring_serves_for_its_action_only():
    batch = read_all(jb.Sequences(2, "within", actions="previous"), rows_of("F...."), length=4)
    check(batch.mask, [[1, 1], [1, 1]])
    check(batch.data.action, [[21, 22], [22, 23]])
    check(batch.data.obs, [[12, 13], [13, 14]])
    batch = read_all(jb.Sequences(2, actions="previous", burn_in=1), rows_of("F...."), length=4)
    check(batch.index.time, [[-1, 2, 3], [2, 3, 4]])
    check(batch.data.action, [[0, 21, 22], [21, 22, 23]])


@pytest.mark.long  # quick: tests/test_exhaustive.py
def test_a_window_that_would_show_no_row_is_not_legal():
    """Its only row is the oldest, the last of its episode, and the action that led to it is overwritten."""
    for length in (1, 4):
        batch = read_all(jb.Sequences(length, "pad", actions="previous"), rows_of("F..LF...."), length=6)
        check(batch.index.time[:, 0], [4, 5, 6, 7, 8])
        check(batch.data.action[:, 0], [0, 24, 25, 26, 27])


def test_the_first_row_of_a_stream_opens_an_episode_with_or_without_is_first():
    for pattern in ("F...", "....", "L..."):
        for episodes in ("cross", "within", "pad"):
            batch = read_all(jb.Sequences(1, episodes, actions="previous"), rows_of(pattern), length=8)
            check(batch.mask, [[1], [1], [1], [1]])
            check(batch.data.action, [[0], [0 if pattern[0] == "L" else 20], [21], [22]])
    batch = read_all(jb.Sequences(2, actions="previous", burn_in=1), rows_of("..."))
    check(batch.mask, [[0, 1, 1], [1, 1, 1]])
    check(batch.data.action, [[0, 0, 20], [0, 20, 21]])


def test_previous_actions_of_every_leaf_are_shifted_and_nothing_else_is():
    rows = rows_of("F..")
    rows = rows.replace(action={"move": np.array([[1, 2], [3, 4], [5, 6]], np.int8), "jump": np.array([1, 0, 1], bool)})
    batch = read_all(jb.Sequences(3, actions="previous"), rows)
    check(batch.data.action["move"], [[[0, 0], [1, 2], [3, 4]]])
    check(batch.data.action["jump"], [[False, True, False]])
    check(batch.data.reward, [[1, 2, 4]])
    check(batch.data.extras["note"], [[30, 31, 32]])


@pytest.mark.long  # quick: tests/test_exhaustive.py
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
