"""What a prioritized sampler must remember: a dict from legal windows to priorities, changed one at a time."""

import numpy as np


class OraclePriorities:
    """The weight of every legal window, ``(priority + eps)**alpha``, in float64.

    Attributes:
      weight: dict from (stream, start) to the weight of that window.
      highest: the priority that new windows get.
      stale: how many priorities came for windows that were gone.
      refused: how many were no number that a priority can be.
    """

    def __init__(self, sampler, leaves):
        self.sampler = sampler
        self.most = 1e38 / (-(-leaves // 16) * 16)
        self.weight = {}
        self.highest = 1.0 if sampler.initial == "max" else sampler.initial
        self.stale = self.refused = 0

    def of(self, priority):
        """The weight that a priority stands for; the exponent is the float32 nearest to alpha."""
        return (np.float64(priority) + self.sampler.eps) ** np.float64(np.float32(self.sampler.alpha))

    def follow(self, legal):
        """Keep the weights of the windows that are still legal; give new ones the initial priority."""
        self.weight = {window: self.weight.get(window, self.of(self.highest)) for window in legal}

    def update(self, windows, priorities):
        """Take priorities; None stands for a window with no row that is known."""
        sent, best = {}, 0.0
        for window, priority in zip(windows, np.asarray(priorities, np.float64).tolist(), strict=True):
            if window is None:
                continue
            if window not in self.weight:
                self.stale += 1
            elif not (0 <= priority < np.inf and self.of(priority) <= self.most):
                self.refused += 1
            else:
                sent[window] = max(sent.get(window, 0.0), self.of(priority))
                best = max(best, priority)
        self.weight |= sent
        if self.sampler.initial == "max":
            self.highest = max(self.highest * self.sampler.decay, best)

    def leaves(self, length, streams, first=0):
        """The weights where the tree must have them: leaf ``slot * E + stream``; row 0 lies in slot ``first``."""
        leaves = np.zeros(length * streams)
        for (stream, start), weight in self.weight.items():
            leaves[(start + first) % length * streams + stream] = weight
        return leaves
