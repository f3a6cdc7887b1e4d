"""Memory: PlaNet's episodes, first in, first out, and sequences drawn from them."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.checks import check_key, flag, positive
from jaxbuffers.episodes.epoch_order import in_order
from jaxbuffers.episodes.laws import EpisodesByLength
from jaxbuffers.episodes.random_words import fraction_of, seed_of, words
from jaxbuffers.episodes.sampling import ATTEMPTS, Sampling
from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.episodes.window_draw import WindowDraw
from jaxbuffers.errors import ConfigurationError, EmptyReplayError, UnknownEpisodeError
from jaxbuffers.host.transfers import transfers
from jaxbuffers.planet.episode import Episode
from jaxbuffers.row import field
from jaxbuffers.views import Episode as Padded
from jaxbuffers.views import Episodes, Sequences

EQUALLY = EpisodesByLength(0)


class Steps(NamedTuple):
    """L consecutive steps of each of B episodes; with ``time_first`` the first two axes are exchanged.

    Attributes:
      observation: leaves ``[B, L + 1, ...]``: before each step, and after the last.
      action: leaves ``[B, L, ...]``; those without an axis of their own get one, ``[B, L, 1]``.
      reward: ``[B, L]``.
      terminal: bool ``[B, L]``.
    """

    observation: Any
    action: Any
    reward: jax.Array
    terminal: jax.Array


class Memory:
    """Whole episodes, of which the oldest leave first, as PlaNet keeps them (Hafner et al. 2019).

    It is an `EpisodeStore` of `Episode` rows: with a path they are on disk, durable when `append` returns, and there
    again when the path is opened the next time. Where both limits are given, both hold.

    Args:
      episodes: how many episodes to keep; None for no limit.
      steps: how many steps to keep, of all episodes together; None for no limit.
      path: a folder for the episodes; None to keep them in memory.
      info: the names of the infos to keep with the rows; None for all, see `Episode.rows`.
      seed: of what is drawn without a key, not negative.

    Attributes:
      store: the `EpisodeStore`, for every other view, `EpisodeStore.batches` and what else it has.

    >>> import numpy as np, jaxbuffers as jb
    >>> memory = jb.planet.Memory(episodes=100)
    >>> episode = jb.planet.Episode(np.zeros(3, np.float32))
    >>> for t in range(5):
    ...     episode.append(np.float32(0), np.full(3, t, np.float32), float(t), False)
    >>> memory.append(episode)
    0
    >>> steps, lengths = memory.sample(batch_size=8, length=2)
    >>> len(memory), memory.size, steps.observation.shape, steps.action.shape, steps.reward.shape, int(lengths[0])
    (1, 5, (8, 3, 3), (8, 2, 1), (8, 2), 5)
    """

    def __init__(
        self,
        episodes: int | None = None,
        steps: int | None = None,
        *,
        path: str | os.PathLike | None = None,
        info: Iterable[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.episodes = None if episodes is None else positive("episodes", episodes)
        self.steps = None if steps is None else positive("steps", steps)
        self._info = None if info is None else tuple(info)
        self._seed, self._drawn = positive("seed", seed, minimum=0), 0
        self.store = EpisodeStore(path)
        self._sampling = Sampling(self.store)
        self._evict()

    def __len__(self) -> int:
        """How many episodes there are."""
        return len(self.store)

    @property
    def size(self) -> int:
        """How many steps all episodes have."""
        return int((self.store.table()["length"] - 1).sum())

    def append(self, episode: Episode) -> int:
        """Store an episode, which is closed thereby, then let the oldest ones go while there are too many.

        What cannot be stored stays open if it was.

        Returns:
          Its id in the store.

        Raises:
          ConfigurationError: it has more steps than are kept. Nothing is stored.
          IncompleteError: it has no step yet. Nothing is stored.
          StructureError, ShapeError, DtypeError: its rows are not like those of the others. Nothing is stored.
          StoreError: it cannot be written. Nothing is stored, and nothing has left.
        """
        if not isinstance(episode, Episode):
            raise ConfigurationError(f"append() takes a jb.planet.Episode, got a {type(episode).__name__}.")
        if self.steps is not None and episode.size > self.steps:
            raise ConfigurationError(f"the episode has {episode.size} steps, the memory keeps steps={self.steps}.")
        closed = episode.closed
        episode.terminate()
        try:
            number = self.store.add_episode(episode.rows(self._info))
        except BaseException:
            episode.closed = closed
            raise
        self._evict()
        return number

    def __getitem__(self, place: int) -> Episode:
        """Return the episode in a place, 0 for the oldest, -1 for the newest."""
        ids = self.store.table()["id"]
        if not -len(ids) <= place < len(ids):
            raise IndexError(f"episode {place} of {len(ids)}")
        return Episode.from_rows(self.store[int(ids[place])].rows)

    def __iter__(self) -> Iterator[Episode]:
        """Go through the episodes, the oldest first."""
        return (Episode.from_rows(episode.rows) for episode in self.store)

    @transfers
    def sample(
        self,
        batch_size: int,
        length: int,
        time_first: bool = False,
        *,
        replace: bool = True,
        key: jax.Array | None = None,
    ) -> tuple[Steps, jax.Array]:
        """Draw sequences: an episode uniformly among those of ``length`` steps or more, then where it begins.

        Args:
          batch_size: B.
          length: L, steps of a sequence, from 1.
          time_first: put the time axis before that of the batch.
          replace: whether an episode may be drawn several times for one batch.
          key: a PRNG key, consumed; None for the next of the memory's own, which begin anew with every memory.

        Returns:
          `Steps`, and int32 ``[B]``: the steps of the whole episodes from which they come.

        Raises:
          EmptyReplayError: there is no such episode, or without replacement there are fewer than B.
          MissingFieldError: the path is of a store whose rows are not like those of an `Episode`.
        """
        size, steps = positive("batch_size", batch_size), positive("length", length)
        flag("time_first", time_first)
        flag("replace", replace)
        key = self._key() if key is None else key
        check_key(key)
        view = Sequences(steps + 1, "within", time_major=time_first)
        if self.store.spec is not None:
            self.store.spec.require(("obs", "action", "reward", "is_terminal"), "Memory")
        for attempt in range(ATTEMPTS):
            seed = (*seed_of(key), attempt) if attempt else seed_of(key)
            draw = self._draw(view, size, steps, replace, seed)
            try:
                rows = self._sampling.read(view, draw, key).data
                break
            except UnknownEpisodeError:  # another thread has let an episode go between the two: draw others
                if attempt == ATTEMPTS - 1:
                    raise
        return _steps(rows, time_first), jnp.asarray((draw.length - 1).astype(np.int32))

    def sample_episodes(
        self, batch_size: int, max_length: int | None = None, *, key: jax.Array | None = None
    ) -> Padded:
        """Draw whole episodes, with replacement, padded with zeros: to imagine from, or to evaluate on.

        Args:
          batch_size: B.
          max_length: rows of the longest episode (T steps are T + 1 rows), longer ones are not drawn; None for those
            of the longest in the memory. Every number has a program of its own.
          key: a PRNG key, consumed; None for the next of the memory's own.

        Returns:
          What the view `Episodes` reads: rows ``[B, max_length, ...]``, and how many of them each has.
        """
        if max_length is None:
            max_length = int(self.store.table()["length"].max(initial=1))
        view = Episodes(positive("max_length", max_length))
        return self._sampling.sample(view, batch_size, self._key() if key is None else key).data

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Memory({len(self)} episodes, {self.size} steps)"

    def _evict(self) -> None:
        """Let the oldest episodes go, as many as are too many."""
        steps = self.store.table()["length"] - 1
        newer = np.cumsum(steps[::-1])[::-1]  # steps from each episode on
        gone = 0 if self.episodes is None else max(len(steps) - self.episodes, 0)
        if self.steps is not None:
            gone = max(gone, int(np.count_nonzero(newer > self.steps)))
        if gone:
            self.store.evict(gone)

    def _key(self) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(self._seed), self._drawn)
        self._drawn += 1
        return key

    def _draw(self, view: Sequences, size: int, steps: int, replace: bool, seed: tuple[int, ...]) -> WindowDraw:
        """Draw windows; without replacement of different episodes."""
        if replace:
            return self._sampling.draw(view, size, seed, EQUALLY)
        chances = self._sampling.chances(view, EQUALLY)
        count = len(chances.episode)
        if size > count:
            raise EmptyReplayError(
                f"{size} different episodes were asked for; of {len(self)}, {count} have {steps} steps or more."
            )
        random = words((*seed, 0), 1 + size)
        at = in_order(int(random[0]), 0, count, np.arange(size))
        start = chances.kind.start_in(fraction_of(chances.windows[at], random[1:]))
        probability = (1 / count / chances.windows[at]).astype(np.float32)  # of a single draw
        return WindowDraw(chances.episode[at], start, chances.length[at], probability)


def _steps(rows: Any, time_first: bool) -> Steps:
    def before(tree: Any) -> Any:
        return jax.tree.map(lambda x: x[:-1] if time_first else x[:, :-1], tree)

    def after(x: jax.Array) -> jax.Array:
        return x[1:] if time_first else x[:, 1:]

    action = jax.tree.map(lambda x: x[..., None] if x.ndim == 2 else x, before(field(rows, "action")))
    extras = field(rows, "extras", ())
    terminal = extras["terminal"] if isinstance(extras, dict) and "terminal" in extras else field(rows, "is_terminal")
    return Steps(field(rows, "obs"), action, after(field(rows, "reward")), after(terminal))
