"""Demonstrations: trajectories of an expert, text and image features, each stored once."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from jaxbuffers import filters, returns
from jaxbuffers.errors import DtypeError, ShapeError, StructureError
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.convert import array
from jaxbuffers.host.replay import HostReplay
from jaxbuffers.replay import Replay
from jaxbuffers.row import Row
from jaxbuffers.samplers import Sampler, Uniform
from jaxbuffers.textfield import text
from jaxbuffers.texts import TextTable
from jaxbuffers.views import Transition, Transitions

FIELDS = ("observation", "action", "image_features", "next_image_features", "reward", "next_observation", "done")
TEXTS = ("observation", "action", "next_observation")


class Demonstrations:
    """Transitions of an expert for behaviour cloning: text observations and actions beside visual features.

    A trajectory of T transitions is kept as T + 1 rows. The next observation and its features are read from the next
    row, and not stored a second time. Monte Carlo returns are computed when a trajectory is inserted.

    Args:
      capacity: how many rows to keep; the oldest are overwritten.
      image_features: shape and dtype of the features of one image: an array or a ``jax.ShapeDtypeStruct``.
      batch_size: B.
      gamma: discount of the Monte Carlo returns.
      sampler: which transitions to draw.
      table: where texts go; a new one in memory by default.
      seed: of the draws.

    Attributes:
      buffer: the `HostReplay` underneath, for its state, its table, ``update``, ``sweep`` and ``to_bytes``.

    >>> import numpy as np, jaxbuffers as jb
    >>> demos = jb.Demonstrations(capacity=1000, image_features=np.zeros(8, np.float32), batch_size=2, gamma=0.5)
    >>> screens = np.arange(24, dtype=np.float32).reshape(3, 8)
    >>> demos.insert_trajectory([
    ...     dict(observation="login page", action="click(login)", image_features=screens[0], reward=0.0, done=False,
    ...          next_observation="login dialog", next_image_features=screens[1]),
    ...     dict(observation="login dialog", action="type(name)", image_features=screens[1], reward=1.0, done=True,
    ...          next_observation="welcome", next_image_features=screens[2])])
    >>> batch = demos.sample()
    >>> sorted(batch.data), len(demos), set(batch.text("next_observation")) <= {"login dialog", "welcome"}
    (['action', 'done', 'image_features', 'mc_return', 'next_image_features', 'next_observation', 'observation', \
'reward'], 2, True)
    """

    def __init__(
        self,
        capacity: int,
        image_features: Any,
        *,
        batch_size: int = 2,
        gamma: float = 1.0,
        sampler: Sampler | None = None,
        table: TextTable | None = None,
        seed: int = 0,
    ) -> None:
        Transitions(gamma=gamma)  # raises if gamma is no discount
        self.gamma = gamma
        if not hasattr(image_features, "shape") or not hasattr(image_features, "dtype"):
            raise DtypeError(
                f"image_features must be an array or a jax.ShapeDtypeStruct(shape, dtype), got {image_features!r}."
            )
        features = jax.ShapeDtypeStruct(image_features.shape, image_features.dtype)
        fields = Row(
            obs={"observation": text, "image_features": features},
            action=text,
            reward=np.float32,
            is_first=np.bool_,
            is_last=np.bool_,
            is_terminal=np.bool_,
            extras={"mc_return": np.float32},
        )
        view = Transitions(n_step=1, gamma=1.0)
        self.buffer = HostReplay(
            Replay(capacity, None, batch_size, view, sampler or Uniform()), fields, table=table, seed=seed
        )
        self._features = features
        self._open: list[dict[str, Any]] = []

    def __len__(self) -> int:
        """How many transitions can be sampled."""
        return self.buffer.count()

    @property
    def table(self) -> TextTable:
        """Where the texts are."""
        return self.buffer.table

    def text_ids(self) -> np.ndarray:
        """Return the ids of all texts in its rows, int64 ``[n]``, so that `TextTable.sweep` keeps them."""
        return self.buffer.text_ids()

    def insert(self, **transition: Any) -> None:
        """Append one transition; a trajectory is stored once its last one has come, with ``done=True``.

        Takes what the transitions of `insert_trajectory` hold. Where a trajectory is cut off, `finish` it.
        """
        transition = self._checked(transition, len(self._open))
        if self._open:
            self._continues(self._open[-1], transition, len(self._open))
        self._fits(len(self._open) + 1)
        if transition["done"]:
            self._store([*self._open, transition])
            self._open = []
        else:
            self._open.append(transition)

    def finish(self, store: bool = True) -> None:
        """End the trajectory that `insert` began: store what there is of it, as one that was cut off, or forget it."""
        if store and self._open:
            self._store(self._open)
        self._open = []

    def insert_trajectory(self, transitions: Iterable[dict[str, Any]]) -> None:
        """Store one trajectory.

        Args:
          transitions: dicts with ``observation``, ``action`` and ``next_observation`` (``str``), ``image_features`` and
            ``next_image_features`` (arrays of the declared shape and dtype), ``reward`` (a number), ``done`` (a
            bool), and optionally ``mc_return`` (a number): for all of them, or computed for all. Only the
            last may be done; if it is not, the trajectory was cut off there.

        Raises:
          StructureError: the transitions do not follow one another. Nothing is stored.
          ShapeError, DtypeError: naming the field. Nothing is stored.
        """
        self._store(self._trajectory(transitions))

    def extend(self, trajectories: Iterable[Iterable[dict[str, Any]]], top: float = 1.0) -> np.ndarray:
        """Store the best of several trajectories. All are checked first: if one is refused, none is stored.

        Args:
          trajectories: as for `insert_trajectory`.
          top: which fraction of them to keep, by the sum of rewards; see `filters.top_quantile`.

        Returns:
          bool ``[N]``, which were stored.
        """
        checked = [self._trajectory(steps) for steps in trajectories]
        scores = np.array([sum(float(step["reward"]) for step in steps) for steps in checked], np.float32)
        keep = np.asarray(filters.top_quantile(scores, top)) if checked else np.zeros(0, np.bool_)
        best = [steps for steps, kept in zip(checked, keep, strict=True) if kept]
        self.buffer.table.intern([step[name] for steps in best for step in steps for name in TEXTS])  # all, or raises
        for steps in best:
            self._store(steps)
        return keep

    def sample(self, batch_size: int | None = None) -> HostBatch:
        """Draw transitions: ``data`` is a dict of the fields inserted and ``mc_return``, leaves ``[B, ...]``."""
        return self._named(self.buffer.sample(batch_size))

    def batches(
        self, steps: int | None = None, batch_size: int | None = None, prefetch: int = 2
    ) -> Iterator[HostBatch]:
        """Iterate over batches like those of `sample`; see `HostReplay.batches`."""
        return map(self._named, self.buffer.batches(steps, batch_size, prefetch))

    @staticmethod
    def fields_of(step: Transition) -> dict[str, Any]:
        """Return the fields of transitions that were read from ``buffer``, by the names they were inserted with."""
        return {
            "observation": step.obs["observation"],
            "action": step.action,
            "image_features": step.obs["image_features"],
            "next_image_features": step.next_obs["image_features"],
            "reward": step.reward,
            "next_observation": step.next_obs["observation"],
            "done": step.discount == 0,
            "mc_return": step.extras["mc_return"],
        }

    def _named(self, batch: HostBatch) -> HostBatch:
        return replace(batch, batch=replace(batch.batch, data=self.fields_of(batch.data)), texts=TEXTS)

    def _trajectory(self, transitions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        if self._open:
            raise StructureError(
                f"a trajectory of {len(self._open)} steps is under way; end it with done=True or finish() first."
            )
        steps = [self._checked(transition, i) for i, transition in enumerate(transitions)]
        if not steps:
            raise StructureError("a trajectory has at least one transition.")
        for i, (before, after) in enumerate(pairwise(steps), start=1):
            self._continues(before, after, i)
        self._fits(len(steps))
        return steps

    def _fits(self, length: int) -> None:
        if length >= (capacity := self.buffer.replay.capacity):
            raise ShapeError(f"a trajectory of {length} steps takes {length + 1} rows, the capacity is {capacity}.")

    def _checked(self, transition: dict[str, Any], i: int) -> dict[str, Any]:
        if not isinstance(transition, dict):
            raise StructureError(
                f"transition {i} is a {type(transition).__name__}; a trajectory is a list of dicts, extend() takes a "
                f"list of trajectories."
            )
        if missing := [name for name in FIELDS if name not in transition]:
            raise StructureError(f"transition {i} has no {', '.join(missing)}.")
        if unknown := set(transition) - {*FIELDS, "mc_return"}:
            raise StructureError(f"transition {i} has unknown fields: {', '.join(sorted(unknown))}.")
        shape, dtype = self._features.shape, np.dtype(self._features.dtype)
        checked = dict(transition)
        for name in ("image_features", "next_image_features"):
            checked[name] = np.array(array((name,), transition[name], shape, dtype, ()))
        for name in ("reward", "mc_return"):
            if name in transition:
                checked[name] = np.array(array((name,), transition[name], (), np.dtype(np.float32), ()))
        checked["done"] = bool(array(("done",), transition["done"], (), np.dtype(np.bool_), ()))
        for name in TEXTS:
            if not isinstance(transition[name], str):
                raise StructureError(f"{name} of transition {i} must be a str, got {transition[name]!r}.")
        return checked

    @staticmethod
    def _continues(before: dict[str, Any], after: dict[str, Any], i: int) -> None:
        if before["done"]:
            raise StructureError(f"transition {i} comes after one that is done: insert one trajectory at a time.")
        same = before["next_image_features"].tobytes() == after["image_features"].tobytes()
        if before["next_observation"] != after["observation"] or not same:
            what = "image_features" if before["next_observation"] == after["observation"] else "observation"
            raise StructureError(
                f"the {what} of transition {i} is not the next_{what} of transition {i - 1}: these are not steps of "
                f"one trajectory."
            )
        if ("mc_return" in before) != ("mc_return" in after):
            raise StructureError("give mc_return for every transition of a trajectory, or for none.")

    def _store(self, steps: list[dict[str, Any]]) -> None:
        length = len(steps)
        size = min(1 << length.bit_length(), self.buffer.replay.length)  # few lengths, few compilations
        fill = size - length - 1

        def column(name: str, last: Any) -> list[Any]:
            return [*(step[name] for step in steps), last, *[last] * fill]

        reward = np.array(column("reward", 0), np.float32)
        done, place = steps[-1]["done"], np.arange(size)
        if "mc_return" in steps[0]:
            value = np.array(column("mc_return", 0), np.float32)
        else:
            ends = place == length - 1
            value = np.array(_mc_returns(reward, ends & done, ends & (not done), self.gamma))
            value[length:] = 0
        rows = Row(
            obs={
                "observation": column("observation", steps[-1]["next_observation"]),
                "image_features": np.stack(column("image_features", steps[-1]["next_image_features"])),
            },
            action=column("action", None),
            reward=np.concatenate([np.zeros(1, np.float32), reward[:-1]]),
            is_first=place == 0,
            is_last=place == length,
            is_terminal=(place == length) & done,
            extras={"mc_return": value},
        )
        self.buffer.add(rows, mask=place <= length)


_mc_returns = jax.jit(returns.mc_returns, static_argnums=3)
