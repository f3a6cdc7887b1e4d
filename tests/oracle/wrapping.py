"""What samplers made of other samplers must do."""

import math

import numpy as np

from oracle.samplers import Follower, follower_of


class Wrapping(Follower):
    """A sampler made of others: tells them everything."""

    def begin(self):
        self.parts = [follower_of(part, self.length, self.streams, self.required) for part in self.inner()]

    def inner(self):
        return self.sampler.samplers

    def follow(self, step):
        super().follow(step)
        for part in self.parts:
            part.follow(step)


class Mix(Wrapping):
    def sizes(self, count):
        """Parts of a batch, by the largest remainder."""
        exact = [fraction * count for fraction, _ in self.sampler.parts]
        sizes = [math.floor(size + 1e-6) for size in exact]
        for _ in range(count - sum(sizes)):
            sizes[int(np.argmax(np.round(np.subtract(exact, sizes), 6)))] += 1
        return sizes

    def mixture(self, fractions):
        shares = [part.shares() for part in self.parts]
        return {w: sum(f * share[w] for f, share in zip(fractions, shares, strict=True)) for w in self.windows}

    def shares(self):
        return self.mixture([fraction for fraction, _ in self.sampler.parts])

    def can_draw(self, count):
        return all(part.can_draw(size) for part, size in zip(self.parts, self.sizes(count), strict=True) if size)

    def check(self, windows, probability):
        sizes = self.sizes(len(windows))
        ends = np.cumsum([0, *sizes])
        for part, begin, end in zip(self.parts, ends[:-1], ends[1:], strict=True):
            shares = part.shares()
            assert all(shares[window] > 0 for window in windows[begin:end])
        shares = self.mixture(np.divide(sizes, len(windows)))
        np.testing.assert_allclose(probability, [shares[window] for window in windows], rtol=3e-5)

    def facts(self):
        return {f"{i}.{path}": fact for i, part in enumerate(self.parts) for path, fact in part.facts().items()}


class OnlineFirst(Wrapping):
    def inner(self):
        return [self.sampler.then]

    def begin(self):
        super().begin()
        self.queue, self.free, self.missed = [], [0] * self.streams, 0
        self.room = self.streams * (-(-self.length // self.required) + 1)

    def added(self, completed):
        for stream, start in completed:
            if start >= self.free[stream]:
                self.queue.append((stream, start))
                self.free[stream] = start + self.required
        self.missed += max(len(self.queue) - self.room, 0)
        self.queue = self.queue[-self.room :]

    def used(self, windows, priority):
        for window in self.queue[: len(windows)]:
            if window in self.windows and window not in windows:
                break
            self.missed += window not in windows
            self.queue.remove(window)

    def front(self, count):
        return [window for window in self.queue[:count] if window in self.windows]

    def can_draw(self, count):
        return len(self.front(count)) == count or self.parts[0].can_draw(count)

    def check(self, windows, probability):
        front = self.front(len(windows))
        assert windows[: len(front)] == front
        np.testing.assert_array_equal(probability[: len(front)], np.ones(len(front)))
        Follower.check(self.parts[0], windows[len(front) :], probability[len(front) :])

    def facts(self):
        then = {f"inner.{path}": fact for path, fact in self.parts[0].facts().items()}
        return {"missed": self.missed, "queued": len(self.queue), **then}


class Counted(Wrapping):
    def inner(self):
        return [self.sampler.sampler]

    def begin(self):
        super().begin()
        self.uses = {}

    def added(self, completed):
        self.uses = {window: self.uses.get(window, 0) for window in self.windows}

    def used(self, windows, priority):
        for window in windows:
            if window in self.uses:
                self.uses[window] += 1

    def shares(self):
        return self.parts[0].shares()

    def can_draw(self, count):
        return self.parts[0].can_draw(count)

    def check(self, windows, probability):
        self.parts[0].check(windows, probability)

    def facts(self):
        table = np.full(self.length * self.streams, -1)
        for (stream, start), uses in self.uses.items():
            table[start % self.length * self.streams + stream] = uses
        return {"uses": table, **{f"inner.{path}": fact for path, fact in self.parts[0].facts().items()}}
