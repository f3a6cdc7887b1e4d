"""RateLimiter: how many samples may be drawn for each item inserted, counted exactly."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxbuffers.checks import check_state, exact, positive, settle
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, check
from jaxbuffers.states.made_by import MadeBy, saved_with_maker
from jaxbuffers.states.ownership import owned, verb

_DENOMINATOR, _LIMIT = 10**6, 2**30 - 1  # where counts saturate: the difference of two still fits in int32


@saved_with_maker
@struct.dataclass
class RateLimiterState:
    """What has been inserted and sampled.

    Attributes:
      size: int32 ``[]``, items inserted, counted up to ``min_size``.
      error: int32 ``[]``, what `RateLimiter` calls so, of the items beyond ``min_size``, in samples times the
        ratio's denominator. Saturates at ``2**30 - 1``, beyond any tolerance: only if it is not obeyed.
      violations: int32 ``[]``, calls made against the limiter; saturates too.
      made_by: the ratio and ``min_size`` of the limiter that made it, by which it must be read (static).
    """

    size: jax.Array
    error: jax.Array
    violations: jax.Array
    made_by: MadeBy = struct.field(pytree_node=False)


@dataclass(frozen=True)
class RateLimiter:
    """Hold the samples per inserted item near a ratio, as Reverb's ``SampleToInsertRatio`` (Cassirer et al. 2021).

    With ``error = (inserts - min_size) * samples_per_insert - samples``, n inserts are allowed if they
    leave ``inserts <= min_size`` or ``error <= tolerance``, and n samples if ``inserts >= min_size`` and
    they leave ``error >= -tolerance``. Counted in integers, and only the error is kept: exact for every
    ratio it takes, in a run of any length. Nothing blocks: ask before. A call made without leave is
    carried out all the same; it adds to ``violations``, or raises under `debug_checks`.
    One of n inserts and m samples is always allowed if ``tolerance >= max(m, n * samples_per_insert)``.
    Unlike Reverb's it knows no deletions: ``min_size`` must not exceed what the replay can hold.

    Args:
      samples_per_insert: above 0, a fraction of denominator up to a million: a `fractions.Fraction`,
        or the float nearest to one, such as 0.3 or 1 / 3.
      min_size: items to insert before the first sample.
      tolerance: in samples, at least ``max(1, samples_per_insert)``; less could come to a standstill.

    Raises:
      ConfigurationError: an argument is out of range, or the ratio is no such fraction.

    >>> from jaxbuffers.rate_limiter import RateLimiter
    >>> limiter = RateLimiter(samples_per_insert=0.5, min_size=3, tolerance=1)
    >>> state, learned = limiter.init(), []
    >>> for step in range(8):  # an actor step
    ...     state = limiter.insert(state)
    ...     for _ in range(int(limiter.due(state))):  # learner steps
    ...         state = limiter.sample(state)
    ...         learned.append(step)
    >>> learned, int(state.violations)
    ([2, 4, 6], 0)
    """

    samples_per_insert: float | Fraction
    min_size: int
    tolerance: float | Fraction

    def __post_init__(self) -> None:
        settle(self, min_size=positive("min_size", self.min_size))
        ratio, tolerance = (_exact(name, getattr(self, name)) for name in ("samples_per_insert", "tolerance"))
        if (near := ratio.limit_denominator(_DENOMINATOR)) != ratio:
            given = f"samples_per_insert={self.samples_per_insert!r}"
            raise ConfigurationError(f"{given} has no denominator up to {_DENOMINATOR}; the nearest is {near!r}.")
        low, high = max(ratio, Fraction(1)), Fraction(2**29, ratio.denominator)
        if not low <= tolerance <= high or self.min_size >= 2**31:
            raise ConfigurationError(
                f"tolerance must be from max(1, samples_per_insert) = {low}, for neither inserts nor samples might be "
                f"allowed with less, to {high}, and min_size below 2**31; got {self.tolerance!r} and {self.min_size}."
            )
        settle(self, samples_per_insert=_plain(self.samples_per_insert), tolerance=_plain(self.tolerance))

    def init(self) -> RateLimiterState:
        """Return the state before any insert."""
        return RateLimiterState(jnp.int32(0), jnp.int32(0), jnp.int32(0), self._made_by)

    @verb
    def can_insert(self, state: RateLimiterState, n: Any = 1) -> jax.Array:
        """Return whether n items may be inserted, bool ``[]``; n is an int or int32 ``[]``, as everywhere."""
        n = _count(n)
        beyond = n - jnp.minimum(n, self.min_size - state.size)
        return (n >= 0) & ((beyond == 0) | (beyond <= (self._parts[2] - state.error) // self._parts[0]))

    @verb
    def can_sample(self, state: RateLimiterState, n: Any = 1) -> jax.Array:
        """Return whether n samples may be drawn, bool ``[]``; none always may."""
        return (_count(n) == 0) | (self.due(state, n) > 0)

    @verb
    def due(self, state: RateLimiterState, n: Any = 1) -> jax.Array:
        """Return how many calls of n samples may be made now, one after another: int32 ``[]``; 0 if n is 0."""
        _, sample, band = self._parts
        if isinstance(n, int | np.integer) and n * sample > 2 * band:
            raise ConfigurationError(f"{n} samples at once are never allowed: a tolerance of {n} would be enough.")
        n = _count(n)
        ready = (n > 0) & (state.size >= self.min_size) & (state.error >= -band)
        return jnp.where(ready, (band + state.error) // sample // jnp.maximum(n, 1), 0)

    @verb
    def insert(self, state: RateLimiterState, n: Any = 1) -> RateLimiterState:
        """Count n inserts; a negative n counts as none, and as a violation."""
        allowed, n = self.can_insert(state, n), jnp.maximum(_count(n), 0)
        check(allowed, "{n} items inserted without leave: ask can_insert() before.", n=n)
        filled = jnp.minimum(n, self.min_size - state.size)
        error = _plus(state.error, n - filled, self._parts[0])
        return RateLimiterState(state.size + filled, error, _plus(state.violations, ~allowed), self._made_by)

    @verb
    def sample(self, state: RateLimiterState, n: Any = 1) -> RateLimiterState:
        """Count n samples; a negative n counts as none, and as a violation."""
        allowed, n = self.can_sample(state, n), jnp.maximum(_count(n), 0)
        check(allowed, "{n} samples drawn without leave: ask can_sample() or due() before.", n=n)
        error = -_plus(-state.error, n, self._parts[1])
        return RateLimiterState(state.size, error, _plus(state.violations, ~allowed), self._made_by)

    def _ours(self, state: RateLimiterState) -> RateLimiterState:
        """Return a state that a limiter of this ratio made, its arrays in JAX's hands."""
        check_state(state, RateLimiterState)
        state.made_by.require(self._made_by, "this limiter")
        return owned(state)

    @cached_property
    def _made_by(self) -> MadeBy:
        # The tolerance may change: it only says which errors are allowed.
        ratio = _exact("samples_per_insert", self.samples_per_insert)
        return MadeBy((("samples_per_insert", ratio), ("min_size", self.min_size)))

    @cached_property
    def _parts(self) -> tuple[int, int, int]:
        """Return an insert, a sample and the tolerance in parts of a sample."""
        ratio = _exact("", self.samples_per_insert)
        return *ratio.as_integer_ratio(), math.floor(_exact("", self.tolerance) * ratio.denominator)


def _exact(name: str, x: Any) -> Fraction:
    """Return what a number stands for: the simplest fraction near, if that gives the same float."""
    x, given = _plain(x), x
    if x is None or not 0 < x < math.inf:
        raise ConfigurationError(f"{name} must be a finite number above 0, got {given!r}.")
    near = Fraction(x).limit_denominator(_DENOMINATOR)
    return near if isinstance(x, float) and float(near) == x else Fraction(x)


def _plain(x: Any) -> float | Fraction | None:
    return x if isinstance(x, Fraction) else exact(x)


def _count(n: Any) -> jax.Array:
    if isinstance(n, int | np.integer):
        n = positive("n", n, minimum=0)
    elif getattr(n, "dtype", None) != np.int32 or n.shape:
        raise (ShapeError if getattr(n, "shape", ()) else DtypeError)(f"n must be an int or an int32 []; got {n!r}.")
    return jnp.asarray(n, jnp.int32)


def _plus(total: jax.Array, n: jax.Array, each: int = 1) -> jax.Array:
    """Return ``total + n * each``, or the limit if that is beyond."""
    n, room = n.astype(jnp.int32), (_LIMIT - total) // each
    return jnp.where(n <= room, total + jnp.minimum(n, room) * each, _LIMIT)
