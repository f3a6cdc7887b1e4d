"""Minibatches: every row once an epoch, in random order."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxbuffers.checks import check_key, flag, one_of, positive
from jaxbuffers.errors import ConfigurationError, ShapeError
from jaxbuffers.numerics.permutation import permutation
from jaxbuffers.row import check_leaf, paths_of, show
from jaxbuffers.states.explicit import in_our_words
from jaxbuffers.storage.bits import exactly, zero_where_not

Remainder = Literal["error", "drop", "pad", "wrap"]


@struct.dataclass
class Minibatch:
    """Some rows of the data.

    Attributes:
      data: leaves ``[B, ...]``; zero where ``mask`` is False.
      index: int32 ``[B]``, which rows they are.
      mask: bool ``[B]``, False only for what pads the last batch.
    """

    data: Any
    index: jax.Array
    mask: jax.Array


@struct.dataclass
class Minibatches:
    """One epoch: iterate over it in Python, or scan over ``index`` and ``mask`` and `take` inside.

    ``batches[i]`` is batch i; an int outside raises, for an array outside the mask is False throughout.

    Attributes:
      data: all rows, leaves ``[N, ...]``; from `Rollout.minibatches` ``[T, E, ...]``.
      index: int32 ``[M, B]``, the rows of each batch.
      mask: bool ``[M, B]``.
      steps: T where the data is ``[T, E, ...]``: row ``e * T + t`` is step t of environment e; otherwise None.
    """

    data: Any
    index: jax.Array
    mask: jax.Array
    steps: int | None = struct.field(pytree_node=False, default=None)

    @property
    def num_batches(self) -> int:
        """M, the batches of an epoch."""
        return self.index.shape[0]

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, i: Any) -> Minibatch:
        if isinstance(i, int | np.integer) and not -self.num_batches <= i < self.num_batches:
            raise IndexError(f"batch {i} of {self.num_batches}")
        return self.take(self.index[i], self.mask.at[i].get(mode="fill", fill_value=False))

    def __iter__(self) -> Iterator[Minibatch]:
        return (self[i] for i in range(self.num_batches))

    @in_our_words("Cut minibatches on each device by jax.shard_map, of its own environments")
    def take(self, index: jax.Array, mask: jax.Array) -> Minibatch:
        """Read the rows of one batch, a row of ``index`` and of ``mask``."""

        def rows(x: jax.Array) -> jax.Array:
            if self.steps is not None:
                return x[index % self.steps, index // self.steps]
            size = x.shape[0]  # of a shorter leaf the rows are repeated
            return x[index if size == self.longest else index % size]

        return Minibatch(zero_where_not(mask, exactly(rows, self.data)), index, mask)

    @property
    def longest(self) -> int:
        """N, the rows of the data."""
        lead = 1 if self.steps is None else 2
        return max(math.prod(leaf.shape[:lead]) for leaf in jax.tree.leaves(self.data))


def minibatches(
    key: jax.Array,
    data: Any,
    batch_size: int,
    shuffle: bool = True,
    remainder: Remainder = "error",
    shorter: Literal["error", "modulo"] = "error",
) -> Minibatches:
    """Cut data into minibatches; another key gives another epoch.

    Args:
      key: a PRNG key for the order; consumed. Not used without ``shuffle``.
      data: any pytree, leaves ``[N, ...]``, such as ``rollout.flatten(state).data``; NumPy arrays are copied.
      batch_size: B, static.
      shuffle: whether rows come in random order, or in that of the data.
      remainder: what to do with the rows left over where N is no multiple of B: ``"error"``;
        ``"drop"`` them; ``"pad"`` the last batch, with a mask; ``"wrap"``, fill it with the first rows of the epoch.
      shorter: whether leaves may have fewer rows than the longest: ``"error"``, or ``"modulo"``, then
        row i of such a leaf is row ``i % len``.

    Returns:
      `Minibatches`. Each row comes exactly once (with ``"drop"`` at most once; with ``"wrap"`` some twice).

    Raises:
      ConfigurationError, ShapeError: for sizes that do not fit, with the numbers.
      DtypeError: naming a leaf that JAX cannot hold as it is.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> batches = jb.minibatches(jax.random.key(0), {"x": jnp.arange(10)}, batch_size=4, remainder="pad")
    >>> len(batches), sorted(int(x) for b in batches for x, real in zip(b.data["x"], b.mask) if real)
    (3, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    >>> def train(total, batch):
    ...     return total + batches.take(*batch).data["x"].sum(), None
    >>> int(jax.lax.scan(train, 0, (batches.index, batches.mask))[0])
    45
    """
    one_of("shorter", shorter, ("error", "modulo"))
    rows = _rows(data, shorter)
    data = jax.tree.map(lambda x: x if isinstance(x, jax.Array) else jnp.array(x), data)
    return Minibatches(data, *orders(key, rows, batch_size, shuffle, remainder))


def orders(key: jax.Array, rows: int, batch_size: int, shuffle: bool, remainder: str) -> tuple[jax.Array, jax.Array]:
    """Return the index and the mask of `Minibatches` over so many rows."""
    batch_size = positive("batch_size", batch_size)
    one_of("remainder", remainder, ("error", "drop", "pad", "wrap"))
    flag("shuffle", shuffle)
    if max(rows, batch_size) > 2**30:
        raise ConfigurationError(f"{rows} rows in batches of {batch_size}: each can be 2**30 at most (int32 indices).")
    if shuffle:
        check_key(key)
    over = rows % batch_size
    if over and remainder == "error":
        raise ConfigurationError(
            f"{rows} rows are no multiple of batch_size={batch_size}, {over} would be left over; choose another size "
            f'or remainder="drop", "pad" or "wrap".'
        )
    number = rows // batch_size if remainder == "drop" else -(-rows // batch_size)
    if number == 0:
        raise ConfigurationError(f"{rows} rows make no batch of {batch_size}; choose a smaller batch_size.")
    order = permutation(key, rows) if shuffle else jnp.arange(rows, dtype=jnp.int32)
    size = number * batch_size
    past = jnp.arange(max(size - rows, 0), dtype=jnp.int32) % rows  # the first rows once more, or padding
    more = order[past] if remainder == "wrap" else jnp.zeros_like(past)
    index = jnp.concatenate([order[:size], more])
    mask = jnp.arange(size) < (size if remainder == "wrap" else rows)
    return index.reshape(number, batch_size), mask.reshape(number, batch_size)


def _rows(data: Any, shorter: str) -> int:
    sizes = {}
    for path, leaf in paths_of(data).items():
        if not isinstance(leaf, jax.Array):
            check_leaf(path, leaf, (), getattr(leaf, "dtype", np.dtype(float)))
        if not leaf.shape or leaf.shape[0] == 0:
            raise ShapeError(f"{show(path)} must be an array with at least one row, got {leaf!r}.")
        sizes[path] = leaf.shape[0]
    if not sizes:
        raise ShapeError("the data has no leaves.")
    longest = max(sizes, key=lambda path: sizes[path])
    for path, size in sizes.items():
        if size != sizes[longest] and shorter == "error":
            raise ShapeError(
                f"{show(path)} has {size} rows, {show(longest)} has {sizes[longest]}; make them equal, or ask for "
                f'shorter="modulo".'
            )
    return sizes[longest]
