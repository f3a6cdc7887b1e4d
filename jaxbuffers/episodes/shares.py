"""How many of a batch's windows come from each source: exact fractions, exactly."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from jaxbuffers.checks import number
from jaxbuffers.errors import ConfigurationError

NEAR = 2.0**-50  # what the sum of a few floats that should be 1 may miss


def fractions_of(parts: Sequence[float | Fraction]) -> tuple[Fraction, ...]:
    """Return fractions that add up to 1.

    A float stands for the simplest fraction that rounds to it; if those do not add up, for the decimal that it is
    written as; and if those do not either, for a simple fraction within ``NEAR``, as after ``1 - 0.9``.

    >>> fractions_of([0.1, 0.9])
    (Fraction(1, 10), Fraction(9, 10))
    >>> fractions_of([1 / 3, 2 / 3]), fractions_of([0.9, 1 - 0.9])
    ((Fraction(1, 3), Fraction(2, 3)), (Fraction(9, 10), Fraction(1, 10)))
    """
    given = [part if isinstance(part, Fraction) else number("fraction", part, 0, 1) for part in parts]
    for reading in (_simplest, _written, _near):
        exact = tuple(part if isinstance(part, Fraction) else reading(part) for part in given)
        lost = any(part and not fraction for part, fraction in zip(given, exact, strict=True))
        if sum(exact) == 1 and min(exact) >= 0 and not lost:
            return exact
    raise ConfigurationError(
        f"the fractions of a mixture must add up to 1, got {list(map(str, parts))}; write fractions.Fraction(1, 7) "
        f"where a float is not exact."
    )


def _simplest(x: float) -> Fraction:
    """Return the fraction of the least denominator among those that round to ``x``."""
    if not x:
        return Fraction(0)
    below, above = (Fraction(math.nextafter(x, to)) for to in (-math.inf, math.inf))
    return _between((Fraction(x) + below) / 2, (Fraction(x) + above) / 2)


def _between(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction of the least denominator from ``low`` to ``high``, by continued fractions."""
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    return whole - 1 + 1 / _between(1 / (high - (whole - 1)), 1 / (low - (whole - 1)))


def _written(x: float) -> Fraction:
    return Fraction(repr(x))


def _near(x: float) -> Fraction:
    simple = Fraction(x).limit_denominator(10**6)
    return simple if abs(simple - Fraction(x)) <= NEAR else Fraction(x)


def shares(parts: Sequence[Fraction], batch_size: int, random: int) -> list[int]:
    """Divide a batch: each part gets ``batch_size`` times its fraction, rounded up or down, and all add up.

    A fraction that does not divide is rounded at random, so that the mean over many batches is exact (systematic
    sampling, Madow and Madow 1944).

    Args:
      parts: fractions that add up to 1.
      batch_size: B.
      random: 64 random bits.
    """
    offset, sums, ends = Fraction(random, 2**64), Fraction(0), [0]
    for part in parts:
        sums += part * batch_size
        ends.append((sums + offset).__floor__())
    return [end - begin for begin, end in pairwise(ends)]
