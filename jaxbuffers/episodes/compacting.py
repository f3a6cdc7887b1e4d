"""Compaction: episodes leave segments of which little is left."""

import numpy as np

from jaxbuffers.checks import number
from jaxbuffers.episodes import reading
from jaxbuffers.episodes.core import Core


def share(below: object) -> float:
    """Return a share of rows."""
    return number("below", below, 0, 1)


def compact(core: Core, below: float) -> int:
    """Move the episodes of segments with too few rows in use; return how many segments that deletes.

    As many go in one transaction as fill a segment, so that it never needs much more room than that.
    """
    rows, before = core.made, set(core.known)
    if rows is None:
        return 0
    sparse = [n for n, segment in core.known.items() if core.live.get(n, 0) < below * segment.used]
    table, limit = core.table, core.segment_rows(rows)
    waiting = np.flatnonzero(np.isin(table["segment"], sparse)).tolist()
    leaves = list(range(len(rows.layout.sizes)))
    while waiting:
        some, size = [], 0
        while waiting and (not some or size + int(table["length"][waiting[0]]) <= limit):
            size += int(table["length"][waiting[0]])
            some.append(waiting.pop(0))
        for at in some:  # what is damaged must not get a new place
            reading.whole(core, rows, table.record(at), leaves, None)()
        core.move(some)
    return len(before - set(core.known))
