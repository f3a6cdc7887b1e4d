"""What transitions read, by hand-written examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, check, quick_jit, read_all, rows_of
from tier import long_but

import jaxbuffers as jb

NAN = float("nan")


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


@pytest.mark.long  # quick: tests/test_exhaustive.py
def test_the_fold_stops_at_the_newest_row_and_bootstraps_there():
    data = read_all(jb.Transitions(4, gamma=0.5), rows_of("F.."), length=5).data
    check(data.reward, [2 + 4 / 2, 4])
    check(data.discount, [0.25, 0.5])
    check(data.next_obs, [12, 12])


@pytest.mark.long  # quick: tests/test_exhaustive.py
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


@pytest.mark.parametrize("dtype", long_but([np.float32, np.float16, jnp.bfloat16], quick=[2]))
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
