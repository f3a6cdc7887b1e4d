"""What samplers may draw, how likely, and what they remember: sets and dicts of windows."""

import math

import numpy as np


def judge_of(sampler, model):
    """The judge of the same name."""
    from . import judging_several  # noqa: F401  those of samplers made of others

    kinds, found = [Judge], {}
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found[kind.__name__] = kind
    return found.get(type(sampler).__name__, Judge)(sampler, model)


class Judge:
    """Judges the draws of a sampler; this one those of `Uniform`."""

    def __init__(self, sampler, model):
        self.sampler, self.model, self.legal = sampler, model, []
        self.begin()

    def begin(self):
        """Remember what there is to remember of an empty replay."""

    def came(self, completed, legal):
        """Rows have come, which completed these windows, in this order; those are legal now."""
        self.legal = legal
        self.added(completed)

    def added(self, completed):
        """Take note of completed windows, and that others are gone."""

    def used(self, windows, priority, size):
        """A batch of this size has been used; it had no window if it was not valid."""

    def rewritten(self, windows):
        """Rows have new values."""

    def age(self, window):
        return len(self.model.streams[window[0]]) - 1 - window[1]

    def row(self, window):
        return self.model.streams[window[0]][window[1]].row

    def weight(self, window):
        """How likely a legal window is, up to a factor."""
        return 1.0

    def shares(self):
        """How likely each legal window is."""
        weights = {window: self.weight(window) for window in self.legal}
        total = sum(weights.values())
        return {window: weight / total if total else 0.0 for window, weight in weights.items()}

    def can_draw(self, count):
        return any(self.weight(window) > 0 for window in self.legal)

    def drawn(self, windows):
        """How likely each window of a valid draw was; raises if one was impossible. None is a window of others."""
        shares = self.shares() | {None: 1.0}
        assert all(shares.get(window, 0) > 0 for window in windows), "a window that cannot be drawn"
        return [shares[window] for window in windows]

    def facts(self):
        """What the sampler's state must say, by dotted path."""
        return {}


class Prioritized(Judge):
    def begin(self):
        self.weights, self.refused, self.stale = {}, 0, 0
        self.highest = np.float32(1 if self.sampler.initial == "max" else self.sampler.initial)

    def to_weight(self, priority):
        return (float(priority) + self.sampler.eps) ** self.sampler.alpha

    def added(self, completed):
        new = self.to_weight(self.highest)
        self.weights = {window: self.weights.get(window, new) for window in self.legal}

    def used(self, windows, priority, size):
        good = {}
        for window, value in zip(windows, priority.tolist(), strict=True):
            if not 0 <= value < math.inf:
                self.refused += 1
            else:
                good[window] = max(value, good.get(window, 0))
        self.weights |= {window: self.to_weight(value) for window, value in good.items()}
        if self.sampler.initial == "max":
            self.highest = max(self.highest * np.float32(self.sampler.decay), np.float32(max(good.values(), default=0)))

    def weight(self, window):
        return self.weights[window]

    def facts(self):
        return {"refused": self.refused, "stale": 0, "highest": self.highest}


class RankBased(Judge):
    def begin(self):
        self.classes, self.best, self.refused = {}, 0, 0

    def added(self, completed):
        self.classes = {window: self.classes.get(window, self.best) for window in self.legal}

    def used(self, windows, priority, size):
        good = {}
        for window, value in zip(windows, priority.tolist(), strict=True):
            if not 0 <= value < math.inf:
                self.refused += 1
            else:
                half_octave = math.floor(2 * math.log2(min(max(value, 2.0**-24), 1.5 * 2.0**23)))
                good[window] = max(half_octave, good.get(window, -99))
        self.classes |= good
        self.best = max([self.best, *good.values()])

    def weight(self, window):
        above = sum(other > self.classes[window] for other in self.classes.values())
        tied = sum(other == self.classes[window] for other in self.classes.values())
        return sum(rank**-self.sampler.alpha for rank in range(above + 1, above + tied + 1)) / tied

    def facts(self):
        return {"refused": self.refused, "stale": 0}


class Recent(Judge):
    def weight(self, window):
        if self.sampler.horizon is not None:
            return float(self.age(window) < self.sampler.horizon)
        younger = sum(other > window for other in self.legal if other[0] == window[0])
        return 2 ** (-younger / self.sampler.half_life)


class ByEpisode(Judge):
    def weight(self, window):
        def episode(window):
            return window[0], self.model.streams[window[0]][window[1]].episode

        same = sum(episode(other) == episode(window) for other in self.legal)
        return same ** (self.sampler.power - 1)


class Clustered(Judge):
    def begin(self):
        self.refused = 0

    def group(self, window):
        group = int(self.row(window)["extras.group"])
        return group if 0 <= group < self.sampler.groups else None

    def added(self, completed):
        self.refused += sum(self.group(window) is None for window in completed)

    def rewritten(self, windows):
        self.refused += sum(self.group(window) is None for window in {*windows})

    def weight(self, window):
        mine = self.group(window)
        return 0.0 if mine is None else 1 / sum(self.group(other) == mine for other in self.legal)

    def facts(self):
        return {"refused": self.refused}


class Weighted(Judge):
    def weight(self, window):
        mine = [other for other in self.legal if other[0] == window[0]]
        log = self.sampler.fn.twin(self.row(window), self.age(window), mine.index(window), len(mine))
        return math.exp(log) if math.isfinite(log) else 0.0

    def can_draw(self, count):
        return sum(self.weight(window) > 0 for window in self.legal) >= (1 if self.sampler.replace else count)

    def drawn(self, windows):
        own = [window for window in windows if window is not None]
        assert self.sampler.replace or len({*own}) == len(own), "a window drawn twice"
        return super().drawn(windows)


class WithoutReplacement(Judge):
    def begin(self):
        self.seen, self.later = set(), set()

    def added(self, completed):
        self.seen &= {*self.legal}
        self.later = (self.later & {*self.legal}) | {*completed}

    @property
    def to_come(self):
        return [window for window in self.legal if window not in self.seen | self.later]

    def used(self, windows, priority, size):
        windows = [*windows]
        for window in {*windows} & {*self.to_come}:
            windows.remove(window)  # the first of them counts in this epoch
            self.seen.add(window)
        if not self.to_come:
            self.seen, self.later = {*windows}, set()

    def weight(self, window):
        return float(window in self.to_come or not self.to_come)

    def drawn(self, windows):
        left, choice, likely = [*windows], self.to_come or self.legal, []
        while left:
            now, left = left[: len(choice)], left[len(choice) :]
            own = [window for window in now if window is not None]
            assert {*own} <= {*choice}, "a window that is not to come"
            assert len({*own}) == len(own), "a window twice in an epoch"
            likely += [1 / len(choice)] * len(now)
            choice = self.legal
        return likely
