"""Laws: how likely a store draws each of its windows."""

import abc
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import override

from jaxbuffers.checks import number, positive, settle
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.row import refuse_masked


class Law(abc.ABC):
    """A frozen configuration: how likely the windows of each episode are drawn.

    A draw points at an episode, then at one of the legal windows that begin in it, uniformly. Draws are independent,
    but for those of `ShuffledEpochs`.
    """

    @abc.abstractmethod
    def weights(self, table: Any, windows: np.ndarray) -> np.ndarray:
        """Weigh the episodes.

        Args:
          table: the store's metadata, NumPy columns ``[n]`` by their names, in order of insertion.
          windows: int64 ``[n]``, how many legal windows begin in each episode; 0 where ``where`` leaves one out.

        Returns:
          int64 or float64 ``[n]``, not negative: how likely each episode is, in proportion. One without windows is
          never drawn, whatever its weight.
        """

    @property
    def family(self) -> Hashable:
        """What decides about `weights`, so that they are computed once; the law itself by default."""
        return self


@dataclass(frozen=True)
class UniformWindows(Law):
    """Draw every legal window with the same probability.

    >>> import jax, numpy as np, jaxbuffers as jb
    >>> store = jb.EpisodeStore()
    >>> ids = [store.add_episode({"x": np.zeros(n, np.float32)}) for n in (3, 5)]
    >>> store.sample(jb.Items(), 2, jax.random.key(0), law=jb.episodes.UniformWindows()).probability
    Array([0.125, 0.125], dtype=float32)
    """

    @override
    def weights(self, table: Any, windows: np.ndarray) -> np.ndarray:
        return windows


@dataclass(frozen=True)
class EpisodesByLength(Law):
    """Draw an episode with the weight ``n**power``, n its legal windows, as `ByEpisode` does in a ring.

    Args:
      power: 0 makes episodes equally likely, however long they are; 1 makes windows equally likely. From 0 to 4.

    >>> import jax, numpy as np, jaxbuffers as jb
    >>> store = jb.EpisodeStore()
    >>> ids = [store.add_episode({"x": np.full(n, n, np.int32)}) for n in (2, 4)]
    >>> batch = store.sample(jb.Items(), 64, jax.random.key(0), law=jb.episodes.EpisodesByLength(0))
    >>> sorted(set(zip(batch.data["x"].tolist(), batch.probability.tolist())))
    [(2, 0.25), (4, 0.125)]
    """

    power: float = 0.0

    def __post_init__(self) -> None:
        settle(self, power=number("power", self.power, 0, 4))

    @override
    def weights(self, table: Any, windows: np.ndarray) -> np.ndarray:
        return np.where(windows > 0, np.float64(windows) ** self.power, 0)


@dataclass(frozen=True)
class RecentEpisodes(Law):
    """Draw from the newest episodes, every window with the same probability, or by an age that halves it.

    Episodes that ``where`` leaves out do not count. Give one of the three.

    Args:
      rows: the newest episodes that have so many rows together, the oldest of them as a whole; all if there are fewer.
      episodes: so many of the newest episodes.
      half_life: an episode after which k rows came has ``2**(-k / half_life)`` times the weight a window.

    >>> import jax, numpy as np, jaxbuffers as jb
    >>> store = jb.EpisodeStore()
    >>> ids = [store.add_episode({"x": np.full(3, i, np.int32)}) for i in range(5)]
    >>> batch = store.sample(jb.Items(), 64, jax.random.key(0), law=jb.episodes.RecentEpisodes(rows=4))
    >>> sorted(set(batch.data["x"].tolist()))  # the newest three rows, and the episode of the fourth
    [3, 4]
    """

    rows: int | None = None
    episodes: int | None = None
    half_life: float | None = None

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.rows, self.episodes, self.half_life)) != 1:
            raise ConfigurationError("RecentEpisodes() takes one of rows=, episodes= and half_life=.")
        if self.rows is not None:
            settle(self, rows=positive("rows", self.rows))
        if self.episodes is not None:
            settle(self, episodes=positive("episodes", self.episodes))
        if self.half_life is not None:
            settle(self, half_life=number("half_life", self.half_life, 0.1, 1e12))

    @override
    def weights(self, table: Any, windows: np.ndarray) -> np.ndarray:
        kept = windows > 0
        if self.episodes is not None:
            newer: np.ndarray = np.cumsum(kept[::-1])[::-1] - kept
            return np.where(newer < self.episodes, windows, 0)
        length = np.where(kept, table["length"], 0).astype(np.int64)
        after = np.cumsum(length[::-1])[::-1] - length  # rows that came after each episode
        if self.rows is not None:
            return np.where(after < self.rows, windows, 0)
        assert self.half_life is not None
        return windows * np.exp2(-(after / self.half_life))


