"""The half of examples/actors.py that acts: NumPy and Gymnasium alone, so that its processes are small."""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import gymnasium
import numpy as np

Weights = dict[str, Any]  # arrays of NumPy in an actor, of JAX in the learner


def values(weights: Weights, obs: Any) -> Any:
    """Map observations [..., D] to the values of actions [..., A]: of NumPy or of JAX, whatever they are."""
    x = obs
    for i in range(2):
        x = x @ weights[f"kernel{i}"] + weights[f"bias{i}"]
        x = x * (x > 0)
    advantage = x @ weights["advantage"]  # of each action, beside what the state is worth
    return x @ weights["state"] + advantage - advantage.mean(-1, keepdims=True)


class Actor:
    """Plays one environment, and gives rows for `jb.Inbox.put`: the alignment is that of `jb.Recorder`."""

    def __init__(self, env: str, seed: int) -> None:
        self.env, self.random = gymnasium.make(env), np.random.default_rng(seed)
        self.weights: Weights = {}
        self.epsilon = 1.0
        self.scores: list[float] = []
        self.rows = self.play()

    def pid(self) -> int:
        """Say in which process it is."""
        return os.getpid()

    def collect(self, weights: Weights, epsilon: float, number: int, afresh: bool) -> tuple[dict, list[float]]:
        """Play on for a number of rows, or afresh from a new episode; also return the scores of those that ended."""
        self.weights, self.epsilon, self.scores = weights, epsilon, []
        if afresh:
            self.rows = self.play()
        names = ("obs", "action", "reward", "is_first", "is_last", "is_terminal")
        columns = zip(*islice(self.rows, number), strict=True)
        return {name: np.stack(column) for name, column in zip(names, columns, strict=True)}, self.scores

    def act(self, obs: np.ndarray) -> np.int32:
        """Choose the best action, with probability epsilon any."""
        if self.random.random() < self.epsilon:
            return np.int32(self.random.integers(self.env.action_space.n))
        return np.int32(values(self.weights, obs).argmax())

    def play(self) -> Iterator[tuple]:
        """Yield row after row, without end."""
        no, yes = np.False_, np.True_
        while True:
            obs, _ = self.env.reset(seed=int(self.random.integers(2**31)))
            reward, first, score = np.float32(0), yes, 0.0
            while True:
                action = self.act(obs)
                yield obs, action, reward, first, no, no
                obs, earned, terminated, truncated, _ = self.env.step(action)
                reward, first, score = np.float32(earned), no, score + float(earned)
                if terminated or truncated:
                    break
            self.scores.append(score)
            yield obs, np.int32(0), reward, no, yes, np.bool_(terminated)
