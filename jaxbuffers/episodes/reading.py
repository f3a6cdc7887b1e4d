"""Rows out of a store: each block is checked before anything of it is returned for the first time."""

import zlib
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np

from jaxbuffers.episodes import checksums
from jaxbuffers.episodes.core import Core, Rows
from jaxbuffers.episodes.gather import gather, gather_padded
from jaxbuffers.episodes.memory import MemoryCatalog
from jaxbuffers.episodes.segments import Columns
from jaxbuffers.episodes.table import Record, gone
from jaxbuffers.errors import ConfigurationError, DamagedError, MissingFieldError
from jaxbuffers.row import RowSpec, field, row_of


def names_of(fields: Sequence[str]) -> list[str]:
    """Return the names of some fields; refuse one text, whose letters would be taken for names, and no list."""
    if isinstance(fields, str) or not isinstance(fields, Collection):
        hint = f"; write [{fields!r}]" if isinstance(fields, str) else ""
        raise ConfigurationError(f"fields must be a list of names, got {fields!r}{hint}.")
    return list(fields)


def leaves_of(spec: RowSpec, fields: Sequence[str] | None) -> list[int]:
    """Return the numbers of the leaves of some top-level fields; of all, for None."""
    if fields is None:
        return list(range(len(spec.paths)))
    fields = names_of(fields)
    row = jax.tree.unflatten(spec.treedef, range(len(spec.paths)))
    names = {path[0] for path in spec.paths if path and field(row, path[0]) is not None}  # a list's items have none
    for name in fields:
        if name not in names:
            known = ", ".join(sorted(names)) or "none with a name"
            raise MissingFieldError(f"the rows have no field {name!r}; they have {known}.")
    return [i for i, path in enumerate(spec.paths) if path and path[0] in fields]


def tree_of(spec: RowSpec, leaves: dict[int, Any], fields: Sequence[str] | None) -> Any:
    """Put leaves into the containers of a row; with ``fields``, into a dict of these."""
    row = jax.tree.unflatten(spec.treedef, [leaves.get(i) for i in range(len(spec.paths))])
    return row if fields is None else {name: field(row, name) for name in fields}


def part_of(spec: RowSpec, fields: Sequence[str]) -> RowSpec:
    """Return what is left of a row with some of its fields, in a dict."""
    leaves = jax.tree.leaves(row_of(spec))
    return RowSpec.of(tree_of(spec, {i: leaves[i] for i in leaves_of(spec, fields)}, fields))


