"""The rows of one episode out of flat arrays."""

import math
from typing import Any

import jax
import numpy as np

from jaxbuffers.datasets.imported import Pair, narrowed
from jaxbuffers.errors import StructureError
from jaxbuffers.row import Row, paths_of

PAIR = ("observations", "next_observations")


def rows_of(
    used: dict[str, Any], first: int, last: int, terminated: bool, extras: tuple[str, ...], narrow: bool
) -> Pair:
    """Return the rows of entries that are observations, the final one included."""
    cut = {
        name: _cut(name, used[name], first, last + 1, narrow)
        for name in ("observations", "actions", "rewards", *extras)
    }
    rows = _rows(cut["observations"], _zero_last(cut["actions"]), cut["rewards"][:-1], terminated, cut, extras)
    return rows, {"final_observation": True}


def rows_of_steps(
    used: dict[str, Any], first: int, last: int, terminated: bool, extras: tuple[str, ...], narrow: bool
) -> Pair:
    """Return the rows of entries that are steps."""
    if broken := breaks_in(used, first, last):
        raise StructureError(
            f"next_observations[{broken[0]}] is not observations[{broken[0] + 1}], although no 'terminals' and no "
            f"'timeouts' say that an episode ends there. Say breaks='truncate' if one does."
        )

    def cut(name: str) -> Any:
        return _cut(name, used[name], first, last + 1, narrow)

    final = None
    if "next_observations" in used:
        final = _cut("next_observations", used["next_observations"], last, last + 1, narrow)
    some = {name: cut(name) for name in extras}
    return _episode(cut("observations"), cut("actions"), cut("rewards"), final, terminated, some)


def breaks_in(used: dict[str, Any], first: int, last: int) -> list[int]:
    """Return the steps of an episode, but for its last, after which comes another observation than they say."""
    if "next_observations" not in used:
        return []
    obs, after = ({p: x[first : last + 1] for p, x in paths_of(used[name]).items()} for name in PAIR)
    if list(obs) != list(after):
        raise StructureError("'next_observations' has other leaves than 'observations'.")
    found: Any = np.zeros(last - first, np.bool_)
    for path, x in obs.items():
        if x.dtype != after[path].dtype or x.shape != after[path].shape:
            raise StructureError("'next_observations' has another dtype or shape than 'observations'.")
        found = found | (_bytes(x[1:]) != _bytes(after[path][:-1])).any(axis=1)
    return [first + at for at in np.flatnonzero(found).tolist()]


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(len(x), math.prod(x.shape[1:])).view(np.uint8)


def _episode(obs: Any, actions: Any, rewards: np.ndarray, final: Any, terminated: bool, extras: dict[str, Any]) -> Pair:
    known = final is not None
    if not known and not terminated:  # its last observation that is known is the last
        return _rows(obs, actions, rewards[:-1], False, extras, tuple(extras)), {"final_observation": False}
    final = final if known else jax.tree.map(lambda x: x[-1:], obs)
    obs = jax.tree.map(lambda x, y: np.concatenate([x, y]), obs, final)
    padded = {name: jax.tree.map(_with_zero, tree) for name, tree in extras.items()}
    return _rows(obs, jax.tree.map(_with_zero, actions), rewards, terminated, padded, tuple(extras)), {
        "final_observation": known
    }


def _rows(obs: Any, action: Any, rewards: np.ndarray, terminated: bool, cut: dict[str, Any], extras: tuple) -> Row:
    count = len(rewards) + 1
    last = np.arange(count) == count - 1
    return Row(
        obs=obs,
        action=action,
        reward=np.concatenate([np.zeros(1, rewards.dtype), rewards]),
        is_first=np.arange(count) == 0,
        is_last=last,
        is_terminal=last & terminated,
        extras={name: cut[name] for name in extras} if extras else (),
    )


def _cut(name: str, tree: Any, first: int, stop: int, narrow: bool) -> Any:
    return jax.tree.map(lambda x: narrowed(name, x[first:stop], narrow), tree)


def _with_zero(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.zeros_like(x[:1])])


def _zero_last(tree: Any) -> Any:
    return jax.tree.map(lambda x: _with_zero(x[:-1]) if len(x) > 1 else np.zeros_like(x), tree)
