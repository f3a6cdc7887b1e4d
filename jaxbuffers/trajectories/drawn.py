"""What pools are read by: one that this process writes, or several that others do."""

import abc
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxbuffers.checks import flag, one_of, positive
from jaxbuffers.episodes import EpisodeStore
from jaxbuffers.errors import (
    ConfigurationError,
    ShapeError,
    StoreError,
    UnknownEpisodeError,
    UnknownTextError,
    WrongProcessError,
)
from jaxbuffers.texts import TextTable
from jaxbuffers.trajectories import folder, recency, rows, screenshots
from jaxbuffers.trajectories.filters import Filter
from jaxbuffers.trajectories.image_files import ImageFiles
from jaxbuffers.trajectories.predicates import judged, same_screenshot, successful
from jaxbuffers.trajectories.samples import Samples
from jaxbuffers.trajectories.steps import FieldCache, Steps
from jaxbuffers.trajectories.trajectory import Trajectory

ATTEMPTS = 10  # to read what was drawn, while trajectories leave


class Drawn(abc.ABC):
    """Trajectories that can be looked at, and steps of them that can be drawn.

    Attributes:
      stores: the stores they are in.
      filter: what to learn from where nothing else is said.
    """

    stores: list[EpisodeStore]
    _images: list[ImageFiles]
    _image_folder: str
    _folder: str | None
    _known: tuple[Any, Steps] | None
    _cache: FieldCache
    _turn: threading.RLock  # threads of this process change the pool one after the other

    def __len__(self) -> int:
        """How many trajectories there are."""
        return sum(map(len, self.stores))

    @property
    def num_steps(self) -> int:
        """How many steps all trajectories have."""
        return sum(store.rows for store in self.stores)

    @property
    def texts(self) -> TextTable:
        """The texts of the one store, for `Tokens`."""
        if len(self.stores) > 1:
            raise StoreError("this pool has several stores, each with its own texts: pool.stores[i].texts.")
        return self.stores[0].texts

    @property
    def metadata(self) -> dict[str, np.ndarray]:
        """The columns of all trajectories, ``[n]`` each, in the order of the pool; see `EpisodeStore.metadata`."""
        return self.steps().columns

    def steps(self) -> Steps:
        """Return all steps as they are now, in the order of the pool: iteration, process, order of storing, step."""
        tables = [store.table() for store in self.stores]
        key = tuple((table.revision, len(table)) for table in tables)
        if self._known is None or self._known[0] != key:
            self._known = (key, Steps(self.stores, tables, self._cache))
        return self._known[1]

    def trajectory(self, id: int, store: int = 0) -> Trajectory:
        """Return a trajectory as it was added, with its judgement as it is now.

        Raises:
          UnknownEpisodeError: there is none of that id.
        """
        held = self.stores[store]
        episode = held[id]
        fields = episode.rows
        used = np.unique(np.concatenate([fields[name].ravel() for name in (*rows.TEXTS, "raw_prompt")]))
        try:
            words = dict(zip(used.tolist(), held.texts.lookup(used), strict=True))
        except UnknownTextError as error:
            raise UnknownEpisodeError(f"trajectory {id} left the pool while it was read, and was swept.") from error
        return rows.trajectory_of(fields, words, episode.metadata)

    def image(self, id: int, step: int, store: int = 0) -> np.ndarray:
        """Return a screenshot, uint8 ``[H, W, 3]``: as it was kept, or out of its file.

        Raises:
          StoreError: there is none, its file shows something else by now, or it cannot be decoded.
          UnknownEpisodeError: there is no such trajectory.
        """
        held = self.stores[store]
        found = held.read(id, step, 1, ["image_path", "screenshot"])
        path, digest = (held.texts.lookup(found[name][0, 0]) for name in ("image_path", "screenshot"))
        data = None if digest is None else self._images[store].get(digest)
        if data is None:
            shown = screenshots.read(path, "bytes", self._image_folder)
            if shown is None:
                raise StoreError(f"trajectory {id} has no screenshot of step {step} any more: {path!r} is no image.")
            if digest is not None and digest not in screenshots.digests(shown.data):
                raise StoreError(f"{path!r} is another image than trajectory {id} saw in step {step}: it was replaced.")
            data = shown.data
        return screenshots.decoded(data, str(path))

    def __iter__(self) -> Iterator[Trajectory]:
        """Go through all trajectories in the order of the pool; those that leave meanwhile are left out."""
        steps = self.steps()
        for source, i in zip(steps.source.tolist(), steps.ids.tolist(), strict=True):
            try:
                found = self.trajectory(i, source)
            except UnknownEpisodeError:
                continue
            yield found

    def refresh(self) -> bool:
        """See what other processes have written since, in a pool that was opened by `open`; say if anything was."""
        changed = [store.refresh() for store in self.stores]
        return self._join() or any(changed)

    def get_training_samples(
        self,
        num_samples: int | None = None,
        recency_bias_power: float = 1.0,
        *,
        filter: Filter | None = None,
        rank_by: str = "step",
        one_is_uniform: bool = True,
        include_reward_in_sample: bool | None = None,
        shuffle: bool | None = None,
        pending: bool = False,
        tokens: Any = None,
        seed: int | None = None,
    ) -> Samples:
        """Draw steps to learn from, each at most once, newer ones more likely.

        Of the eligible steps, in the order of the pool, each has the weight ``(rank + 1)**power``, with rank 0 for the
        oldest; steps are drawn one after the other, without replacement. A power of 1.0 means equal weights.

        Args:
          num_samples: how many; None, or more than there are, for all, each once.
          recency_bias_power: the power, from -1000 to 1000.
          filter: which steps are eligible; None for the filter of the pool.
          rank_by: what has a rank: each "step", each "trajectory" or each "iteration" that has an eligible step.
          one_is_uniform: whether a power of 1.0 means equal weights; if not, it is a power like others.
          include_reward_in_sample: None for what the pool says.
          shuffle: whether the samples come in random order, or in that of the pool; None for what the pool says.
          pending: whether steps whose judgement is pending may be eligible.
          tokens: a `Tokens` of the pool's texts.
          seed: of the draw, not negative; the same draws the same of the same pool. None for the next of the pool's.

        Returns:
          `Samples`, a sequence of dicts; ``eligible`` says how many there were to draw from.
        """
        power = recency.power_of(recency_bias_power)
        one_of("rank_by", rank_by, ("step", "trajectory", "iteration"))
        count = None if num_samples is None else positive("num_samples", num_samples, 0)
        shuffled = self._said("shuffle", shuffle, self.shuffle)
        reward = self._said("include_reward_in_sample", include_reward_in_sample, self.include_reward)
        words = self._next_seed() if seed is None else (positive("seed", seed, minimum=0),)

        def draw() -> Samples:
            steps = self.steps()
            chosen = place = np.flatnonzero(self._mask(steps, filter, pending))
            if count is not None and count < len(place):
                rank = self._rank(steps, place, rank_by)
                chosen = np.sort(place[recency.recent((*words, 0), rank, count, power, one_is_uniform)])
            if shuffled:
                chosen = chosen[recency.recent((*words, 1), np.zeros(len(chosen), np.int64), len(chosen), 0.0)]
            return Samples(self.stores, steps, chosen, len(place), reward, tokens)

        for _ in range(1, ATTEMPTS):
            try:
                return draw()
            except (UnknownEpisodeError, UnknownTextError):  # it has left since: draw from what is there now
                continue
        with self._turn:
            return draw()

    def close(self) -> None:
        """Let go of the pool; another process may write it then."""
        for store in self.stores:
            store.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise WrongProcessError(
            "a TrajectoryPool cannot be copied or sent to another process. Send what was drawn, or its path, and open "
            "it there: jb.TrajectoryPool.open(path)."
        )

    def __repr__(self) -> str:
        where = "memory" if self.stores[0].path is None else self._folder or self.stores[0].path
        return f"TrajectoryPool({str(where)!r}, {len(self)} trajectories, {self.num_steps} steps)"

    def _settle(self, filter: Filter | None, include_reward: bool, shuffle: bool, seed: int) -> None:
        if filter is not None and not isinstance(filter, Filter):
            hint = f" Write {filter.__name__}()." if isinstance(filter, type) else ""
            raise ConfigurationError(f"filter must be a Filter, got {filter!r}.{hint}")
        self.filter = successful() & ~same_screenshot() if filter is None else filter
        self.include_reward, self.shuffle = include_reward, shuffle
        flag("include_reward_in_sample", include_reward)
        flag("shuffle", shuffle)
        self.seed, self._draws = positive("seed", seed, minimum=0), 0
        self._known, self._cache, self._folder = None, FieldCache(), None
        self._turn = threading.RLock()

    def _join(self) -> bool:
        """Open the pools of the folder that are not open yet; say whether there were any."""
        if self._folder is None:
            return False
        known = {store.path for store in self.stores}
        new = [path for path in folder.pools_in(self._folder) if path not in known]
        for path in new:
            if (store := folder.read(path)) is not None:
                at = sum(str(other.path) < path for other in self.stores)  # in one order on every process
                self.stores.insert(at, store)
                self._images.insert(at, ImageFiles(os.path.join(path, "images")))
                self._cache, self._known = FieldCache(), None
        return bool(new)

    def _mask(self, steps: Steps, filter: Filter | None, pending: bool) -> np.ndarray:
        chosen = self.filter if filter is None else filter
        if not isinstance(chosen, Filter):
            raise ConfigurationError(f"filter must be a Filter, got {chosen!r}.")
        mask = chosen.mask(steps)
        if mask.shape != (len(steps),) or mask.dtype != np.bool_:
            got = f"{mask.dtype}{list(mask.shape)}"
            raise ShapeError(f"the mask of {chosen!r} must be one bool for each step, [{len(steps)}], got {got}.")
        return mask if pending else mask & judged().mask(steps)

    def _rank(self, steps: Steps, place: np.ndarray, rank_by: str) -> np.ndarray:
        if rank_by == "step":
            return np.arange(len(place))
        if rank_by == "trajectory":
            return recency.dense_ranks(steps.trajectory[place])
        return recency.dense_ranks(steps.column("iteration").filled(-(2**63))[steps.trajectory[place]])

    def _said(self, name: str, given: bool | None, usual: bool) -> bool:
        if given is None:
            return usual
        flag(name, given)
        return bool(given)

    def _next_seed(self) -> tuple[int, ...]:
        self._draws += 1
        return self.seed, self._draws