def shaped(spec: RowSpec, leaf: int, data: np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
    """Return bytes as the array that they are."""
    return data.reshape(-1).view(spec.dtypes[leaf]).reshape(*lead, *spec.shapes[leaf])


def windows(core: Core, rows: Rows, ids: np.ndarray, starts: np.ndarray, length: int, wanted: list[int]) -> Any:
    """Return windows, ``[B, L, ...]`` for each leaf that is wanted; rows beyond the ends of the episode are zero.

    Each window has a row at least of its episode.

    Raises:
      FileNotFoundError: a segment is not there any more.
      UnknownEpisodeError: an episode is not there any more.
      DamagedError: what is there is not what was stored.
    """
    table, spec = core.table, rows.layout.spec
    if not len(ids):
        return {leaf: np.zeros((0, length, *spec.shapes[leaf]), spec.dtypes[leaf]) for leaf in wanted}
    at = table.find(ids)
    first, last = np.maximum(starts, 0), np.minimum(starts + length, table["length"][at])
    segments, places = table["segment"][at], table["offset"][at] + first
    order = np.argsort(segments, kind="stable")
    numbers, begins = np.unique(segments[order], return_index=True)
    held: list[tuple[np.ndarray, Columns]] = []
    for number, some in zip(numbers.tolist(), np.split(order, begins[1:]), strict=True):
        held.append((some, rows.segments.columns(number, core.known[number].rows)))
    _check(core, rows, at, first, last, wanted)
    whole, found = bool((last - first == length).all()), {}
    for leaf in wanted:
        groups = [(some, columns[leaf]) for some, columns in held]
        if whole:
            data = gather(groups, places, length)
        else:
            data = gather_padded(groups, places, last - first, first - starts, length)
        found[leaf] = shaped(spec, leaf, data, (len(ids), length))
    return found


def whole(core: Core, rows: Rows, record: Record, wanted: list[int], fields: Sequence[str] | None) -> Any:
    """Return what reads all rows of an episode, now or later, whatever happens to it until then."""
    spec, number, offset, length = rows.layout.spec, record["segment"], record["offset"], record["length"]
    held = rows.segments.columns(number, core.known[number].rows)
    columns = {leaf: held[leaf][offset : offset + length] for leaf in wanted}
    expected = _sums(core, rows, {record["id"]: length}).get(record["id"])

    def read() -> Any:
        for leaf, column in columns.items():
            for block in range(rows.layout.blocks(length)):
                cut = slice(block * rows.layout.block, (block + 1) * rows.layout.block)
                if expected is not None and zlib.crc32(column[cut].data) != expected[block, leaf]:
                    raise _damaged(rows, record["id"], number, leaf, block, length)
            column.flags.writeable = False
        return tree_of(spec, {leaf: shaped(spec, leaf, c, (length,)) for leaf, c in columns.items()}, fields)

    return read


def _check(core: Core, rows: Rows, at: np.ndarray, begins: np.ndarray, ends: np.ndarray, wanted: list[int]) -> None:
    """Check the blocks that some windows lie in, those that were not checked before."""
    if core.folder is None:
        return
    block, table, checked = rows.layout.block, core.table, rows.checked
    first, last = begins // block, (ends - 1) // block
    base = table.first_blocks[at]
    steps = np.arange(int((last - first).max(initial=0)) + 1)
    blocks = base[:, None] + np.minimum(first[:, None] + steps, last[:, None])  # the last one repeated
    missing = checked.missing(blocks, wanted)
    if not missing.any():
        return
    unchecked = np.flatnonzero(missing)
    ids, segments, offsets, lengths = (table[n][at[unchecked]].tolist() for n in ("id", "segment", "offset", "length"))
    expected = _sums(core, rows, dict(zip(ids, lengths, strict=True)))
    some = zip(ids, segments, offsets, lengths, first[unchecked].tolist(), last[unchecked].tolist(), strict=True)
    for episode, number, offset, length, begin, end in some:
        columns, sums = rows.segments.columns(number, core.known[number].rows), expected[episode]
        for j in range(begin, end + 1):
            cut = slice(offset + j * block, offset + min((j + 1) * block, length))
            for leaf in wanted:
                if zlib.crc32(columns[leaf][cut].data) != sums[j, leaf]:
                    raise _damaged(rows, episode, number, leaf, j, length)
    checked.mark(blocks[unchecked], wanted)


def _sums(core: Core, rows: Rows, lengths: dict[int, int]) -> dict[int, np.ndarray]:
    if isinstance(core.catalog, MemoryCatalog):  # memory is believed
        return {}
    found = core.catalog.checksums(lengths)
    result = {}
    for episode, length in lengths.items():
        if episode not in found:
            raise gone(episode)
        count = rows.layout.blocks(length)
        unpacked = checksums.unpacked(episode, found[episode], count, len(rows.layout.sizes))
        if unpacked is None:
            raise core.catalog.damaged(f"the entry of the checksums of episode {episode}")
        result[episode] = unpacked
    return result


def _damaged(rows: Rows, episode: int, number: int, leaf: int, block: int, length: int) -> DamagedError:
    size, name = rows.layout.block, ".".join(rows.layout.spec.paths[leaf])
    return DamagedError(
        f"{rows.segments.where(number)} is damaged: field {name!r} of episode {episode}, rows {block * size} to "
        f"{min((block + 1) * size, length) - 1}, does not have the checksum that it was stored with. Delete the "
        f"episode to go on without it."
    )
