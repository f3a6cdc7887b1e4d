"""Rows of actors."""

import jax
import numpy as np

ROW = {"obs": jax.ShapeDtypeStruct((2,), np.float32), "is_first": np.bool_, "is_last": np.bool_}


def rows_of(number, first, last):
    """Rows whose observations are (number, -number)."""
    number = np.asarray(number, np.float32)
    return {
        "obs": np.stack([number, -number], -1),
        "is_first": np.asarray(first, bool),
        "is_last": np.asarray(last, bool),
    }


def some(*numbers, first=False, last=False):
    """Rows of one stream, the first of which may begin an episode and the last end it."""
    n = len(numbers)
    return rows_of(numbers, [first] + [False] * (n - 1), [False] * (n - 1) + [last])
