"""Trajectories that are used once: which are next, and who has had them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbuffers.checks import one_of, positive
from jaxbuffers.episodes import EpisodeStore
from jaxbuffers.errors import EmptyReplayError, StoreError
from jaxbuffers.trajectories.advantages import group_advantages
from jaxbuffers.trajectories.components import PENDING
from jaxbuffers.trajectories.filters import Filter
from jaxbuffers.trajectories.steps import Steps


@dataclass(frozen=True)
class Taken:
    """Trajectories that were taken for one step of a learner.

    Attributes:
      step: the step.
      ids: int64 ``[n]``, the trajectories; members of a group stand together.
      reward: float64 ``[n]``.
      group: ``[n]``, ints or texts; None for those without a group.
      again: whether they had been taken for this step before, as by a run that was cut off.
    """

    step: int
    ids: np.ndarray
    reward: np.ndarray
    group: np.ndarray
    again: bool

    def __len__(self) -> int:
        """How many trajectories there are."""
        return len(self.ids)

    def advantages(self, normalize: bool = True, epsilon: float = 1e-6) -> np.ndarray:
        """Return how much better each went than the others of its group; see `group_advantages`."""
        return group_advantages(self.reward, self.group, normalize=normalize, epsilon=epsilon)


def take(
    store: EpisodeStore,
    steps: Steps,
    count: int,
    step: int,
    order: str,
    group_size: int | None,
    filter: Filter | None,
) -> Taken:
    """Take trajectories for a step, as `TrajectoryPool.take` says."""
    count, step = positive("count", count, 0), positive("step", step, 0)
    one_of("order", order, ("fifo", "freshest"))
    size = None if group_size is None else positive("group_size", group_size)
    before = taken_before(steps, step)
    at = _next(steps, count, order, size, filter) if before is None else before
    names = steps.columns.get("group_id", np.full(len(steps.ids), None, np.object_))
    if size is not None:  # members of a group together, always in one order
        first = {name: i for i, name in reversed(list(enumerate(names[at].tolist())))}
        at = at[np.argsort([first[name] for name in names[at].tolist()], kind="stable")]
    if before is None and len(at):
        store.set(steps.ids[at], used_at=step, used_with=len(at))
    return Taken(step, steps.ids[at], steps.columns["reward"][at], names[at], before is not None)


def _next(steps: Steps, count: int, order: str, size: int | None, filter: Filter | None) -> np.ndarray:
    eligible = np.ma.getmaskarray(steps.column("used_at")) & (steps.columns["reward"] != PENDING)
    if filter is not None:
        eligible &= np.bincount(steps.trajectory, filter.mask(steps), len(eligible)) > 0
    if size is not None and "group_id" not in steps.columns:
        eligible[:] = False
    line = in_line(steps, eligible, order, size) if eligible.any() else []
    if len(line) < count:
        what = "trajectories" if size is None else f"groups of {size}"
        raise EmptyReplayError(f"{count} {what} were asked for, and {len(line)} can be taken: nothing was taken.")
    return np.sort(np.concatenate([np.zeros(0, np.int64), *line[:count]]).astype(np.int64))


def taken_before(steps: Steps, step: int) -> np.ndarray | None:
    """Return where the trajectories are that were taken for a step; None if none were.

    Raises:
      StoreError: some of them are not there any more, or later ones were taken.
    """
    used = steps.column("used_at")
    at = np.flatnonzero(used.filled(-1) == step)
    if not len(at):
        if used.count() and used.max() > step:
            raise StoreError(
                f"trajectories were taken for step {used.max()}, and none for step {step}: they have left the pool, or "
                f"the steps went back. Go on with step {used.max() + 1}."
            )
        return None
    count = int(steps.column("used_with")[at].max())
    if len(at) < count:
        raise StoreError(f"{count} trajectories were taken for step {step}, and {count - len(at)} have left the pool.")
    return at


def in_line(steps: Steps, eligible: np.ndarray, order: str, group_size: int | None) -> list[np.ndarray]:
    """Return where those that may be taken are, the next first: alone, or group by group.

    Args:
      steps: of the pool.
      eligible: bool ``[n]``, which trajectories may be taken.
      order: "fifo" or "freshest".
      group_size: how many a group must have to be taken; None for trajectories alone.
    """
    at = np.flatnonzero(eligible)
    newest = -steps.column("policy_version").filled(-(2**62))[at]
    line = at[np.lexsort((steps.ids[at],) if order == "fifo" else (-steps.ids[at], newest))]
    if group_size is None:
        return [np.array([i]) for i in line.tolist()]
    groups: dict[Any, list[int]] = {}
    names = steps.column("group_id")
    for i in line.tolist():
        if not np.ma.getmaskarray(names)[i]:
            groups.setdefault(names.data[i], []).append(i)
    return [np.sort(np.array(some)) for some in groups.values() if len(some) >= group_size]
