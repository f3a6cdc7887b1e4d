"""The oracle: PlaNet's memory as lists, and episodes of which every number says where it comes from."""

import numpy as np

import jaxbuffers as jb


def observation(number, t):
    return {"place": np.array([number, t], np.int32), "image": np.full((2, 2), (7 * number + t) % 256, np.uint8)}


def action(number, t):
    return np.float32(100 * number + t)


def reward(number, t):
    return float(number + t / 8)


def terminal(number, t):
    return (number + t) % 3 == 0  # in the middle, too


def episode(number, steps, info=False):
    made = jb.planet.Episode(observation(number, 0))
    for t in range(steps):
        more = {"pair": np.array([number, t], np.int32)} if info else None
        made.append(action(number, t), observation(number, t + 1), reward(number, t), terminal(number, t), more)
    return made


class ListMemory:
    """What is kept: pairs of an episode's number and its steps, the oldest first."""

    def __init__(self, episodes, steps):
        self.limits, self.kept = (episodes, steps), []

    @property
    def size(self):
        return sum(steps for _, steps in self.kept)

    def append(self, number, steps):
        most, total = self.limits
        if total is not None and steps > total:
            return False
        self.kept.append((number, steps))
        while (most is not None and len(self.kept) > most) or (total is not None and self.size > total):
            self.kept.pop(0)
        return True

    def windows(self, length):
        """Every sequence that can be drawn, and its probability."""
        long = [(number, steps) for number, steps in self.kept if steps >= length]
        return {
            (number, start): 1 / len(long) / (steps - length + 1)
            for number, steps in long
            for start in range(steps - length + 1)
        }
