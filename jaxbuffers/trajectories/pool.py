"""TrajectoryPool: trajectories of web agents in an episode store, filtered, judged late, drawn by recency."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, final

import numpy as np

from jaxbuffers.checks import flag, one_of, positive
from jaxbuffers.episodes import EpisodeStore
from jaxbuffers.errors import StoreError, TrajectoryError
from jaxbuffers.trajectories import adding, folder, judging, screenshots, taking
from jaxbuffers.trajectories.adding import Checked, Line, Rules
from jaxbuffers.trajectories.drawn import Drawn
from jaxbuffers.trajectories.filters import Filter
from jaxbuffers.trajectories.image_files import ImageFiles
from jaxbuffers.trajectories.lines import lines_of
from jaxbuffers.trajectories.taking import Taken

KEPT = 1000  # of those that were set aside


class SetAside(NamedTuple):
    """A trajectory that was not taken, and why."""

    given: Any
    error: TrajectoryError


@final
class TrajectoryPool(Drawn):
    """Trajectories in an `EpisodeStore`: each is an episode, its steps are the rows, what is known of it columns.

    With a path, a trajectory is durable when `add` returns. Messages of prompts and all other texts are stored once,
    however many steps share them. Everything a store can do is there under ``store``: windows, batches, compaction.

    Args:
      path: a folder, made where there is none; None to keep everything in memory.
      capacity: steps to keep; the oldest trajectories leave, whole, when new ones come. None for no limit. Neither it
        nor ``max_trajectories`` is recorded: each opening says them, and what is too much leaves with the next.
      max_trajectories: trajectories to keep, in the same way.
      filter: what to learn from where nothing else is said: by default `trajectories.successful` and not
        `trajectories.same_screenshot`.
      include_reward_in_sample: whether samples have the reward of their trajectory.
      shuffle: whether samples come in random order.
      seed: of all that is drawn, where no other is given: draw after draw is another.
      prompt_messages: how many messages a prompt may have; a pool on disk keeps what it was made with. None for 16.
      min_steps: how many steps a trajectory must have.
      invalid_pages: whether to take trajectories of pages that could not be opened; see `trajectories.invalid_page`.
      bad: "refuse" raises for trajectories that cannot be taken, "set_aside" counts them and goes on.
      unknown: "refuse" or "keep" keys of dictionaries that no component has.
      images: "paths" keeps the paths of screenshots, "bytes" the files themselves.
      compare: screenshots are the same if their "bytes" are, or their "pixels".
      image_folder: where relative paths of screenshots begin; None for the working directory.

    Attributes:
      store: the `EpisodeStore`.
      counts: how many trajectories were set aside, by reason, since the pool was opened.
      set_aside: the newest of them, each with its error.

    Raises:
      StoreError: it cannot be opened.

    >>> from jaxbuffers.trajectories import Action, Observation, Response, Reward, Step, Task, TrajectoryPool
    >>> def step(words, reward=None):
    ...     prompt = [{"role": "user", "content": "Find a door."}]
    ...     return Step(Observation(Task("find")), Action(action_string=words), Response(words, {}, prompt), reward)
    >>> pool = TrajectoryPool(capacity=1000)
    >>> id = pool.add([step("north"), step("stop", Reward(-1))])
    >>> len(pool.get_training_samples())
    0
    >>> pool.judge(id, reward=1.0, evaluation="found")
    >>> [sample["action"] for sample in pool.get_training_samples()]
    ['north', 'stop']
    """

    counts: Counter[str]
    set_aside: list[SetAside]

    def __init__(
        self,
        path: str | os.PathLike | None = None,
        capacity: int | None = None,
        *,
        max_trajectories: int | None = None,
        filter: Filter | None = None,
        include_reward_in_sample: bool = True,
        shuffle: bool = False,
        seed: int = 0,
        prompt_messages: int | None = None,
        min_steps: int = 1,
        invalid_pages: bool = False,
        bad: str = "refuse",
        unknown: str = "refuse",
        images: str = "paths",
        compare: str = "bytes",
        image_folder: str | os.PathLike | None = None,
    ) -> None:
        self._settle(filter, include_reward_in_sample, shuffle, seed)
        self.max_trajectories = None if max_trajectories is None else positive("max_trajectories", max_trajectories)
        self.bad, self.unknown, self.images = bad, unknown, images
        self.counts, self.set_aside = Counter(), []
        for name, value, choices in (
            ("bad", bad, ("refuse", "set_aside")),
            ("unknown", unknown, ("refuse", "keep")),
            ("images", images, ("paths", "bytes")),
            ("compare", compare, ("bytes", "pixels")),
        ):
            one_of(name, value, choices)
        if compare == "pixels":
            screenshots.pillow()
        min_steps = positive("min_steps", min_steps)
        flag("invalid_pages", invalid_pages)
        messages = None if prompt_messages is None else positive("prompt_messages", prompt_messages)
        capacity = None if capacity is None else positive("capacity", capacity)
        self._image_folder = os.fspath(image_folder or "")
        store = folder.opened(path, capacity, messages)
        self.stores: list[EpisodeStore] = [store]
        self._used_until = taking.last_step(store.table())
        prompt = folder.messages_of(store)
        self._rules = Rules(prompt, min_steps, capacity, invalid_pages, compare, self._image_folder, images == "bytes")
        self._images = [ImageFiles(None if path is None else os.path.join(os.fspath(path), "images"))]

    @classmethod
    def open(
        cls,
        path: str | os.PathLike,
        *,
        filter: Filter | None = None,
        include_reward_in_sample: bool = True,
        shuffle: bool = False,
        seed: int = 0,
        image_folder: str | os.PathLike | None = None,
    ) -> "TrajectoryPool":
        """Read a pool that other processes write, or all pools in a folder, as one. It is seen as it is now.

        Args:
          path: a pool, or a folder of pools, such as one for each process.
          filter: see `TrajectoryPool`.
          include_reward_in_sample: see `TrajectoryPool`.
          shuffle: see `TrajectoryPool`.
          seed: see `TrajectoryPool`; processes that read the same draw the same with the same seed.
          image_folder: see `TrajectoryPool`.

        Raises:
          StoreError: there is no pool.
        """
        pool = cls.__new__(cls)
        pool._settle(filter, include_reward_in_sample, shuffle, seed)
        pool.max_trajectories, pool._folder = None, os.fspath(path)
        pool.bad, pool.unknown, pool.images = "refuse", "refuse", "paths"
        pool.counts, pool.set_aside = Counter(), []
        pool.stores, pool._images = [], []
        pool._join()
        if not pool.stores:
            raise StoreError(f"{os.fspath(path)} is no pool, and no folder in it is one with trajectories yet.")
        pool._image_folder = os.fspath(image_folder or "")
        return pool

    @property
    def store(self) -> EpisodeStore:
        """The one store that the pool writes.

        Raises:
          StoreError: the pool is a folder of several, which are in ``stores``.
        """
        if self._folder is not None:
            raise StoreError("this pool reads what other processes write; its stores are in pool.stores.")
        return self.stores[0]

    # In

    def add(self, trajectory: Any) -> int | None:
        """Store a trajectory; it is durable when this returns.

        Args:
          trajectory: a `trajectories.Trajectory`, or what `trajectories.Trajectory.from_dict` makes one of.

        Returns:
          Its id; None if it was set aside.

        Raises:
          TrajectoryError: it cannot be taken, with ``bad="refuse"``; naming the step and the field.
          StoreError: it cannot be written. Nothing is stored.
        """
        found = int(self.extend([trajectory])[0])
        return None if found < 0 else found

    def extend(self, trajectories: Iterable[Any]) -> np.ndarray:
        """Store trajectories in their order, some dozens in each transaction.

        Returns:
          Their ids, int64 ``[n]``; -1 for those that were set aside.

        Raises:
          TrajectoryError: one cannot be taken, with ``bad="refuse"``; those before it are stored.
          StoreError: they cannot be written; those before are stored.
          Exception: whatever the iterable raises; those that came before are stored.
        """
        ids: list[int] = []
        types = self.store.table().types
        for some in adding.batches(trajectories, self._rules, types, self.unknown, self._refuse):
            with self._turn:
                ids += self._append(some)
        return np.array(ids, np.int64)

    def from_jsonl(self, path: str | os.PathLike) -> np.ndarray:
        """Store the trajectories of a file of JSON lines; see `extend`."""

        def trajectories() -> Iterator[Any]:
            for place, line in lines_of(path):
                yield Line(f"{os.fspath(path)}:{place}", line)

        return self.extend(trajectories())

    # Changes

    def judge(self, ids: Any, *, reward: Any, evaluation: Any = None, again: bool = False) -> None:
        """Say how trajectories went that were pending; durable when this returns.

        Args:
          ids: the id of a trajectory, or several ``[n]``.
          reward: a number for all, or ``[n]``; 0 for a failure.
          evaluation: what the judge said, any JSON: one for all, or a list ``[n]`` where there are several ids.
          again: whether to replace judgements that are there already.

        Raises:
          ConfigurationError: one was judged already. Nothing is changed.
          UnknownEpisodeError: there is no such trajectory. Nothing is changed.
          TrajectoryError: a reward or an evaluation is no such thing. Nothing is changed.
        """
        with self._turn:
            judging.judge(self.store, ids, reward, evaluation, again)

    def take(
        self,
        count: int,
        step: int,
        *,
        order: str = "fifo",
        group_size: int | None = None,
        filter: Filter | None = None,
    ) -> Taken:
        """Take trajectories that were never taken, for one step of a learner; durably, before this returns.

        Taking for a step again returns the same trajectories: a run that goes on from a checkpoint repeats the steps
        that it lost with the trajectories that they had, and so uses each trajectory once.

        Args:
          count: how many trajectories; with ``group_size``, how many groups.
          step: the number of the learner's step, which grows.
          order: "fifo" takes the oldest first, "freshest" those of the newest ``policy_version``, newest first.
          group_size: take whole groups of at least so many trajectories with one ``group_id``. A group waits while a
            member of it is pending; the filter `trajectories.judged` leaves such members behind.
          filter: which trajectories may be taken: those of which it keeps a step; None for all, also the failures.
            Pending ones never are.

        Returns:
          `trajectories.Taken`: their ids, rewards and groups.

        Raises:
          EmptyReplayError: there are too few. Nothing is taken.
          StoreError: those that were taken for this step have left the pool, or later steps were taken already.

        >>> from jaxbuffers.trajectories import TrajectoryPool
        >>> len(TrajectoryPool().take(0, step=0))
        0
        """
        store = self.store
        with self._turn:
            taken = taking.take(store, self.steps(), self._used_until, count, step, order, group_size, filter)
            if len(taken) and not taken.again:
                self._used_until = taken.step
        return taken

    def sweep(self) -> int:
        """Free the texts and images that no trajectory refers to any more; return how many."""
        store = self.store
        with self._turn:
            freed = store.texts.sweep(store)
            store.texts.commit()
            store.texts.purge()
            digests = set() if not len(self) else {*store.texts.lookup(np.unique(self.steps().field("screenshot")))}
            return freed + self._images[0].sweep({digest for digest in digests if digest is not None})

    def _refuse(self, given: Any, error: TrajectoryError) -> None:
        if self.bad == "refuse":
            raise error
        self.counts[error.reason] += 1
        self.set_aside = [*self.set_aside[1 - KEPT :], SetAside(given, error)]

    def _append(self, checked: Sequence[Checked | None]) -> list[int]:
        good = [each for each in checked if each is not None]
        if good and self.images == "bytes":
            self._images[0].put({seen.digest: seen for each in good for seen in each.seen if seen is not None}.values())
        messages, most = self._rules.messages, self.max_trajectories
        stored = iter(adding.append(self.store, messages, good, most, self._used_until) if good else [])
        return [-1 if each is None else next(stored) for each in checked]
