"""Are two sets of learning curves the same? A permutation test of the return over the whole of training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.case import Difference
from benchmarks.same import require

BINS, PERMUTATIONS, REFUSED = 20, 9_999, 0.001


def binned(score: jax.Array, done: jax.Array) -> jax.Array:
    """Return the mean score of the episodes that ended in each twentieth of a run, ``[BINS]``; NaN where none did.

    Args:
      score: of the episodes so far, ``[T, E]``.
      done: whether they ended there.
    """
    parts = len(score) // BINS * BINS
    score, done = (x[:parts].reshape(BINS, -1) for x in (score, done))
    return jnp.sum(jnp.where(done, score, 0), 1) / jnp.sum(done, 1)


def alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raise unless two curves ``[..., BINS]`` of equal keys begin alike: nothing is learned in the first tenth."""
    begin = slice(0, BINS // 10)
    require(
        np.isclose(ours[..., begin], theirs[..., begin], equal_nan=True), "the peer", "returns differ from the start"
    )


class Curves:
    """Collects the curves of one side: one a seed."""

    def __init__(self) -> None:
        self.found: list[np.ndarray] = []

    def add(self, curves: Any) -> None:
        """Take curves ``[..., BINS]``."""
        self.found.extend(np.asarray(curves, np.float64).reshape(-1, BINS))

    def returns(self) -> np.ndarray:
        """Return each seed's mean return over all of training, [S]."""
        return np.nanmean(self.found, axis=1)


def p_value(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return how often shuffled seeds differ at least as much in their means: two-sided, with 9,999 permutations."""
    together, random = np.concatenate([ours, theirs]), np.random.default_rng(0)
    orders = random.permuted(np.tile(together, (PERMUTATIONS, 1)), axis=1)
    differences = np.abs(orders[:, : len(ours)].mean(1) - orders[:, len(ours) :].mean(1))
    return float((1 + np.sum(differences >= abs(ours.mean() - theirs.mean()) - 1e-9)) / (1 + PERMUTATIONS))


def compare(curves: dict[str, Curves]) -> dict[str, Any]:
    """Say how the returns of two sides compare, and return their curves.

    Raises:
      Difference: they differ more than seeds do, at a level of one in a thousand; with both means.
    """
    mine, other = (each.returns() for each in curves.values())
    p = p_value(mine, other)
    said = f"mean return over all of training {mine.mean():.1f} and {other.mean():.1f}, {len(mine)} seeds each, "
    said += f"standard deviations {mine.std(ddof=1):.1f} and {other.std(ddof=1):.1f}, permutation test p = {p:.2g}"
    if p < REFUSED:
        raise Difference(f"the curves differ: {said}")
    return {"note": said, "curves": {name: np.where(np.isnan(each.found), None, each.found).tolist()
                                     for name, each in curves.items()}}  # fmt: skip


def running(run: Callable[[jax.Array], Any], curves: Curves, seeds: int) -> Callable[[], None]:
    """Return what trains once more, with new seeds each time, and keeps the curves: ``run`` takes keys ``[S]``."""
    numbers = iter(range(10**9))

    def once() -> None:
        keys = jax.random.split(jax.random.key(next(numbers)), seeds)
        curves.add(jax.block_until_ready(run(keys)))

    return once
