"""Equality of meaning: what both sides show is held against what was inserted, known from arithmetic alone.

Rows say which they are: the first number of an observation is the step that it was added at, the second one the
environment. So it can be told whether a sampled row was inserted and is still there, whether two rows follow each
other, and which window a probability belongs to.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chisquare

from benchmarks.case import Difference

STEP, ENV = 2.0**-20, 2.0**-12  # one step and one environment; powers of two, so that float32 holds them exactly
GAMMA, EPISODE = 0.99, 100  # rows of an episode; every second one terminates, the others are cut


class Pair(NamedTuple):
    """What a learner reads of a pair of rows: each leaf ``[B, ...]``."""

    obs: Any
    action: Any
    reward: Any
    discount: Any
    next_obs: Any


def require(truth: Any, side: str, what: str) -> None:
    """Raise unless all of ``truth`` is True, and there is some of it: where nothing is compared, nothing is equal."""
    if not np.size(truth):
        raise Difference(f"{side}: nothing was shown of which to ask: {what}?")
    if not np.all(truth):
        raise Difference(f"{side}: {what}, in {np.sum(~np.asarray(truth))} of {np.size(truth)} places")


def step_of(x: Any) -> np.ndarray:
    """Return the steps that numbers stand for."""
    return np.rint(np.asarray(x, np.float64) / STEP).astype(np.int64)


def env_of(x: Any) -> np.ndarray:
    """Return the environments that numbers stand for."""
    return np.rint(np.asarray(x, np.float64) / ENV).astype(np.int64)


def windows_of(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Return the environment and the step of the first row of each pair."""
    return env_of(pair.obs[..., 1]), step_of(pair.obs[..., 0])


def pairs(side: str, pair: Pair, envs: int, first: int, last: int, episodes: bool) -> None:
    """Raise unless each pair is two consecutive rows that are in the ring, read as a transition.

    Args:
      side: whose they are.
      pair: leaves ``[..., B, ...]`` of NumPy arrays.
      envs: environments.
      first: the oldest step that is still there.
      last: the newest.
      episodes: whether the side promises that no pair crosses the end of an episode.
    """
    env, step = windows_of(pair)
    require((env >= 0) & (env < envs), side, "rows of no environment")
    require((step >= first) & (step < last), side, "rows that are not in the ring")
    require(env_of(pair.next_obs[..., 1]) == env, side, "pairs of two environments")
    require(step_of(pair.next_obs[..., 0]) == step + 1, side, "rows that do not follow each other")
    require(step_of(pair.action[..., 0]) == step, side, "actions of other rows")
    value = pair.obs[..., 2:3]  # which all other numbers of a row are
    for name, rest in (("obs", pair.obs[..., 2:]), ("action", pair.action[..., 1:])):
        if rest.shape[-1]:
            require(rest == value, side, f"numbers of other rows in {name}")
    if value.size:
        require(pair.next_obs[..., 2:] == pair.next_obs[..., 2:3], side, "numbers of other rows in next_obs")
        require(pair.next_obs[..., 2:3] != value, side, "numbers of the same row in next_obs")
    require(step_of(pair.reward) == step + 1, side, "rewards of other rows")
    if episodes:
        require((step + 1) % EPISODE != 0, side, "pairs across the end of an episode")
    terminal = (step + 1) % (2 * EPISODE) == EPISODE - 1
    require(np.isclose(pair.discount, np.where(terminal, 0, GAMMA)), side, "discounts that belong to other rows")


def uniform(side: str, pair: Pair, envs: int, first: int, last: int, episodes: bool) -> None:
    """Raise unless steps and environments are drawn alike, in 16 bins of each."""
    edges, steps = np.linspace(first, last, 17), np.arange(first, last)
    env, step = windows_of(pair)
    legal = np.histogram(steps[(steps + 1) % EPISODE != 0] if episodes else steps, edges)[0]
    alike(side, np.histogram(step, edges)[0], legal, "the ages of the rows")
    if envs > 1:
        bins = min(envs, 16)
        sizes = np.bincount(np.arange(envs) * bins // envs)
        alike(side, np.bincount((env * bins // envs).ravel(), minlength=bins), sizes, "the environments")


def alike(side: str, counts: np.ndarray, share: np.ndarray, over: str) -> None:
    """Raise unless draws fall into bins in proportion to these shares: chi-square, wrong once in a million times."""
    require(counts.sum() > 0, side, "no draws")
    if not chisquare(counts, share / share.sum() * counts.sum()).pvalue >= 1e-6:
        raise Difference(f"{side}: not uniform over {over}, {counts.tolist()}")


class Drawn(NamedTuple):
    """Windows that were drawn, and what was said of them.

    Attributes:
      pair: the rows, leaves ``[K, B, ...]``.
      probability: ``[K, B]``.
      updated: the rows of the batches that were drawn before, each of which got the priority `priority_of`.
    """

    pair: Pair
    probability: np.ndarray
    updated: Pair


def priority_of(obs: Any) -> Any:
    """Return the priority that a window is given: a known function of its first row, between 0.5 and 2.25."""
    number = obs[..., 0] / STEP + 7 * (obs[..., 1] / ENV)
    return 0.5 + 0.25 * (number % 8)


def probabilities(side: str, drawn: Drawn, count: int, alpha: float, relative: bool = False) -> None:
    """Raise unless each probability is its window's priority to the power of alpha by the total of all windows.

    Windows that got no priority have that of new ones, 1. With ``relative``, for peers that give weights only, what is
    given need only be proportional to it.
    """
    env, step = (x.ravel() for x in windows_of(drawn.updated))
    given = {(e, s): p for e, s, p in zip(env, step, priority_of(np.float64(drawn.updated.obs)).ravel(), strict=True)}
    total = count - len(given) + sum(priority**alpha for priority in given.values())
    env, step = (x.ravel() for x in windows_of(drawn.pair))
    expected = [given.get(window, 1.0) ** alpha / total for window in zip(env, step, strict=True)]
    found = np.asarray(drawn.probability, np.float64).ravel()
    if relative:
        found = found * (expected[0] / found[0])
    off = np.max(np.abs(found / np.asarray(expected) - 1))
    if not off < 1e-3:
        raise Difference(f"{side}: probabilities are off by {off:.2g} of priority / total")
