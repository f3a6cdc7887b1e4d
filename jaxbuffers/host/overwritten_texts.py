"""Texts that rows were overwritten with: what a sweep looks at, instead of the whole table."""

from typing import Any

import jax
import numpy as np

from jaxbuffers.texts import TextTable
from jaxbuffers.texts.live import as_ids, ids_of

MANY = 1000  # arrays that are kept apart


class Overwritten:
    """Remembers ids, and frees those that nothing refers to any more."""

    def __init__(self) -> None:
        self.ids: list[np.ndarray] = []
        self.may_be_others = False  # of a state that was exchanged

    def note(self, gone: list[np.ndarray]) -> None:
        """Remember ids that were in rows."""
        self.ids += gone
        if len(self.ids) > MANY:  # keep one of each
            self.ids = [np.unique(np.concatenate(self.ids))]

    def sweep(self, table: TextTable, ours: Any, states: Any, pins: Any, everything: bool) -> int:
        """Free what neither our state, nor other states, nor pins refer to; see `HostReplay.sweep`."""
        everything = everything or self.may_be_others
        known = np.concatenate([np.zeros(0, np.int32), *self.ids])
        freed = table.sweep([ours, states], pins, None if everything else known)
        self.may_be_others = False
        # What only a fork or a pin keeps today can be freed once they are gone.
        others = np.concatenate([as_ids(pins)] + ([ids_of(states)] if jax.tree.leaves(states) else []))
        kept = np.unique(others) if everything else np.intersect1d(known, others)
        self.ids = [kept.astype(np.int32)]
        return freed
