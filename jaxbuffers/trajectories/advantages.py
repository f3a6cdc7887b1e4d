"""Advantages relative to a group, as in GRPO: how much better an attempt went than the others at the same task."""

from typing import Any

import numpy as np

from jaxbuffers.checks import flag, number
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError
from jaxbuffers.row import refuse_masked
from jaxbuffers.trajectories.kinds import shown


def group_advantages(reward: Any, group: Any, *, normalize: bool = True, epsilon: float = 1e-6) -> np.ndarray:
    """Return ``(reward - mean) / (deviation + epsilon)`` within each group (Shao et al. 2024, GRPO).

    Args:
      reward: float ``[n]``.
      group: ``[n]``, ints or texts; equal ones are one group.
      normalize: whether to divide by the standard deviation, that of the sample as a whole (``ddof=0``); without it,
        only the mean is taken away (Liu et al. 2025, Dr. GRPO).
      epsilon: keeps groups in which all went the same at 0.

    Returns:
      float64 ``[n]``.

    Raises:
      ShapeError, DtypeError, ConfigurationError: naming the argument.

    >>> from jaxbuffers.trajectories import group_advantages
    >>> group_advantages([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"], epsilon=0.0)
    array([ 1., -1.,  0.,  0.])
    """
    refuse_masked("reward", reward)
    refuse_masked("group", group)
    rewards, groups = np.asarray(reward), np.asarray(group)
    flag("normalize", normalize)
    epsilon = number("epsilon", epsilon, 0)
    if rewards.dtype.kind not in "fiu":
        raise DtypeError(f"reward must be numbers, got {rewards.dtype}.")
    if (
        groups.size
        and groups.dtype.kind not in "iuU"
        and not all(isinstance(name, int | np.integer | str) for name in groups.flat)
    ):
        raise DtypeError(f"group must be ints or texts, got {shown(groups.ravel().tolist())}.")
    if rewards.ndim != 1 or rewards.shape != groups.shape:
        raise ShapeError(f"reward {rewards.shape} and group {groups.shape} must have one shape, [n].")
    if not np.isfinite(rewards).all():
        raise ConfigurationError("reward must be finite.")
    rewards = rewards.astype(np.float64)
    if not len(rewards):
        return rewards
    names, place = np.unique(groups, return_inverse=True)
    place = place.reshape(-1)
    count = np.bincount(place, minlength=len(names))
    apart = rewards - (np.bincount(place, rewards, len(names)) / count)[place]
    least, most = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    np.minimum.at(least, place, rewards)
    np.maximum.at(most, place, rewards)
    apart[(least == most)[place]] = 0  # exactly, whatever the mean was rounded to
    if not normalize:
        return apart
    deviation = np.sqrt(np.bincount(place, apart**2, len(names)) / count)[place]
    return np.divide(apart, deviation + epsilon, out=np.zeros_like(apart), where=apart != 0)
