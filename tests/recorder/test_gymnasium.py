"""Gymnasium vector environments, in each of their three auto-reset modes."""

from functools import cache

import numpy as np
import pytest

import jaxbuffers as jb

from .collect import collect, fill, vector
from .environments import SCRIPTS, Scripted, cart_pole, policy
from .reference import GAMMA, assert_same, endings, known, read_all, rollout, rows, transitions

MODES = ("next_step", "same_step", "disabled")
ACT = policy(8, lowest=1)  # never 0, so that a zeroed action shows
STEPS = 33


def scripted(as_dict=False):
    return [lambda number=number: Scripted(number, as_dict) for number in range(len(SCRIPTS))]


@cache
def recording(mode, read_as=None, final=True):
    """Record the scripted environments; tests only read what is returned."""
    return collect(vector(scripted(), mode), mode, ACT, STEPS, read_as=read_as, final=final)


def reference(makers, mode, act=ACT, steps=STEPS, seed=0):
    return [rollout(make(), seed + e, act, steps, mode == "next_step") for e, make in enumerate(makers)]


def stored(recorded, view=None, capacity=512):
    """Put a recording into a replay and read back all that can be sampled, stream by stream."""
    num_envs = recorded[1].shape[-1]
    replay = jb.Replay(capacity // num_envs * num_envs, num_envs, view=view or jb.Transitions(gamma=GAMMA))
    return read_all(replay, fill(replay, *recorded))


@pytest.mark.parametrize("mode", MODES)
def test_cart_pole_transitions_are_those_of_single_environments_each_once(mode):
    makers, act = [cart_pole] * 3, policy(2)
    alone = reference(makers, mode, act, steps=60, seed=5)
    assert min(endings(alone)) >= 2  # both kinds of end are there
    recorded = collect(vector(makers, mode), mode, act, 60, seed=5)
    for got, expected in zip(stored(recorded), alone, strict=True):
        assert_same(got, transitions(known(expected)))


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_scripted_transitions_fold_up_to_n_steps_and_never_past_an_auto_reset(mode, n_step):
    view = jb.Transitions(n_step=n_step, gamma=GAMMA)
    for got, expected in zip(stored(recording(mode), view), reference(scripted(), mode), strict=True):
        assert_same(got, transitions(known(expected), n_step))


@pytest.mark.parametrize("mode", MODES)
def test_truncation_bootstraps_from_the_true_final_observation_and_termination_not_at_all(mode):
    """A direct check on observations that name their episode and step, without a reference rollout."""
    ends = {"terminated": 0, "truncated": 0, "both": 0}
    for number, stream in enumerate(stored(recording(mode))):
        for item in stream:
            env, episode, time = item.obs.astype(int)
            np.testing.assert_array_equal(item.next_obs, [number, episode, time + 1])
            assert env == number
            steps, ending = SCRIPTS[number][episode % len(SCRIPTS[number])]
            over = time + 1 == steps
            assert item.discount == (0 if over and ending != "truncated" else GAMMA)
            assert item.reward == 100 * number + 10 * episode + time + 1 + item.action / 16
            ends[ending] += over
    assert min(ends.values()) >= 3


@pytest.mark.parametrize("mode", MODES)
def test_the_rows_are_the_t_plus_1_rows_of_each_episode(mode):
    for got, expected in zip(stored(recording(mode), jb.Items()), reference(scripted(), mode), strict=True):
        if mode == "next_step":  # extras passed with the step that only resets are kept, in the last row
            got = [row.replace(extras=row.extras * ~row.is_last) for row in got]
        assert_same(got, rows(expected))


@pytest.mark.parametrize("mode", MODES)
def test_dictionary_observations_are_recorded_leaf_by_leaf(mode):
    recorded = collect(vector(scripted(as_dict=True), mode), mode, ACT, STEPS)
    for got, expected in zip(stored(recorded), reference(scripted(as_dict=True), mode), strict=True):
        assert_same(got, transitions(known(expected)))
        assert got[0].obs["pixels"].dtype == np.uint8


@pytest.mark.parametrize("mode", MODES)
def test_a_ring_that_went_round_holds_the_newest_transitions_of_each_stream(mode):
    length = 11
    for got, expected in zip(stored(recording(mode), capacity=3 * length), reference(scripted(), mode), strict=True):
        starts = sum(not row.is_last for row in rows(expected)[-length:-1])
        assert_same(got, transitions(known(expected))[-starts:])


@pytest.mark.parametrize("mode", MODES)
def test_environments_that_reuse_their_observation_array_are_recorded_right(mode):
    recorded = collect(vector(scripted(), mode, copy=False), mode, ACT, STEPS)
    for got, expected in zip(stored(recorded), reference(scripted(), mode), strict=True):
        assert_same(got, transitions(known(expected)))


def test_same_step_without_the_final_observation_loses_only_what_cannot_be_known():
    """The discount-0 transition into a terminal observation stays, with a placeholder; a truncated one goes."""
    for got, run in zip(stored(recording("same_step", final=False)), reference(scripted(), "same_step"), strict=True):
        steps = [step for episode in known(run) for step in episode]
        expected = [
            item.replace(next_obs=item.obs) if step.terminated else item
            for item, step in zip(transitions(known(run)), steps, strict=True)
            if step.terminated or not step.truncated
        ]
        assert_same(got, expected)


@pytest.mark.parametrize(
    ("mode", "read_as"),
    [("next_step", "same_step"), ("next_step", "disabled"), ("same_step", "next_step"), ("same_step", "disabled")],
)
def test_the_wrong_mode_pairs_observations_of_different_episodes(mode, read_as):
    """Why the mode is an explicit argument: no shape and no dtype tells, and the data is wrong."""
    items = [item for stream in stored(recording(mode, read_as)) for item in stream]
    assert sum(item.obs[1] != item.next_obs[1] for item in items) >= 5


@pytest.mark.parametrize(
    ("mode", "starts"),
    [
        ("next_step", [(0, 0), (0, 1), (1, 0), (2, 0), (4, 0)]),
        ("same_step", [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]),
        ("disabled", [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]),
    ],
)
def test_resetting_all_environments_by_hand_abandons_the_waiting_observation_and_crosses_nothing(mode, starts):
    """Episodes of 4, 1, 1, 4, 1, 1 steps, of which the first and the fourth are abandoned."""
    recorded = collect(vector([lambda: Scripted(1)] * 2, mode), mode, ACT, 9, restart=(3, 7))
    for stream in stored(recorded):
        got = [(*item.obs[1:], *item.next_obs[1:]) for item in stream]
        assert got == [(episode, time, episode, time + 1) for episode, time in starts]
