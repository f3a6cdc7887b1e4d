"""Weighted: any function of the stored rows, their age and their rank decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxbuffers.batch import Draw
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError
from jaxbuffers.random import bits64, split
from jaxbuffers.samplers import sum_tree
from jaxbuffers.samplers.base import Legal, Sampler


@struct.dataclass
class Candidates:
    """The places where legal windows may begin, W of them, for a weight function to judge.

    Attributes:
      rows: the first required row of each window, leaves ``[W, ...]``.
      age: int32 ``[W]``, how many rows of the stream came after it.
      rank: int32 ``[W]``, how many legal windows of the stream are older.
      count: int32 ``[W]``, how many legal windows the stream has.
    """

    rows: Any
    age: jax.Array
    rank: jax.Array
    count: jax.Array


@dataclass(frozen=True)
class Weighted(Sampler):
    """Draw windows with weights that a function computes afresh for every sample.

    Without replacement, the B windows are those with the largest ``log_weight + Gumbel noise`` (Efraimidis and
    Spirakis 2006; Kool et al. 2019): as if one after the other were drawn from those that are left. A batch of
    which there are not enough windows of positive weight is not valid. With replacement, draws are
    independent. ``batch.probability`` is the probability of each window in the first draw.

    Costs O(rows) a batch, unlike the other samplers: it reads every row. For replays of up to some
    hundred thousand rows, or rare samples.

    Args:
      fn: from `Candidates` to log-weights, float32 ``[W]``; -inf (or NaN, or +inf) keeps a window
        from being drawn. Configurations with the same function are equal; define it once, at the top of a module.
      replace: draw with replacement.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> def newest_first(windows):
    ...     return -windows.age.astype(jnp.float32)
    >>> replay = jb.Replay(capacity=100, num_envs=None, batch_size=4, sampler=jb.Weighted(newest_first))
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(100.0))
    >>> sorted(replay.sample(state, jax.random.key(0)).data.tolist())
    [96.0, 97.0, 98.0, 99.0]
    """

    fn: Callable[[Candidates], jax.Array]
    replace: bool = False

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ConfigurationError(f"fn must be a function from jb.Candidates to log-weights, got {self.fn!r}.")
        if not isinstance(self.replace, bool):
            raise ConfigurationError(f"replace must be a bool, got {self.replace!r}.")

    def draw(self, state: Any, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        """Point at ``batch_size`` windows. The key is consumed."""
        stream, start, logits = self._logits(legal)
        share = jax.nn.softmax(jnp.where(jnp.isfinite(jnp.max(logits)), logits, 0))
        if self.replace:
            # A running sum in float32 would blur small shares, and could point at one that is 0.
            tree = sum_tree.of(jnp.where(logits > -jnp.inf, share, 0))
            found = sum_tree.draw(tree, *bits64(key, batch_size), stratified=False).astype(jnp.int32)
            choice, enough = jnp.minimum(found, len(logits) - 1), jnp.max(logits) > -jnp.inf
        else:
            noise = jax.random.gumbel(split(key, 1)[0], logits.shape, logits.dtype)
            if batch_size > len(logits):
                raise ShapeError(f"{batch_size} different windows cannot be drawn from a ring of {len(logits)} rows.")
            _, choice = jax.lax.top_k(logits + noise, batch_size)
            enough = jnp.sum(logits > -jnp.inf) >= batch_size
        valid = jnp.broadcast_to(enough, (batch_size,))
        stream, start, share = (jnp.where(valid, x[choice], 0) for x in (stream, start, share))
        return Draw(stream, start, share, valid)

    def probability(self, state: Any, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return each window's share of the total weight."""
        _, _, logits = self._logits(legal)
        share = jax.nn.softmax(jnp.where(jnp.isfinite(jnp.max(logits)), logits, 0))
        share = jnp.where(logits > -jnp.inf, share, 0)
        place = legal.older(stream, start) * legal.windows.ring.num_streams + stream
        return jnp.where(legal.alive(stream, start), share[place], 0)

    def _logits(self, legal: Legal) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return stream, start and log-weight of every candidate, the k-th window of a stream at ``k * E + stream``."""
        ring = legal.windows.ring
        shape = (ring.length, ring.num_streams)
        rank, stream = (jax.lax.broadcasted_iota(jnp.int32, shape, axis).reshape(-1) for axis in (0, 1))
        count = legal.count()[stream]
        real = rank < count
        start = jnp.where(real, legal.start(stream, jnp.where(real, rank, 0)), 0)
        rows = ring.read(legal.ring, start, stream, real)
        age = jnp.where(real, legal.age(stream, start), 0)
        logits = self.fn(Candidates(rows, age, rank, count))
        if getattr(logits, "shape", None) != rank.shape:
            raise ShapeError(f"Weighted(fn) must return log-weights {list(rank.shape)}, got {logits!r}.")
        if logits.dtype != np.float32:
            raise DtypeError(f"Weighted(fn) must return float32 log-weights, got {logits.dtype}.")
        return stream, start, jnp.where(real & jnp.isfinite(logits), logits, -jnp.inf)
