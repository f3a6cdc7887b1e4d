"""What each sampler must do, by plain rules over lists of legal windows: which are how likely, and what it remembers.

Nothing of the library is imported; of a sampler only its configuration is read. A window is a pair (stream, start).
"""

import math

import numpy as np

from oracle.priorities import OraclePriorities


class Follower:
    """Follows the life of a replay; this one does what `Uniform` does."""

    def __init__(self, sampler, length, streams, required):
        self.sampler, self.length, self.streams, self.required = sampler, length, streams, required
        self.legal = []
        self.begin()

    def begin(self):
        """Remember what there is to remember about an empty replay."""

    def follow(self, step):
        """Live through one step."""
        self.legal = step.added
        self.added(step.completed)
        self.legal = step.legal
        self.rewritten(step.rewritten)
        self.used(step.used, step.priority)

    def added(self, completed):
        """Rows have come."""

    def rewritten(self, rows):
        """Numbers of rows have changed."""

    def used(self, windows, priority):
        """A batch has been used."""

    @property
    def windows(self):
        return [place.window for place in self.legal]

    def weight(self, place):
        """How likely a window is, up to a factor."""
        return 1.0

    def shares(self):
        """How likely each legal window is: dict from window to probability; all 0 if none can be drawn."""
        weights = np.array([self.weight(place) for place in self.legal], np.float64)
        total = weights.sum()
        return dict(zip(self.windows, (weights / total if total > 0 else weights).tolist(), strict=True))

    def can_draw(self, count):
        return any(share > 0 for share in self.shares().values())

    def check(self, windows, probability):
        """A valid batch is one that this sampler may draw, and gives the right probabilities."""
        shares = self.shares()
        assert set(windows) <= {window for window, share in shares.items() if share > 0}
        np.testing.assert_allclose(probability, [shares[window] for window in windows], rtol=3e-5)

    def facts(self):
        """What the sampler's state must say: dict from dotted path to value."""
        return {}


class Prioritized(Follower):
    def begin(self):
        self.priorities = OraclePriorities(self.sampler, self.length * self.streams)

    def added(self, completed):
        self.priorities.follow(self.windows)

    def used(self, windows, priority):
        self.priorities.update(windows, priority)

    def weight(self, place):
        return self.priorities.weight[place.window]

    def facts(self):
        return {"stale": self.priorities.stale, "refused": self.priorities.refused}


class RankBased(Follower):
    def begin(self):
        self.octave, self.best, self.stale, self.refused = {}, 0, 0, 0

    @staticmethod
    def half_octave(priority):
        return int(np.clip(np.floor(2 * np.log2(np.float64(max(priority, 1e-30)))), -48, 47))

    def added(self, completed):
        self.octave = {window: self.octave.get(window, self.best) for window in self.windows}

    def used(self, windows, priority):
        sent = {}
        for window, value in zip(windows, priority.tolist(), strict=True):
            if window is None:
                continue
            if window not in self.octave:
                self.stale += 1
            elif not 0 <= value < math.inf:
                self.refused += 1
            else:
                sent[window] = max(sent.get(window, -48), self.half_octave(value))
        self.octave |= sent
        self.best = max([self.best, *sent.values()])

    def weight(self, place):
        mine = self.octave[place.window]
        above = sum(other > mine for other in self.octave.values())
        tied = sum(other == mine for other in self.octave.values())
        return sum(rank**-self.sampler.alpha for rank in range(above + 1, above + tied + 1)) / tied

    def facts(self):
        return {"stale": self.stale, "refused": self.refused}


class Recent(Follower):
    def weight(self, place):
        if self.sampler.horizon is not None:
            return float(place.age < self.sampler.horizon)
        return 2.0 ** (-(place.count - 1 - place.rank) / self.sampler.half_life)


class ByEpisode(Follower):
    def weight(self, place):
        count = sum((p.window[0], p.episode) == (place.window[0], place.episode) for p in self.legal)
        return count**self.sampler.power / count


class WithoutReplacement(Follower):
    def begin(self):
        self.to_come, self.waiting = set(), set()

    def added(self, completed):
        legal = set(self.windows)
        self.to_come, self.waiting = self.to_come & legal, (self.waiting & legal) | set(completed)

    def used(self, windows, priority):
        left = [window for window in windows if window in self.to_come | self.waiting]
        for window in {*left} & self.to_come:
            left.remove(window)
            self.to_come.discard(window)
            self.waiting.add(window)
        if not self.to_come:  # the epoch is over, and what is left of the batch belongs to the next
            self.to_come, self.waiting = self.waiting - {*left}, self.waiting & {*left}

    def weight(self, place):
        return float(place.window in self.to_come or not self.to_come)

    def check(self, windows, probability):
        left, everything = len(self.to_come), len(self.legal)
        passes = [windows[:left], *(windows[i : i + everything] for i in range(left, len(windows), everything))]
        assert set(passes[0]) <= self.to_come
        for one in passes:
            assert len(set(one)) == len(one)
            assert set(one) <= set(self.windows)
        want = [1 / (left if i < left else everything) for i in range(len(windows))]
        np.testing.assert_allclose(probability, want, rtol=1e-6)


class Weighted(Follower):
    def weight(self, place):
        logit = self.sampler.fn.twin(place)
        return math.exp(logit) if math.isfinite(logit) else 0.0

    def can_draw(self, count):
        positive = sum(share > 0 for share in self.shares().values())
        return positive >= (1 if self.sampler.replace else count)

    def check(self, windows, probability):
        super().check(windows, probability)
        assert self.sampler.replace or len(set(windows)) == len(windows)


class Clustered(Follower):
    def begin(self):
        self.refused = 0

    def group(self, place):
        """The stored number, or what the twin of a function makes of it."""
        return place.group if isinstance(self.sampler.by, str) else self.sampler.by.twin(place.group)

    def known(self, place):
        return 0 <= self.group(place) < self.sampler.groups

    def added(self, completed):
        self.refused += sum(place.window in completed and not self.known(place) for place in self.legal)

    def rewritten(self, rows):
        self.refused += sum(place.window in rows and not self.known(place) for place in self.legal)

    def weight(self, place):
        return 1 / sum(self.group(p) == self.group(place) for p in self.legal) if self.known(place) else 0.0

    def facts(self):
        return {"refused": self.refused}


def follower_of(sampler, length, streams, required):
    """The follower of the same name."""
    import oracle.wrapping  # noqa: F401  those of samplers made of others

    kinds = {"Uniform": Follower} | {kind.__name__: kind for kind in _every(Follower)}
    return kinds[type(sampler).__name__](sampler, length, streams, required)


def _every(kind):
    return [kind, *(sub for child in kind.__subclasses__() for sub in _every(child))]
