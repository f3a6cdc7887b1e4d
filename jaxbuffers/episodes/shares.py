"""How many of a batch's windows come from each source: exact fractions, exactly."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from jaxbuffers.checks import number
from jaxbuffers.errors import ConfigurationError


def fractions_of(parts: Sequence[float | Fraction]) -> tuple[Fraction, ...]:
    """Return fractions that add up to 1; floats stand for the simplest fraction that is written like them.

    >>> fractions_of([0.1, 0.9])
    (Fraction(1, 10), Fraction(9, 10))
    >>> sum(fractions_of([1 / 3, 2 / 3]))
    Fraction(1, 1)
    """
    exact = tuple(
        part if isinstance(part, Fraction) else Fraction(number("fraction", part, 0, 1)).limit_denominator(10**6)
        for part in parts
    )
    if any(part < 0 for part in exact) or sum(exact) != 1:
        raise ConfigurationError(
            f"the fractions of a mixture must add up to 1, got {list(map(str, parts))}; write fractions.Fraction(1, 7) "
            f"where a float is not exact."
        )
    return exact


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
