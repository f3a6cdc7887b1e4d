"""What samplers made of others may draw and remember."""

import math

import numpy as np

from .drawing import Judge, judge_of


class Several(Judge):
    """Tells the judges of all its samplers everything."""

    def begin(self):
        self.judges = [judge_of(sampler, self.model) for sampler in self.inner()]

    def came(self, completed, legal):
        super().came(completed, legal)
        for judge in self.judges:
            judge.came(completed, legal)

    def used(self, windows, priority, size):
        for judge in self.judges:
            judge.used(windows, priority, size)

    def rewritten(self, windows):
        for judge in self.judges:
            judge.rewritten(windows)

    def inside(self, *names):
        """The facts of the inner samplers, each under its name."""
        return {
            f"{name}.{path}": fact
            for name, judge in zip(names, self.judges, strict=True)
            for path, fact in judge.facts().items()
        }


class Mix(Several):
    def inner(self):
        return [sampler for _, sampler in self.sampler.parts]

    def sizes(self, count):
        """Whole parts first, then one more to each in the order of what is left of them."""
        exact = [fraction * count for fraction, _ in self.sampler.parts]
        whole = [math.floor(size + 1e-6) for size in exact]
        order = sorted(range(len(exact)), key=lambda i: -round(exact[i] - whole[i], 6))
        return [size + (i in order[: count - sum(whole)]) for i, size in enumerate(whole)]

    def shares(self):
        each = [judge.shares() for judge in self.judges]
        fractions = [fraction for fraction, _ in self.sampler.parts]
        return {w: sum(f * shares[w] for f, shares in zip(fractions, each, strict=True)) for w in self.legal}

    def can_draw(self, count):
        return all(judge.can_draw(n) for judge, n in zip(self.judges, self.sizes(count), strict=True) if n)

    def drawn(self, windows):
        sizes, shares, likely = self.sizes(len(windows)), [judge.shares() for judge in self.judges], []
        for part, (end, size) in enumerate(zip(np.cumsum(sizes), sizes, strict=True)):
            mine = windows[end - size : end]
            for window, own in zip(mine, self.judges[part].drawn(mine) if mine else [], strict=True):
                # What its part said of it, and what the others would have.
                each = [own if i == part else share.get(window, 0) for i, share in enumerate(shares)]
                likely.append(sum(n * one for n, one in zip(sizes, each, strict=True)) / len(windows))
        return likely

    def facts(self):
        return self.inside(*map(str, range(len(self.judges))))


class OnlineFirst(Several):
    def inner(self):
        return [self.sampler.then]

    def begin(self):
        super().begin()
        core = self.model.view.core
        fixed = {"Items": 1, "Transitions": 2, "Episodes": 1}.get(self.model.view.kind)
        self.required = fixed or (1 if core.episodes == "pad" else core.length)
        self.queue, self.last, self.missed = [], {}, 0

    def added(self, completed):
        for stream, start in completed:
            if start >= self.last.get(stream, -self.required) + self.required:
                self.queue.append((stream, start))
                self.last[stream] = start
        room = len(self.model.streams) * (math.ceil(self.model.length / self.required) + 1)
        self.missed += max(len(self.queue) - room, 0)
        self.queue = self.queue[-room:]

    def front(self, count):
        return [window for window in self.queue[:count] if window in self.legal]

    def can_draw(self, count):
        return len(self.front(count)) == count or self.judges[0].can_draw(count)

    def drawn(self, windows):
        front = self.front(len(windows))
        assert windows[: len(front)] == front, "new windows do not come first"
        if len(front) == len(windows):
            return [1.0] * len(front)
        then = self.judges[0].drawn([None] * len(front) + windows[len(front) :])
        return [1.0] * len(front) + then[len(front) :]

    def used(self, windows, priority, size):
        super().used(windows, priority, size)
        for window in self.queue[:size]:
            if window in self.legal and window not in windows:
                break
            self.missed += window not in windows
            self.queue.remove(window)

    def facts(self):
        return {"queued": len(self.queue), "missed": self.missed, **self.inside("inner")}


class Counted(Several):
    def inner(self):
        return [self.sampler.sampler]

    def begin(self):
        super().begin()
        self.uses = {}

    def added(self, completed):
        self.uses = {window: self.uses.get(window, 0) for window in self.legal}

    def used(self, windows, priority, size):
        super().used(windows, priority, size)
        for window in windows:
            self.uses[window] += 1

    def shares(self):
        return self.judges[0].shares()

    def can_draw(self, count):
        return self.judges[0].can_draw(count)

    def drawn(self, windows):
        return self.judges[0].drawn(windows)

    def facts(self):
        return {"uses": self.uses, **self.inside("inner")}
