"""The benchmarks' comparison of meaning passes what is right and finds each planted difference."""

import numpy as np
import pytest

from benchmarks import same
from benchmarks.case import Difference
from benchmarks.same import ENV, EPISODE, GAMMA, STEP, Drawn, Pair

ENVS, FIRST, LAST = 4, 7, 1_006


def pairs(env, step):
    """What a right replay returns for windows that begin at these places."""
    obs, following = np.zeros((2, *step.shape, 5))
    action = np.broadcast_to((step * 0.618034 % 1)[..., None], (*step.shape, 2)).copy()
    action[..., 0] = step * STEP
    obs[..., 0], following[..., 0] = step * STEP, (step + 1) * STEP
    obs[..., 1] = following[..., 1] = env * ENV
    obs[..., 2:], following[..., 2:] = (number[..., None] * 0.618034 % 1 for number in (step, step + 1))
    terminal = (step + 1) % (2 * EPISODE) == EPISODE - 1
    return Pair(obs, action, following[..., 0], np.where(terminal, 0, GAMMA), following)


def drawn(seed=0, count=4_000):
    random = np.random.default_rng(seed)
    legal = np.array([step for step in range(FIRST, LAST) if (step + 1) % EPISODE])
    return pairs(random.integers(0, ENVS, count), random.choice(legal, count))


def check(pair, episodes=True):
    same.pairs("a side", pair, ENVS, FIRST, LAST, episodes)


def test_right_pairs_pass():
    check(drawn())
    same.uniform("a side", drawn(), ENVS, FIRST, LAST, episodes=True)


def at(x, value):
    x = np.array(x)
    x[5] = value
    return x


def planted(field, value):
    pair = drawn()
    return pair._replace(**{field: at(getattr(pair, field), value)})


def other(field, column):
    """Plant a number of another row in the middle of a row."""
    x = np.array(getattr(pair := drawn(), field))
    x[5, column] += 0.25
    return pair._replace(**{field: x})


def repeated():
    """Plant the numbers of the first row in the second."""
    pair = drawn()
    following = np.array(pair.next_obs)
    following[5, 2:] = pair.obs[5, 2:]
    return pair._replace(next_obs=following)


@pytest.mark.parametrize(
    "pair, what",
    [
        (planted("next_obs", 0), "pairs of two environments|do not follow"),
        (planted("obs", [20 * STEP, 9 * ENV, 0, 0, 0]), "rows of no environment"),
        (planted("obs", [3 * STEP, ENV, 0, 0, 0]), "rows that are not in the ring"),
        (planted("obs", [(LAST + 4) * STEP, ENV, 0, 0, 0]), "rows that are not in the ring"),
        (planted("action", 2 * STEP), "actions of other rows"),
        (planted("reward", 0), "rewards of other rows"),
        (planted("discount", 0.5), "discounts that belong to other rows"),
        (other("obs", 3), "numbers of other rows in obs"),
        (other("action", 1), "numbers of other rows in action"),
        (other("next_obs", 4), "numbers of other rows in next_obs"),
        (repeated(), "numbers of the same row"),
        (pairs(np.array([1]), np.array([EPISODE - 1])), "across the end of an episode"),
    ],
    ids=[
        "successor",
        "environment",
        "overwritten",
        "not yet",
        "action",
        "reward",
        "discount",
        "numbers of obs",
        "numbers of action",
        "numbers of next_obs",
        "same numbers",
        "episode",
    ],
)
def test_each_planted_difference_of_a_pair_is_found(pair, what):
    with pytest.raises(Difference, match=rf"a side: .*({what}).* in \d+ of \d+ places"):
        check(pair)


def test_pairs_may_cross_episodes_where_nobody_promised_that_they_do_not():
    check(pairs(np.array([1]), np.array([EPISODE - 1])), episodes=False)


def test_draws_that_favor_new_rows_are_found():
    random = np.random.default_rng(0)
    steps = np.maximum(random.integers(FIRST, LAST, 4_000), random.integers(FIRST, FIRST + 300, 4_000))
    with pytest.raises(Difference, match="not uniform"):
        same.uniform("a side", pairs(np.zeros(4_000, int), steps), 1, FIRST, LAST, episodes=False)


def test_draws_that_favor_an_environment_are_found():
    pair = drawn()
    env, step = same.windows_of(pair)
    with pytest.raises(Difference, match="not uniform over the environments"):
        same.uniform("a side", pairs(np.minimum(env, 2), step), ENVS, FIRST, LAST, episodes=True)


def test_nothing_is_not_equal_to_nothing():
    nothing = np.zeros(0, int)
    with pytest.raises(Difference, match="nothing was shown"):
        check(pairs(nothing, nothing))
    with pytest.raises(Difference, match="nothing was shown"):
        same.require([], "a side", "no rows")
    with pytest.raises(Difference, match="no draws"):
        same.uniform("a side", pairs(nothing, nothing), ENVS, FIRST, LAST, episodes=True)


def prioritized(alpha=0.6, count=3_960):
    """Right probabilities of windows of which some got priorities."""
    updated, pair = drawn(1, 64), drawn(2, 512)
    given = {window: same.priority_of(obs) for window, obs in zip(windows(updated), updated.obs, strict=True)}
    total = count - len(given) + sum(priority**alpha for priority in given.values())
    return Drawn(pair, np.array([given.get(window, 1.0) ** alpha / total for window in windows(pair)]), updated)


def windows(pair):
    return list(zip(*(x.tolist() for x in same.windows_of(pair)), strict=True))


def test_probabilities_are_priority_by_total():
    right = prioritized()
    same.probabilities("a side", right, 3_960, 0.6)
    for wrong in (
        right._replace(probability=right.probability * 1.01),  # another total
        right._replace(probability=at(right.probability, 2e-4)),  # one window's
        right._replace(updated=drawn(3, 64)),  # priorities that went to other windows
    ):
        with pytest.raises(Difference, match="off by"):
            same.probabilities("a side", wrong, 3_960, 0.6)


def test_weights_of_a_peer_without_probabilities_need_only_be_proportional():
    right = prioritized()
    same.probabilities("a side", right._replace(probability=7 * right.probability), 3_960, 0.6, relative=True)
    wrong = right._replace(probability=right.probability**1.1)
    with pytest.raises(Difference, match="off by"):
        same.probabilities("a side", wrong, 3_960, 0.6, relative=True)
