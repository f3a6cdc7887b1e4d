"""How the transitions of an expert are kept as rows: as those of whole trajectories, or each by itself."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from jaxbuffers.host.steps import FEATURES, TEXTS, Features, Step
from jaxbuffers.onpolicy import returns
from jaxbuffers.row import Row, text
from jaxbuffers.views import Items, Transition, Transitions, View


@dataclass(frozen=True)
class Trajectories:
    """T transitions are T + 1 rows: what comes next is read from the next row, so each observation is stored once."""

    features: Features
    gamma: float
    view: ClassVar[View] = Transitions(n_step=1, gamma=1.0)
    more: ClassVar[int] = 1  # how many rows there are besides one for each transition

    @property
    def row(self) -> Row:
        """What one row holds."""
        features = {} if self.features is None else {"image_features": self.features}
        flags = dict.fromkeys(("is_first", "is_last", "is_terminal"), np.bool_)
        extras = {"mc_return": np.float32}
        return Row(obs={"observation": text, **features}, action=text, reward=np.float32, **flags, extras=extras)

    def rows(self, steps: list[Step], size: int) -> Row:
        """Return the rows of one trajectory, leaves ``[size, ...]``; those after the first T + 1 are padding."""
        length, last, place = len(steps), steps[-1], np.arange(size)
        reward = np.array(_column(steps, "reward", size, 0), np.float32)
        if "mc_return" in last:
            value = np.array(_column(steps, "mc_return", size, 0), np.float32)
        else:
            ends = place == length - 1
            value = np.array(_mc_returns(reward, ends & last["done"], ends & (not last["done"]), self.gamma))
            value[length:] = 0
        obs: dict[str, Any] = {"observation": _column(steps, "observation", size, last["next_observation"])}
        if self.features is not None:
            obs["image_features"] = np.stack(_column(steps, "image_features", size, last["next_image_features"]))
        return Row(
            obs=obs,
            action=_column(steps, "action", size, None),
            reward=np.concatenate([np.zeros(1, np.float32), reward[:-1]]),
            is_first=place == 0,
            is_last=place == length,
            is_terminal=(place == length) & last["done"],
            extras={"mc_return": value},
        )

    @staticmethod
    def fields(step: Transition) -> dict[str, Any]:
        """Return what the view reads by the names that were inserted."""
        found = {
            "observation": step.obs["observation"],
            "action": step.action,
            "reward": step.reward,
            "next_observation": step.next_obs["observation"],
            "done": step.discount == 0,
            "mc_return": step.extras["mc_return"],
        }
        if "image_features" in step.obs:
            found["image_features"] = step.obs["image_features"]
            found["next_image_features"] = step.next_obs["image_features"]
        return found


@dataclass(frozen=True)
class Independent:
    """A transition is one row that holds all of it, what comes next included."""

    features: Features
    view: ClassVar[View] = Items()
    more: ClassVar[int] = 0

    @property
    def row(self) -> dict[str, Any]:
        """What one row holds."""
        features = {} if self.features is None else dict.fromkeys(FEATURES, self.features)
        numbers = {"reward": np.float32, "done": np.bool_, "mc_return": np.float32}
        return dict.fromkeys(TEXTS, text) | features | numbers

    def rows(self, steps: list[Step], size: int) -> dict[str, Any]:
        """Return the rows of some transitions, leaves ``[size, ...]``; those after the first T are padding."""
        columns = {name: _column(steps, name, size, steps[-1][name]) for name in self.row}
        return {name: column if name in TEXTS else np.stack(column) for name, column in columns.items()}

    @staticmethod
    def fields(row: dict[str, Any]) -> dict[str, Any]:
        """Return what the view reads by the names that were inserted."""
        return row


def _column(steps: list[Step], name: str, size: int, fill: Any) -> list[Any]:
    return [*(step[name] for step in steps), *[fill] * (size - len(steps))]


_mc_returns = jax.jit(returns.mc_returns, static_argnums=3)
