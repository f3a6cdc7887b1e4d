"""New episodes: their rows are written first, then one transaction makes them, and the oldest leave in the same."""

import time

import numpy as np

from jaxbuffers.episodes.catalog import Change
from jaxbuffers.episodes.core import Core
from jaxbuffers.episodes.rows import Finished, ending, reward_sum
from jaxbuffers.episodes.structure import describe
from jaxbuffers.episodes.table import Record, columns_of
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.row import RowSpec


def append(
    core: Core, spec: RowSpec, episodes: list[Finished], types: dict[str, str], most: int | None = None
) -> list[int]:
    """Store episodes, and evict the oldest ones as the capacity asks, the first of the new ones too; return the ids.

    Args:
      core: of the store.
      spec: of their rows.
      episodes: as they were checked.
      types: the user's columns, those that are new included.
      most: how many episodes may be there then; None for no limit.
    """
    rows = core.made or core.made_of(spec)
    first, count = core.state.next_episode, len(episodes)
    evicted, skipped = _to_evict(core, [len(each) for each in episodes], most)
    removed, episodes = core.table["id"][:evicted].tolist(), episodes[skipped:]
    plan = core.placement(rows)
    places = [plan.place(len(each)) for each in episodes]
    columns = [tuple(_bytes(leaf) for leaf in each.leaves) for each in episodes]
    core.write(rows, plan, list(zip(places, columns, strict=True)))
    now, added = time.time(), []
    for i, (each, (number, offset)) in enumerate(zip(episodes, places, strict=True)):
        record: Record = {
            "id": first + skipped + i,
            "length": len(each),
            "stream": each.stream,
            "return": reward_sum(spec, each.leaves),
            "ending": ending(spec, each.leaves),
            "time": now,
            "segment": number,
            "offset": offset,
            **each.users,
        }
        added.append((record, core.catalog.sums(record["id"], list(columns[i]), rows.layout.block)))
    state = core.next_state(
        next_episode=first + count,
        next_segment=plan.next_segment,
        episodes=core.state.episodes + len(episodes) - len(removed),
        types=types,
    )
    records = [record for record, _ in added]
    table = core.table.without(range(len(removed))).with_types(types)
    lengths = [record["length"] for record in records]
    table = table.appended(columns_of(records, table.names()), core.number(lengths, rows, table))
    row = describe(spec) if not core.noted else None
    change = Change(state, row, tuple(added), tuple(removed), segments=plan.segments)
    core.commit(change, rows, table, core.live_after(removed, records), plan)
    return list(range(first, first + count))


def _to_evict(core: Core, new: list[int], most: int | None) -> tuple[int, int]:
    """Say how many of the oldest episodes leave for new ones of some lengths, and how many of these at once."""
    there = len(core.table)
    count = 0 if most is None else max(there + len(new) - most, 0)
    if core.capacity is None:
        return min(count, there), max(count - there, 0)
    if max(new) > core.capacity:
        raise ConfigurationError(
            f"{max(new)} rows do not fit in capacity={core.capacity} rows: an episode is kept whole or not at all. "
            f"Give a larger capacity."
        )
    lengths = core.table["length"]
    excess = core.total + sum(new) - core.capacity
    excess -= int(lengths[:count].sum()) + sum(new[: max(count - there, 0)])
    while excess > 0:
        excess -= int(lengths[count]) if count < there else new[count - there]
        count += 1
    return min(count, there), max(count - there, 0)


def _bytes(leaf: np.ndarray) -> np.ndarray:
    whole = np.ascontiguousarray(leaf)
    return whole.reshape(len(whole), -1).view(np.uint8)
