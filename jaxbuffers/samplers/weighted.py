"""Weighted: any function of the stored rows, their age and their rank decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Draw
from jaxbuffers.checks import flag
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError
from jaxbuffers.numerics import sum_tree
from jaxbuffers.numerics.random_bits import bits64, split
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.states.naming import written
from jaxbuffers.windows.legal import Legal

LOWEST = np.finfo(np.float32).min


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


@dataclass(frozen=True, repr=False)
class Weighted(Sampler[tuple[()]]):
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
    [95.0, 97.0, 98.0, 99.0]
    """

    fn: Callable[[Candidates], jax.Array]
    replace: bool = False

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ConfigurationError(f"fn must be a function from jb.Candidates to log-weights, got {self.fn!r}.")
        flag("replace", self.replace)

    def __repr__(self) -> str:
        return written(self)

    @override
    def can_draw(self, state: tuple[()], legal: Legal, batch_size: int) -> jax.Array:
        """Whether there are windows of positive weight, as many as the batch needs."""
        return self._enough(self._candidates(legal)[2], batch_size)

    @override
    def draw(self, state: tuple[()], legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        stream, start, possible, logits = self._candidates(legal)
        share, enough = _shares(possible, logits), self._enough(possible, batch_size)
        if self.replace:
            # A running sum in float32 would blur small shares, and could point at one that is 0.
            found = sum_tree.draw(sum_tree.of(share), *bits64(key, batch_size), stratified=False)[0].astype(jnp.int32)
            choice = jnp.minimum(found, len(logits) - 1)
        else:
            score = jnp.where(possible, jnp.maximum(logits + noise(split(key, 1)[0], logits), LOWEST / 2), LOWEST)
            _, choice = jax.lax.top_k(score, batch_size)
        return Draw.of(stream[choice], start[choice], share[choice], enough)

    @override
    def probability(self, state: tuple[()], legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return each window's share of the total weight."""
        _, _, possible, logits = self._candidates(legal)
        place = legal.older(stream, start) * legal.num_streams + stream
        return jnp.where(legal.alive(stream, start), _shares(possible, logits)[place], 0)

    def _enough(self, possible: jax.Array, batch_size: int) -> jax.Array:
        if not self.replace and batch_size > len(possible):
            raise ShapeError(f"{batch_size} different windows cannot be drawn from a ring of {len(possible)} rows.")
        return jnp.sum(possible, dtype=jnp.int32) >= (1 if self.replace else batch_size)

    def _candidates(self, legal: Legal) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Return stream, start, whether it can be drawn, and a finite log-weight of each candidate.

        The k-th window of a stream is at ``k * E + stream``.
        """
        shape = (legal.length, legal.num_streams)
        rank, stream = (jax.lax.broadcasted_iota(jnp.int32, shape, axis).reshape(-1) for axis in (0, 1))
        count = legal.count()[stream]
        real = rank < count
        start = jnp.where(real, legal.start(stream, jnp.where(real, rank, 0)), 0)
        rows = legal.read(stream, start, real)
        age = jnp.where(real, legal.age(stream, start), 0)
        logits = self.fn(Candidates(rows, age, rank, count))
        if getattr(logits, "shape", None) != rank.shape:
            raise ShapeError(f"Weighted(fn) must return log-weights {list(rank.shape)}, got {logits!r}.")
        if logits.dtype != np.float32:
            raise DtypeError(f"Weighted(fn) must return float32 log-weights, got {logits.dtype}.")
        possible = real & jnp.isfinite(logits)
        return stream, start, possible, jnp.where(possible, logits, LOWEST)


def noise(key: jax.Array, logits: jax.Array) -> jax.Array:
    """Return Gumbel noise; with JAX's usual 23 bits the greatest of a million would tie, and the older window win."""
    return jax.random.gumbel(key, logits.shape, logits.dtype, mode="high")


def _shares(possible: jax.Array, logits: jax.Array) -> jax.Array:
    """Return each one's share of the total weight: float32, 0 where it cannot be drawn."""
    # A softmax without infinities: halves of finite numbers have a finite difference, and exp(-200) is 0 in float32.
    half = logits * np.float32(0.5)
    weight = jnp.where(possible, jnp.exp(2 * jnp.maximum(half - jnp.max(half), -100)), 0)
    total = jnp.sum(weight)
    return weight / jnp.where(total > 0, total, 1)