@dataclass(frozen=True)
class WeightedEpisodes(Law):
    """Draw an episode with the weight that a function gives it, then one of its windows.

    Args:
      function: from the metadata, NumPy columns ``[n]``, to the weights of the episodes: ``[n]`` integers or
        floats, finite and not negative. It is called once for every state of the store, so it must always give the
        same for the same metadata; define it once, at the top of a module.

    >>> import jax, numpy as np, jaxbuffers as jb
    >>> def by_success(columns):
    ...     return np.where(columns["success"], 3, 1)
    >>> store = jb.EpisodeStore()
    >>> ids = [store.add_episode({"x": np.zeros(2, np.float32)}, dict(success=i == 0)) for i in range(3)]
    >>> batch = store.sample(jb.Items(), 64, jax.random.key(0), law=jb.episodes.WeightedEpisodes(by_success))
    >>> sorted({(e, round(p, 6)) for e, p in zip(batch.index.stream.tolist(), batch.probability.tolist())})
    [(0, 0.3), (1, 0.1), (2, 0.1)]
    """

    function: Callable[[Any], np.ndarray]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigurationError(f"function must be a function of the metadata, got {self.function!r}.")

    @override
    def weights(self, table: Any, windows: np.ndarray) -> np.ndarray:
        weights = self.function(table)
        refuse_masked("the weights", weights)
        weights = np.asarray(weights)
        if weights.dtype.kind not in "iuf" or weights.shape != windows.shape:
            raise ConfigurationError(
                f"{self.function!r} must return one number for each of {len(windows)} episodes, got "
                f"{weights.dtype}{list(weights.shape)}."
            )
        return weights if weights.dtype.kind in "iu" else weights.astype(np.float64)


@dataclass(frozen=True)
class ShuffledEpochs(Law):
    """Draw every legal window once an epoch, in an order that the seed and the number of the epoch decide.

    The law says where it is: `EpisodeStore.batches` moves it on, and so does `after`, so that it is all there is to
    save. It goes on where it was as long as as many windows are legal as before; otherwise the next epoch begins.
    A batch that reaches the end of an epoch goes on with the next.

    Args:
      seed: of the orders.
      epoch: which epoch.
      place: how many of its windows have been drawn.
      windows: how many it has; 0 if none has been drawn.

    >>> import jax, numpy as np, jaxbuffers as jb
    >>> store = jb.EpisodeStore()
    >>> ids = [store.add_episode({"x": np.full(1, i, np.int32)}) for i in range(4)]
    >>> law, seen = jb.episodes.ShuffledEpochs(seed=3), []
    >>> for step in range(2):
    ...     seen += store.sample(jb.Items(), 2, jax.random.key(step), law=law).data["x"].tolist()
    ...     law = law.after(store.count(jb.Items()), 2)
    >>> sorted(seen), law
    ([0, 1, 2, 3], ShuffledEpochs(seed=3, epoch=1, place=0, windows=4))
    """

    seed: int = 0
    epoch: int = 0
    place: int = 0
    windows: int = 0

    def __post_init__(self) -> None:
        for name in ("seed", "epoch", "place", "windows"):
            settle(self, **{name: positive(name, getattr(self, name), minimum=0)})
        if self.windows and self.place >= self.windows:
            raise ConfigurationError(f"place={self.place} must be below windows={self.windows}.")

    @override
    def weights(self, table: Any, windows: np.ndarray) -> np.ndarray:
        return windows

    @property
    @override
    def family(self) -> Hashable:
        return UniformWindows()

    def among(self, windows: int) -> "ShuffledEpochs":
        """Return the law among so many windows, one or more: this one, or that of the next epoch if they are others."""
        windows = positive("windows", windows)
        if self.windows == windows:
            return self
        return ShuffledEpochs(self.seed, self.epoch + (self.windows > 0), 0, windows)

    def after(self, windows: int, drawn: int) -> "ShuffledEpochs":
        """Return the law after ``drawn`` more of so many windows, one or more."""
        windows, drawn = positive("windows", windows), positive("drawn", drawn, minimum=0)
        now = self.among(windows)
        epochs, place = divmod(now.place + drawn, windows)
        return ShuffledEpochs(self.seed, now.epoch + epochs, place, windows)
