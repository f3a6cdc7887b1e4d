"""StoreSteps: batch after batch by its number, the same whoever reads it."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.episodes.laws import Law, ShuffledEpochs, UniformWindows
from jaxbuffers.episodes.random_words import words
from jaxbuffers.episodes.shares import fractions_of, shares
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.loading.raw import RawBatch
from jaxbuffers.loading.source import Source
from jaxbuffers.views import View

ENDLESS = 2**31 - 1


class StoreSteps(Source):
    """Batches of one or several stores, as they are now: item k is the `RawBatch` of step k, whoever reads it.

    So the order is that of the seed whatever the number of workers, every batch mixes all episodes, and where to go on
    is one number. With ``law=ShuffledEpochs()`` every window comes once an epoch. Of one store the batches are those
    of `EpisodeStore.batches` with this seed and law.

    Args:
      stores: an `EpisodeStore`, ``store.select(fields)``, the path of a store, or a sequence of such, of equal rows.
      view: what a window is.
      batch_size: B.
      seed: of all draws, not negative.
      law: how likely windows are, for each store; by default all equally, `UniformWindows`.
      where: which episodes, as in `EpisodeStore.sample`; for several stores a list, or one function.
      fractions: for several stores, which part of each batch comes from each; they add up to 1. What does not divide is
        rounded at random, so that the mean is exact; with `ShuffledEpochs` it must divide.
      steps: how many batches; None for `ENDLESS` ones.

    Raises:
      EmptyReplayError: a store has no legal window.
      StructureError: the stores have different rows, or texts.

    >>> import numpy as np, jaxbuffers as jb
    >>> from jaxbuffers.episodes import ShuffledEpochs
    >>> store = jb.EpisodeStore()
    >>> ids = [store.add_episode({"x": np.arange(n, dtype=np.int32)}) for n in (3, 5)]
    >>> steps = jb.loading.StoreSteps(store, jb.Items(), batch_size=4, law=ShuffledEpochs(), steps=2)
    >>> sorted(x for step in range(2) for x in steps.read(steps[step]).data["x"].tolist())
    [0, 0, 1, 1, 2, 2, 3, 4]
    """

    def __init__(
        self,
        stores: Any,
        view: View,
        batch_size: int,
        *,
        seed: int = 0,
        law: Law | None = None,
        where: Any = None,
        fractions: Sequence[float | Fraction] | None = None,
        steps: int | None = None,
    ) -> None:
        self.law = UniformWindows() if law is None else law
        super().__init__(stores, view, self.law, where)
        self.batch_size, self.seed = positive("batch_size", batch_size), positive("seed", seed, minimum=0)
        self.steps = ENDLESS if steps is None else positive("steps", steps)
        if fractions is None and len(self.parts) > 1:
            raise ConfigurationError(
                f"say which part of a batch each store gives: fractions=, {len(self.parts)} of them."
            )
        self.fractions = fractions_of([Fraction(1)] if fractions is None else list(fractions))
        if len(self.fractions) != len(self.parts):
            raise ConfigurationError(f"there are {len(self.parts)} stores and {len(self.fractions)} fractions.")
        wholes = all((part * self.batch_size).denominator == 1 for part in self.fractions)
        if isinstance(self.law, ShuffledEpochs) and not wholes:
            raise ConfigurationError(
                f"with ShuffledEpochs a store gives the same number of windows to every batch: batch_size={batch_size} "
                f"must be a multiple of the denominators of {', '.join(map(str, self.fractions))}."
            )

    def __len__(self) -> int:
        """How many batches there are."""
        return self.steps

    def __getitem__(self, step: int) -> RawBatch:
        """Read the rows around the windows of one batch."""
        if not isinstance(step, int | np.integer) or not -self.steps <= step < self.steps:
            raise IndexError(f"step {step!r} of {self.steps}")
        number = int(step) % self.steps
        key = np.random.SeedSequence([self.seed, number]).generate_state(2).tolist()
        several = len(self.parts) > 1
        counts = shares(self.fractions, self.batch_size, int(words((*key, 1), 1)[0])) if several else [self.batch_size]
        draws = []
        for i, (part, count) in enumerate(zip(self.parts, counts, strict=True)):
            if count:
                law, chances = self.law, part.known()
                if isinstance(law, ShuffledEpochs):
                    law = law.among(chances.total).after(chances.total, number * count)
                draw = chances.draw(law, (*key, 2, i) if several else tuple(key), count)
                share = np.float32(self.fractions[i])
                draws.append((i, replace(draw, probability=draw.probability * share) if several else draw))
        return self._raw(draws, (self.seed, number))
