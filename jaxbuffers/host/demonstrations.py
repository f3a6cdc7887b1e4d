"""Demonstrations: transitions of an expert, text and image features, each text and each observation stored once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from jaxbuffers.checks import flag
from jaxbuffers.errors import EmptyReplayError, ShapeError, StructureError
from jaxbuffers.host import open_trajectory
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.checkpoints import Saved
from jaxbuffers.host.dataset import WindowDataset
from jaxbuffers.host.layouts import Independent, Trajectories
from jaxbuffers.host.replay import HostReplay
from jaxbuffers.host.steps import TEXTS, Step, checked, continues, declared_features
from jaxbuffers.host.transfers import transfers
from jaxbuffers.onpolicy import filters
from jaxbuffers.replay import Replay
from jaxbuffers.samplers import Sampler, Uniform
from jaxbuffers.texts import TextTable
from jaxbuffers.views import Transitions


class Demonstrations(Saved):
    """Transitions of an expert for behaviour cloning: text observations and actions, beside visual features if any.

    A trajectory of T transitions is kept as T + 1 rows. The next observation and its features are read from the next
    row, and not stored a second time. Monte Carlo returns are computed when a trajectory is inserted. So transitions
    come in order, and each continues the one before it: its observation is that one's next observation, and its
    features are equal in value.

    With ``independent=True`` each transition stands by itself, is kept as it is given, next observation and features
    included, and can be sampled at once. Transitions may then be shuffled, filtered, or interleaved from many
    environments. Features take twice the memory, and each transition brings its ``mc_return``.

    Args:
      capacity: how many rows to keep; the oldest are overwritten. A trajectory of T transitions takes T + 1, an
        independent transition one.
      image_features: what the features of one image are: a shape such as ``(512,)``, which means float32, an array,
        or a ``jax.ShapeDtypeStruct``. None if there are none.
      batch_size: B.
      gamma: discount of the Monte Carlo returns.
      independent: whether each transition stands by itself.
      sampler: which transitions to draw.
      table: where texts go; a new one in memory by default.
      seed: of the draws.

    Attributes:
      buffer: the `HostReplay` underneath, for its state, its table, ``update`` and ``sweep``. It does not know of the
        trajectory that is still open.

    >>> import numpy as np, jaxbuffers as jb
    >>> demos = jb.Demonstrations(capacity=1000, image_features=(8,), batch_size=2, gamma=0.5)
    >>> screens = np.arange(24, dtype=np.float32).reshape(3, 8)
    >>> demos.insert_trajectory([
    ...     dict(observation="login page", action="click(login)", image_features=screens[0], reward=0.0, done=False,
    ...          next_observation="login dialog", next_image_features=screens[1]),
    ...     dict(observation="login dialog", action="type(name)", image_features=screens[1], reward=1.0, done=True,
    ...          next_observation="welcome", next_image_features=screens[2])])
    >>> batch = demos.sample()
    >>> len(demos), set(batch["next_observation"]) <= {"login dialog", "welcome"}
    (2, True)
    >>> def actor_loss(observation, action, image_features, mc_return, **others):
    ...     return len(observation), image_features.shape, sorted(others)
    >>> actor_loss(**batch)
    (2, (2, 8), ['done', 'next_image_features', 'next_observation', 'reward'])
    """

    def __init__(
        self,
        capacity: int,
        image_features: Any = None,
        *,
        batch_size: int = 2,
        gamma: float = 1.0,
        independent: bool = False,
        sampler: Sampler | None = None,
        table: TextTable | None = None,
        seed: int = 0,
    ) -> None:
        Transitions(gamma=gamma)  # raises if gamma is no discount
        flag("independent", independent)
        self.gamma, self.independent = gamma, independent
        self._features = declared_features(image_features)
        self._layout = Independent(self._features) if independent else Trajectories(self._features, gamma)
        replay = Replay(capacity, None, batch_size, self._layout.view, sampler or Uniform())
        self.buffer = HostReplay(replay, self._layout.row, table=table, seed=seed)
        self._open: list[Step] = []

    def __len__(self) -> int:
        """How many transitions can be sampled."""
        return self.buffer.count()

    @property
    def open_steps(self) -> int:
        """How many transitions the trajectory has that `insert` began and that has not ended: not stored yet."""
        return len(self._open)

    @property
    def table(self) -> TextTable:
        """Where the texts are."""
        return self.buffer.table

    def text_ids(self) -> np.ndarray:
        """Return the ids of all texts in its rows, int64 ``[n]``, so that `TextTable.sweep` keeps them."""
        return self.buffer.text_ids()

    def insert(self, /, **transition: Any) -> None:
        """Append one transition; a trajectory is stored once its last one has come, with ``done=True``.

        Takes what the transitions of `insert_trajectory` hold. Where a trajectory is cut off, `finish` it. An
        independent transition is stored at once.
        """
        with self.buffer.section():  # one call, for other threads and for signals
            step = self._checked(transition, len(self._open))
            if self._open:
                continues(self._open[-1], step, len(self._open))
            self._fits(len(self._open) + 1)
            if step["done"] or self.independent:
                self._store([*self._open, step])
                self._open = []
            else:
                self._open.append(step)

    def finish(self, store: bool = True) -> None:
        """End the trajectory that `insert` began: store what there is of it, as one that was cut off, or forget it."""
        with self.buffer.section():
            if store and self._open:
                self._store(self._open)
            self._open = []

    def insert_trajectory(self, transitions: Iterable[dict[str, Any]]) -> None:
        """Store one trajectory; or, where they are independent, some transitions in one call.

        Args:
          transitions: dicts with ``observation``, ``action`` and ``next_observation`` (``str``), ``image_features`` and
            ``next_image_features`` (arrays of the declared shape and dtype, if there are any), ``reward`` (a number),
            ``done`` (a bool, or 1 or 0), and optionally ``mc_return`` (a number): for all of them, or computed
            for all. Numbers may come as arrays of shape ``()``. Only the last may be done; if it is not, the
            trajectory was cut off there. Independent ones may be done anywhere, and all have ``mc_return``.

        Raises:
          StructureError: the transitions do not follow one another. Nothing is stored.
          ShapeError, DtypeError: naming the field. Nothing is stored.
        """
        with self.buffer.section():
            self._store(self._trajectory(transitions))

    @transfers
    def extend(self, trajectories: Iterable[Iterable[dict[str, Any]]], top: float = 1.0) -> np.ndarray:
        """Store the best of several trajectories. All are checked first: if one is refused, none is stored.

        Args:
          trajectories: as for `insert_trajectory`.
          top: which fraction of them to keep, by the sum of rewards; see `filters.top_quantile`.

        Returns:
          bool ``[N]``, which were stored.
        """
        with self.buffer.section():
            given = [self._trajectory(transitions) for transitions in trajectories]
            scores = np.array([sum(float(step["reward"]) for step in each) for each in given], np.float32)
            keep = np.asarray(filters.top_quantile(scores, top))
            best = [each for each, kept in zip(given, keep, strict=True) if kept]
            self.buffer.table.intern([step[name] for each in best for step in each for name in TEXTS])  # all, or raises
            for each in best:
                self._store(each)
        return keep

    def sample(self, batch_size: int | None = None) -> HostBatch:
        """Draw transitions: ``data`` is a dict of the fields inserted and ``mc_return``, leaves ``[B, ...]``.

        ``batch["observation"]`` is a list of B ``str``; ``loss(**batch)`` hands over every field.

        Raises:
          EmptyReplayError: nothing is stored yet, such as while the first trajectory is open.
        """
        with self._explained():
            return self._named(self.buffer.sample(batch_size))

    def batches(
        self, steps: int | None = None, batch_size: int | None = None, prefetch: int = 2
    ) -> Iterator[HostBatch]:
        """Iterate over batches like those of `sample`; see `HostReplay.batches`."""
        return _Named(self, self.buffer.batches(steps, batch_size, prefetch))

    def dataset(self, copy: bool = True) -> WindowDataset:
        """Return every transition as an item of a map-style dataset, by the names of the fields inserted.

        Raises:
          EmptyReplayError: there is nothing but a trajectory that is still open.

        >>> import jaxbuffers as jb
        >>> demos = jb.Demonstrations(capacity=10)
        >>> demos.insert(observation="a", action="go", next_observation="b", reward=0.5, done=True)
        >>> demos.dataset()[0]["next_observation"]
        'b'
        """
        if self._open and not len(self):
            raise only_open(self.open_steps)
        return WindowDataset(self.buffer, self.fields_of, copy=copy)

    def to_bytes(self) -> bytes:
        """Return everything but the stored texts: the trajectory that is open too. Commit the table first.

        >>> import jaxbuffers as jb
        >>> demos, other = (jb.Demonstrations(capacity=10) for _ in range(2))
        >>> step = dict(observation="a", action="go", next_observation="b", reward=0.5, done=False)
        >>> demos.insert(**step)
        >>> other.from_bytes(demos.to_bytes())
        >>> other.finish()
        >>> other.sample()["next_observation"]
        ['b', 'b']
        """
        with self.buffer.section():
            return open_trajectory.pack(self._kind(), self.buffer.to_bytes(), self._open)

    def from_bytes(self, data: bytes) -> None:
        """Go back to what `to_bytes` returned, of demonstrations declared alike; see `HostReplay.from_bytes`.

        Raises:
          StructureError: the bytes are damaged, or were saved from another declaration; nothing has changed.
          UnknownTextError: the table lacks texts that the rows refer to; nothing has changed.
        """
        buffer, steps = open_trajectory.unpack(self._kind(), data, self._features)
        with self.buffer.section():
            self.buffer.from_bytes(buffer)
            self._open = steps

    def fields_of(self, data: Any) -> dict[str, Any]:
        """Return what was read from ``buffer``, by the names of the fields that were inserted."""
        return self._layout.fields(data)

    def _kind(self) -> str:
        features = None if self._features is None else f"{self._features.dtype}{list(self._features.shape)}"
        return f"image_features={features}, gamma={float(self.gamma)}, independent={self.independent}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say so where there is nothing to sample because a trajectory is open."""
        try:
            yield
        except EmptyReplayError as error:
            raise (only_open(self.open_steps) if self._open else error) from None

    def _named(self, batch: HostBatch) -> HostBatch:
        return replace(batch, batch=replace(batch.batch, data=self.fields_of(batch.data)), texts=TEXTS)

    def _trajectory(self, transitions: Iterable[dict[str, Any]]) -> list[Step]:
        if self._open:
            raise StructureError(
                f"a trajectory of {len(self._open)} steps is under way; end it with done=True or finish() first."
            )
        steps = [self._checked(transition, i) for i, transition in enumerate(transitions)]
        if not steps:
            raise StructureError("a trajectory has at least one transition.")
        if not self.independent:
            for i, (before, after) in enumerate(pairwise(steps), start=1):
                continues(before, after, i)
        self._fits(len(steps))
        return steps

    def _checked(self, transition: Any, i: int) -> Step:
        return checked(transition, i, self._features, self.independent)

    def _fits(self, length: int) -> None:
        rows, capacity = length + self._layout.more, self.buffer.replay.capacity
        if rows > capacity:
            raise ShapeError(f"{length} steps take {rows} rows, the capacity is {capacity}.")

    def _store(self, steps: list[Step]) -> None:
        count = len(steps) + self._layout.more
        size = min(1 << (count - 1).bit_length(), self.buffer.replay.length)  # few lengths, few compilations
        self.buffer.add(self._layout.rows(steps, size), mask=np.arange(size) < count)


class _Named(Iterator[HostBatch]):
    """The batches of an iterator, with the names of the fields that were inserted."""

    def __init__(self, demonstrations: Demonstrations, batches: Iterator[HostBatch]) -> None:
        self._demonstrations, self._batches = demonstrations, batches

    def __next__(self) -> HostBatch:
        with self._demonstrations._explained():
            return self._demonstrations._named(next(self._batches))


def only_open(steps: int) -> EmptyReplayError:
    """Return the error of reading what holds nothing but a trajectory that is open."""
    return EmptyReplayError(
        f"no transition can be sampled yet: a trajectory of {steps} steps is open, and is stored once its last step "
        f"comes with done=True. If it was cut off, call finish(). Demonstrations(independent=True) stores each "
        f"transition at once."
    )
