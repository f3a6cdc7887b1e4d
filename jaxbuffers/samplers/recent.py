"""Recent: newer windows rather than older ones."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from jaxbuffers.batch import Draw
from jaxbuffers.checks import number, positive, settle
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.numerics import sum_tree
from jaxbuffers.numerics.random_bits import bits64, fraction_of
from jaxbuffers.numerics.search import locate, running
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.windows.base import Windows
from jaxbuffers.windows.legal import Legal

BLOCK = 4096


@dataclass(frozen=True)
class Recent(Sampler[tuple[()]]):
    """Draw recent windows independently: uniformly over a horizon, or with exponentially falling weight.

    Give one of the two. A ring as short as the horizon would hold the same rows; with a horizon, other
    samplers can draw from the older ones too (`Mix`).

    Args:
      horizon: draw uniformly from the legal windows that begin among the newest ``horizon`` rows
        of their stream. O(B + E log T) a batch, O(B + E) for windows that may cross episodes.
      half_life: of two legal windows of a stream, the one with k more legal windows after it has
        ``2**(-k / half_life)`` times the weight: the half-life counts the rows that begin a legal window, which are
        all but those at the end of an episode. The newest of each stream weigh the same. O(B + E).

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=100, num_envs=None, batch_size=5, sampler=jb.Recent(horizon=1))
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(100.0))
    >>> replay.sample(state, jax.random.key(0)).data
    Array([99., 99., 99., 99., 99.], dtype=float32)
    """

    horizon: int | None = None
    half_life: float | None = None

    def __post_init__(self) -> None:
        if (self.horizon is None) == (self.half_life is None):
            raise ConfigurationError("Recent() takes either horizon= or half_life=, in rows.")
        if self.horizon is not None:
            settle(self, horizon=positive("horizon", self.horizon))
        else:
            settle(self, half_life=number("half_life", self.half_life, 0.1, 1e9))

    @property
    @override
    def memory(self) -> None:
        """None: `init` only looks at the windows."""

    @override
    def init(self, windows: Windows) -> Any:
        """Nothing to remember; refuse a horizon in which no window can begin."""
        if self.horizon is not None and self.horizon < windows.required:
            raise ConfigurationError(
                f"No window of {windows.required} rows begins among the newest {self.horizon}: horizon={self.horizon} "
                f"must be at least {windows.required}."
            )
        return ()

    @override
    def can_draw(self, state: tuple[()], legal: Legal, batch_size: int) -> jax.Array:
        """Whether any window begins within the horizon."""
        count = legal.count()
        return jnp.any((count if self.horizon is None else self._recent(legal, count)) > 0)

    @override
    def draw(self, state: tuple[()], legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        count = legal.count()
        recent = count if self.horizon is None else self._recent(legal, count)
        high, low = bits64(key, 2 * batch_size)
        which, within = (high[:batch_size], low[:batch_size]), (high[batch_size:], low[batch_size:])
        if self.horizon is not None:
            ends = running(recent)
            number = fraction_of(ends[-1], *which)
            stream = locate(ends, number)
            back = ends[stream] - 1 - number
        else:
            # A running sum in float32 would blur the streams, and could point at one that has no window.
            stream = sum_tree.draw(sum_tree.of(self._weight(count)), *which, stratified=False)[0].astype(jnp.int32)
            stream = jnp.minimum(stream, len(count) - 1)
            back = self._back(count[stream], *within)
        start = legal.start(stream, jnp.maximum(count[stream] - 1 - back, 0))
        return Draw.of(stream, start, self._share(legal, count, stream, back), jnp.any(recent > 0))

    @override
    def probability(self, state: tuple[()], legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return each window's share, 0 beyond the horizon."""
        count = legal.count()
        older = legal.older(stream, start)
        share = self._share(legal, count, stream, count[stream] - 1 - older)
        inside = True if self.horizon is None else legal.age(stream, start) < self.horizon
        return jnp.where(legal.alive(stream, start) & inside, share, 0)

    def _share(self, legal: Legal, count: jax.Array, stream: jax.Array, back: jax.Array) -> jax.Array:
        if self.horizon is not None:
            total = jnp.sum(self._recent(legal, count), dtype=jnp.int32)
            return jnp.broadcast_to(1 / jnp.maximum(total, 1).astype(jnp.float32), stream.shape)
        total = jnp.sum(self._weight(count))
        weight = jnp.exp2(-back.astype(jnp.float32) / np.float32(self._life))
        return weight / jnp.where(total > 0, total, 1)

    def _recent(self, legal: Legal, count: jax.Array) -> jax.Array:
        """Count the windows within the horizon: int32 ``[E]``."""
        stream = jnp.arange(len(count), dtype=jnp.int32)
        oldest = legal.shift(legal.time, -min(self.horizon or 1, legal.length))
        return count - legal.older(stream, oldest)

    @property
    def _life(self) -> float:
        return float(self.half_life or 1)

    def _weight(self, count: jax.Array) -> jax.Array:
        """Sum the weights of a stream's windows: float32 ``[E]``, by the geometric series."""
        rate = np.float32(-math.log(2) / self._life)
        return jnp.expm1(rate * count.astype(jnp.float32)) / np.expm1(rate)

    def _back(self, count: jax.Array, high: jax.Array, low: jax.Array) -> jax.Array:
        """Draw how many windows back from the newest of ``count``: int32, truncated geometric.

        The series has no memory: first a block of 4,096 is drawn, then a place in it, because float32
        could not tell one window from the next among millions.
        """
        rate = math.log(2) / self._life
        block = _geometric(rate * BLOCK, count.astype(jnp.float32) / BLOCK, high)
        block = jnp.clip(block, 0, jnp.maximum(count - 1, 0) // BLOCK)
        size = jnp.minimum(count - block * BLOCK, BLOCK)
        place = _geometric(rate, size.astype(jnp.float32), low)
        return block * BLOCK + jnp.clip(place, 0, jnp.maximum(size - 1, 0))


def _geometric(rate: float, count: jax.Array, bits: jax.Array) -> jax.Array:
    """Draw from ``exp(-rate * k)`` over ``k < count``, by inverting the distribution function: int32."""
    below, above = ((x.astype(jnp.float32) + np.float32(0.5)) * np.float32(2**-32) for x in (bits, ~bits))
    lost = jnp.expm1(np.float32(-rate) * count)  # minus the mass of all that is drawn from
    # Of two forms that are equal on paper, the one that is accurate here: the first while most is left beyond.
    near, far = jnp.log1p(below * lost), jnp.log(jnp.exp(np.float32(-rate) * count) - above * lost)
    return jnp.floor(jnp.where(below * lost > -0.5, near, far) / np.float32(-rate)).astype(jnp.int32)
