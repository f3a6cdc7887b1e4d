"""How the states of all shards are one: laid one after the other along the first axis of each array.

A new axis of shards would be a reshape in every verb, and XLA for CPU then lays rings out anew, which copies them
(``docs/decisions/0017-sharded.md``). So what a shard has is its local state as it is, but for numbers without an axis:
of these there is an array with one for each shard.
"""

from functools import lru_cache
from typing import TypeVar

import jax
from jax import lax

from jaxbuffers.errors import debug_checks
from jaxbuffers.replay import Replay
from jaxbuffers.row import RowSpec, row_of
from jaxbuffers.state import ReplayState

Tree = TypeVar("Tree")


def stacked(local: Tree) -> Tree:
    """Return the part of a stacked state that a local one is."""
    return jax.tree.map(lambda x: x if x.ndim else lax.expand_dims(x, (0,)), local)


def unstacked(replay: Replay, part: ReplayState) -> ReplayState:
    """Return the local state that the part of a shard is."""
    leaves, treedef = jax.tree.flatten(part)
    numbers = _numbers(replay, part.spec)
    if len(leaves) != len(numbers):  # that of another configuration, which the verb will refuse
        return part
    kept = [lax.squeeze(x, (0,)) if one else x for x, one in zip(leaves, numbers, strict=True)]
    state: ReplayState = jax.tree.unflatten(treedef, kept)
    return state


def listed(local: Tree) -> Tree:
    """Return a tree in which every array has a first axis of shards."""
    return jax.tree.map(lambda x: lax.expand_dims(x, (0,)), local)


@lru_cache(maxsize=64)
@debug_checks(False)
def _numbers(replay: Replay, spec: RowSpec) -> tuple[bool, ...]:
    """Say which leaves of a local state have no axis."""
    state = jax.eval_shape(lambda: replay.init(row_of(spec)))
    return tuple(leaf.ndim == 0 for leaf in jax.tree.leaves(state))
