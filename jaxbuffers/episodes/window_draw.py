"""The windows that a law points at, on the host."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WindowDraw:
    """B windows of a store's episodes.

    Attributes:
      episode: int64 ``[B]``, the ids of the episodes.
      start: int64 ``[B]``, the row of its episode at which each window begins, its first required one.
      length: int64 ``[B]``, the rows of the episodes.
      probability: float32 ``[B]``, the probability with which one draw points at this window.
    """

    episode: np.ndarray
    start: np.ndarray
    length: np.ndarray
    probability: np.ndarray
