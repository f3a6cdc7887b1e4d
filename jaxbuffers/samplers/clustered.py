"""Clustered: groups of windows at equal rates, however many windows each has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Draw, Index
from jaxbuffers.checks import positive, settle
from jaxbuffers.errors import ConfigurationError, DtypeError, MissingFieldError, ShapeError, check
from jaxbuffers.numerics import count_tree
from jaxbuffers.numerics.materialize import materialize
from jaxbuffers.numerics.random_bits import bits64, fraction_of
from jaxbuffers.row import RowSpec, paths_of, show
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.samplers.bookkeeping import living, only_where, turned_over
from jaxbuffers.states.naming import written
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal


@struct.dataclass
class ClusteredState:
    """Which group each legal window is in.

    Attributes:
      tree: the legal windows by group; a window of no group is in the last one, which is not drawn.
      refused: int32 ``[]``, how many times a window's group was not a number from 0 to ``groups - 1``.
    """

    tree: count_tree.CountTree
    refused: jax.Array

    def stats(self) -> dict[str, jax.Array]:
        """How many windows each group has, and how many were refused."""
        return {"groups": count_tree.sizes(self.tree), "refused": self.refused}


@dataclass(frozen=True, repr=False)
class Clustered(Sampler[ClusteredState]):
    """Draw a group, each of those that have a legal window with the same probability, then a window of it uniformly.

    The group of a window is a stored value of its first required row: successful and failed
    trajectories, or high and low returns, then come equally often, however rare one of them is.
    Where the value is written back later (``replay.update(rows=...)``, when a return becomes known)
    the window changes its group. A number that is not a group keeps the window from being drawn
    and is counted in ``state.sampler.refused``. O(log(rows)) a window.

    Args:
      by: the dotted name of an int32 scalar field, such as ``"extras.group"``; or a function from
        rows, leaves ``[K, ...]``, to int32 ``[K]``. Configurations with the same function are equal;
        define it once, at the top of a module.
      groups: G, how many groups there are; the numbers are 0 to G - 1.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=100, num_envs=None, batch_size=1000, sampler=jb.Clustered("group", groups=2))
    >>> state = replay.init({"group": jnp.int32(0)})
    >>> rows = {"group": (jnp.arange(100) == 7).astype(jnp.int32)}  # one of a hundred
    >>> batch = jax.jit(replay.sample)(jax.jit(replay.add)(state, rows), jax.random.key(0))
    >>> 450 < int(batch.data["group"].sum()) < 550
    True
    """

    by: str | Callable[[Any], jax.Array]
    groups: int

    def __post_init__(self) -> None:
        settle(self, groups=positive("groups", self.groups))
        if not isinstance(self.by, str) and not callable(self.by):
            raise ConfigurationError(f"by must be the name of a field or a function of rows, got {self.by!r}.")

    def __repr__(self) -> str:
        return written(self)

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        """The top-level field that holds the group, if it is named."""
        return (self.by.split(".")[0],) if isinstance(self.by, str) else ()

    @override
    def check(self, spec: RowSpec) -> None:
        """Raise unless the named field is one int32."""
        super().check(spec)
        if not isinstance(self.by, str):
            return
        path = tuple(self.by.split("."))
        if path not in spec.paths:
            raise MissingFieldError(f"Clustered() needs {show(path)}; the row has {', '.join(map(show, spec.paths))}.")
        place = spec.paths.index(path)
        if spec.dtypes[place] != np.int32:
            raise DtypeError(f"Clustered() needs {show(path)} to be int32; it is {spec.dtypes[place]}.")
        if spec.shapes[place]:
            raise ShapeError(f"Clustered() needs {show(path)} to be a scalar; it has shape {spec.shapes[place]}.")

    @override
    def init(self, windows: Windows) -> ClusteredState:
        leaves = windows.length * windows.num_streams
        return ClusteredState(count_tree.init(leaves, self.groups + 1), jnp.zeros((), jnp.int32))

    @override
    def add(self, state: ClusteredState, legal: Legal, added: Added, turnover: Turnover) -> ClusteredState:
        """Expired windows leave, completed ones join their group."""
        gone, new = turned_over(legal, added, turnover)
        to, bad = self._groups(legal, new)
        tree, counted = count_tree.turn_over(state.tree, gone, new, to)
        return _moved(state, tree, counted & bad)

    @override
    def rewritten(self, state: ClusteredState, legal: Legal, index: Index) -> ClusteredState:
        """Windows that begin at rows with a new value change their group."""
        leaf = living(legal, Index(index.stream.reshape(-1), index.time.reshape(-1)))
        leaf = only_where(count_tree.group_at(state.tree, leaf) >= 0, leaf)
        to, bad = self._groups(legal, leaf)
        tree, counted = count_tree.move(state.tree, leaf, to)
        return _moved(state, tree, counted & bad)

    @override
    def can_draw(self, state: ClusteredState, legal: Legal, batch_size: int) -> jax.Array:
        """Whether any group has a window."""
        return jnp.any(count_tree.sizes(state.tree)[: self.groups] > 0)

    @override
    def draw(self, state: ClusteredState, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        sizes = count_tree.sizes(state.tree)[: self.groups]
        used = jnp.sum(sizes > 0, dtype=jnp.int32)
        high, low = bits64(key, 2 * batch_size)
        nth = fraction_of(used, high[:batch_size], low[:batch_size])
        group = jnp.sum(nth[:, None] >= jnp.cumsum(sizes > 0, dtype=jnp.int32)[None, :-1], axis=1, dtype=jnp.int32)
        size = sizes[group]
        leaf = count_tree.find(state.tree, group, fraction_of(size, high[batch_size:], low[batch_size:]))
        stream, start = legal.window_at(leaf)
        return Draw.of(stream, start, _share(used, size), used > 0)

    @override
    def probability(self, state: ClusteredState, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return 1 / (groups with a window) / (windows of its group)."""
        sizes = count_tree.sizes(state.tree)
        used = jnp.sum(sizes[: self.groups] > 0, dtype=jnp.int32)
        group = count_tree.group_at(state.tree, legal.address(stream, start))
        drawn = (group >= 0) & (group < self.groups) & legal.alive(stream, start)
        return jnp.where(drawn, _share(used, sizes[jnp.where(drawn, group, 0)]), 0)

    def _groups(self, legal: Legal, leaf: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return where windows belong, those whose number is not a group beyond all groups, and which those are."""
        real = leaf != jnp.uint32(count_tree.NOWHERE)
        stream, start = legal.window_at(jnp.where(real, leaf, 0))
        rows = legal.read(stream, start, real)
        group = paths_of(rows)[tuple(self.by.split("."))] if isinstance(self.by, str) else self.by(rows)
        if group.shape != leaf.shape:
            raise ShapeError(f"Clustered(by=...) must return one number a row, {list(leaf.shape)}, got {group.shape}.")
        if group.dtype != np.int32:
            raise DtypeError(f"Clustered(by=...) must return int32, got {group.dtype}; write .astype(jnp.int32).")
        group = materialize(group)
        bad = (group < 0) | (group >= self.groups)
        return jnp.where(bad, self.groups, group), bad


def _moved(state: ClusteredState, tree: count_tree.CountTree, refused: jax.Array) -> ClusteredState:
    number = jnp.sum(refused, dtype=jnp.int32)  # a row that is in a batch twice is one window, and counted once
    check(number == 0, "Clustered: {n} windows have a number that is not a group", n=number)
    return ClusteredState(tree, state.refused + number)


def _share(groups: jax.Array, windows: jax.Array) -> jax.Array:
    return 1 / jnp.maximum(groups, 1).astype(jnp.float32) / jnp.maximum(windows, 1).astype(jnp.float32)
