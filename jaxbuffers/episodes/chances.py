"""How likely each window of a store is, in integers: what is drawn and what is reported is the same number."""

from dataclasses import dataclass

import numpy as np

from jaxbuffers.episodes.epoch_order import in_order
from jaxbuffers.episodes.laws import Law, ShuffledEpochs
from jaxbuffers.episodes.random_words import fraction_of, words
from jaxbuffers.episodes.window_draw import WindowDraw
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.windows.base import Windows

SCALE = 2.0**62  # the sum of weights that were floats


@dataclass(frozen=True)
class Chances:
    """What a law makes of a store at one moment.

    Attributes:
      episode: int64 ``[n]``, the ids of the episodes that can be drawn.
      length: int64 ``[n]``, their rows.
      windows: int64 ``[n]``, the legal windows of each, one or more.
      weight: int64 ``[n]``, how likely they are, in proportion; above 0.
      ends: int64 ``[n]``, the sums of the weights up to each of them.
      kind: where the windows of an episode begin.
    """

    episode: np.ndarray
    length: np.ndarray
    windows: np.ndarray
    weight: np.ndarray
    ends: np.ndarray
    kind: Windows

    @classmethod
    def of(
        cls, episode: np.ndarray, length: np.ndarray, windows: np.ndarray, weight: np.ndarray, kind: Windows
    ) -> "Chances":
        """Return those of episodes with such weights, without those that cannot be drawn."""
        if not windows.all():
            weight = np.where(windows > 0, weight, 0)
        whole = exactly(weight)
        if not whole.all():
            some = whole > 0
            episode, length, windows, whole = episode[some], length[some], windows[some], whole[some]
        return cls(episode, length, windows, whole, np.cumsum(whole), kind)

    @property
    def total(self) -> int:
        """The sum of the weights; 0 if there is nothing to draw."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def draw(self, law: Law, seed: tuple[int, ...], batch_size: int) -> WindowDraw:
        """Draw windows; there is something to draw."""
        if isinstance(law, ShuffledEpochs):
            return self._in_order(law.among(self.total), batch_size)
        random = words(seed, 2 * batch_size)
        mass = fraction_of(np.full(batch_size, self.total), random[:batch_size])
        at = np.searchsorted(self.ends, mass, side="right")
        rank = fraction_of(self.windows[at], random[batch_size:])
        return self._windows(at, rank, self.weight[at] / self.total / self.windows[at])

    def _in_order(self, law: ShuffledEpochs, batch_size: int) -> WindowDraw:
        """Each weight is a number of windows here, so that all are numbered from 0 to the total."""
        epochs, place = np.divmod(law.place + np.arange(batch_size), self.total)
        number = np.empty(batch_size, np.int64)
        for passed in np.unique(epochs).tolist():
            some = epochs == passed
            number[some] = in_order(law.seed, law.epoch + passed, self.total, place[some])
        at = np.searchsorted(self.ends, number, side="right")
        rank = number - (self.ends[at] - self.weight[at])
        return self._windows(at, rank, 1 / np.where(epochs == 0, self.total - law.place, self.total))

    def _windows(self, at: np.ndarray, rank: np.ndarray, probability: np.ndarray) -> WindowDraw:
        start = self.kind.start_in(rank)
        return WindowDraw(self.episode[at], start, self.length[at], probability.astype(np.float32))


def exactly(weight: np.ndarray) -> np.ndarray:
    """Return weights as integers whose sum is below 2**63: as they are, or floats in proportion, the least at least 1.

    Raises:
      ConfigurationError: a weight is NaN, infinite or negative.
    """
    if not len(weight) or not (weight.min() >= 0 and weight.max() < np.inf):
        bad = ~((weight >= 0) & (weight < np.inf))
        if bad.any():
            raise ConfigurationError(f"weights of episodes must be finite and not negative, got {weight[bad][:3]}.")
    if weight.dtype.kind in "iu" and np.sum(weight, dtype=np.float64) < SCALE:
        return weight.astype(np.int64, copy=False)
    if not weight.any():
        return np.zeros(len(weight), np.int64)
    share = np.float64(weight) / np.max(weight)  # first, as a sum could be infinite
    scaled = np.floor(share * (SCALE / np.cumsum(share)[-1]))
    return np.where(weight > 0, np.maximum(scaled, 1), 0).astype(np.int64)
