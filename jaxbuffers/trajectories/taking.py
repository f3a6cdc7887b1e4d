"""Trajectories that are used once: which are next, and who has had them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbuffers.checks import one_of, positive
from jaxbuffers.episodes import EpisodeStore
from jaxbuffers.episodes.table import Table
from jaxbuffers.errors import ConfigurationError, EmptyReplayError, StoreError
from jaxbuffers.trajectories.advantages import group_advantages
from jaxbuffers.trajectories.components import PENDING
from jaxbuffers.trajectories.filters import Filter
from jaxbuffers.trajectories.steps import Steps


@dataclass(frozen=True)
class Taken:
    """Trajectories that were taken for one step of a learner.

    Attributes:
      step: the step.
      ids: int64 ``[n]``, the trajectories; members of a group stand together. `TrajectoryPool.trajectory` reads one.
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
        """Return how much better each went than the others of its group; see `group_advantages`.

        Raises:
          ConfigurationError: one has no group.
        """
        if (alone := np.array([name is None for name in self.group.tolist()], np.bool_)).any():
            i = int(self.ids[np.argmax(alone)])
            raise ConfigurationError(f"trajectory {i} has no group_id to compare it by: take with group_size=.")
        return group_advantages(self.reward, self.group, normalize=normalize, epsilon=epsilon)


def take(
    store: EpisodeStore,
    steps: Steps,
    used_until: int | None,
    count: int,
    step: int,
    order: str,
    group_size: int | None,
    filter: Filter | None,
) -> Taken:
    """Take trajectories for a step, as `TrajectoryPool.take` says; ``used_until`` is the last for which some were."""
    count, step = positive("count", count, 0), positive("step", step, 0)
    one_of("order", order, ("fifo", "freshest"))
    size = None if group_size is None else positive("group_size", group_size)
    before = taken_before(steps, step, used_until)
    at = _next(steps, count, order, size, filter) if before is None else before
    names = _groups(steps)
    if size is not None:  # members of a group together, always in one order
        first = {name: i for i, name in reversed(list(enumerate(names[at].tolist())))}
        at = at[np.argsort([first[name] for name in names[at].tolist()], kind="stable")]
    if before is None and len(at):
        store.set(steps.ids[at], used_at=step, used_with=len(at))
    return Taken(step, steps.ids[at], steps.reward[at], names[at], before is not None)


def _next(steps: Steps, count: int, order: str, size: int | None, filter: Filter | None) -> np.ndarray:
    unused = np.ma.getmaskarray(steps.column("used_at")).copy()
    if filter is not None:
        unused &= np.bincount(steps.trajectory, filter.mask(steps), len(unused)) > 0
    judged = steps.reward != PENDING
    eligible = unused & judged
    if size is not None:
        names = _groups(steps)
        waiting = {None, *names[unused & ~eligible].tolist()}
        eligible &= np.array([name not in waiting for name in names.tolist()], np.bool_)
    line = in_line(steps, eligible, order, size) if eligible.any() else []
    if len(line) < count:
        one, many = (
            ("trajectory was", "trajectories were")
            if size is None
            else (f"group of {size} was", f"groups of {size} were")
        )
        kept = "" if filter is None else " that the filter keeps"
        raise EmptyReplayError(
            f"{count} {one if count == 1 else many} asked for, and {len(line)} can be taken: nothing was taken. "
            f"Pending: {int((unused & ~judged).sum())} of the {int(unused.sum())} unused trajectories{kept}."
        )
    return np.sort(np.concatenate([np.zeros(0, np.int64), *line[:count]]).astype(np.int64))


def _groups(steps: Steps) -> np.ndarray:
    names = steps.column("group_id")
    if not names.mask.any():
        return names.data
    found = names.data.astype(np.object_)
    found[names.mask] = None
    return found


def last_step(table: Table) -> int | None:
    """Return the last step for which trajectories were taken, also of those that have left; None if none were."""
    columns = [table[name] for name in ("used_at", "used_until") if name in table.types]
    return max((int(column.max()) for column in columns if np.ma.count(column)), default=None)


def taken_before(steps: Steps, step: int, used_until: int | None) -> np.ndarray | None:
    """Return where the trajectories are that were taken for a step; None if none were.

    Raises:
      StoreError: some of them are not there any more, or later ones were taken.
    """
    used = steps.column("used_at")
    at = np.flatnonzero(used.filled(-1) == step)
    if not len(at):
        if used_until is None or step > used_until:
            return None
        gone = "have left the pool"
        if step < used_until:
            gone = f"none for step {step}: they have left the pool, or the steps went back"
        raise StoreError(
            f"trajectories were taken for step {used_until}, and {gone}. Go on with step {used_until + 1}."
        )
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
    names = _groups(steps).tolist()
    for i in line.tolist():
        groups.setdefault(names[i], []).append(i)
    return [np.sort(np.array(some)) for some in groups.values() if len(some) >= group_size]
