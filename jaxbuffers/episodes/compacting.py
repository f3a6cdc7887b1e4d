"""Compaction: episodes leave segments of which little is left."""

import numpy as np

from jaxbuffers.checks import number
from jaxbuffers.episodes import reading
from jaxbuffers.episodes.catalog import Change
from jaxbuffers.episodes.core import Core, Rows
from jaxbuffers.episodes.placement import Placement
from jaxbuffers.episodes.segments import Columns
from jaxbuffers.episodes.table import Record, columns_of


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
        some: list[int] = []
        size = 0
        while waiting and (not some or size + int(table["length"][waiting[0]]) <= limit):
            size += int(table["length"][waiting[0]])
            some.append(waiting.pop(0))
        for at in some:  # what is damaged must not get a new place
            reading.whole(core, rows, table.record(at), leaves, None)()
        _move(core, rows, some)
    return len(before - set(core.known))


def _move(core: Core, rows: Rows, at: list[int]) -> None:
    """Copy the rows of some episodes to new segments, and forget where they were."""
    plan = Placement(core.segment_rows(rows), None, core.state.next_segment, {})
    records: list[Record] = [core.table.record(i) for i in at]
    parts: list[tuple[tuple[int, int], Columns]] = []
    for record in records:
        number, offset = record["segment"], record["offset"]
        held = rows.segments.columns(number, core.known[number].rows)
        place = plan.place(record["length"])
        parts.append((place, tuple(column[offset : offset + record["length"]] for column in held)))
        record["segment"], record["offset"] = place
    core.write(rows, plan, parts)
    state = core.next_state(edited=core.state.revision + 1, next_segment=plan.next_segment)
    lengths = [record["length"] for record in records]
    table = core.table.replaced(at, columns_of(records, ("segment", "offset")))
    table = table.moved(at, core.number(lengths, rows, table))
    live = core.live_after([record["id"] for record in records], records)
    core.commit(Change(state, edited=tuple(records), segments=plan.segments), rows, table, live, plan)
