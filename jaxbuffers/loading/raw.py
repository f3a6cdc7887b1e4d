"""What worker processes read: the rows around windows, before any view has seen them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np

from jaxbuffers.errors import StructureError


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RawBatch:
    """Rows around B windows, NumPy only, so that processes that read them need no device and no compiler.

    Attributes:
      rows: for each leaf of a row ``[B, K, ...]``, K rows from the first that the view reads.
      episode: int64 ``[B]``, the ids of the episodes in their store.
      start: int64 ``[B]``, the row of its episode at which each window begins.
      length: int64 ``[B]``, the rows of the episodes.
      probability: float32 ``[B]``, the probability with which one draw points at the window.
      source: int32 ``[B]``, the number of the store.
      seed: int64 ``[B, 2]``, what decides the key of the view: the same for all of a batch of `StoreSteps`.
    """

    rows: tuple[np.ndarray, ...]
    episode: np.ndarray
    start: np.ndarray
    length: np.ndarray
    probability: np.ndarray
    source: np.ndarray
    seed: np.ndarray

    def __len__(self) -> int:
        """How many windows there are, B."""
        return len(self.episode)


def together(batches: Sequence[RawBatch] | RawBatch) -> RawBatch:
    """Put windows together, as the ``collate_fn`` of a ``DataLoader`` and the ``batch_fn`` of Grain's ``batch``."""
    if isinstance(batches, RawBatch):
        return batches
    if not batches or not all(isinstance(batch, RawBatch) for batch in batches):
        raise StructureError("expected one or more windows of a source of this library.")

    def joined(name: str) -> Any:
        values = [getattr(batch, name) for batch in batches]
        if name == "rows":
            return tuple(np.concatenate(leaves) for leaves in zip(*values, strict=True))
        return np.concatenate(values)

    return RawBatch(**{each.name: joined(each.name) for each in fields(RawBatch)})
