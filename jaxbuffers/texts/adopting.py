"""All texts of a table with their ids, and the same in another table, as a checkpoint needs them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxbuffers.errors import TextTableFullError, UnknownTextError
from jaxbuffers.texts.coding import digest
from jaxbuffers.texts.forks import together
from jaxbuffers.texts.ids import Supply
from jaxbuffers.texts.table import CHUNK, TextTable


class Given(NamedTuple):
    """Which ids a table has given.

    Attributes:
      end: a number above all of them.
      blocks: those that it would give next, each from the first to the one past the last.
    """

    end: int
    blocks: list[list[int]]


def everything(table: TextTable) -> tuple[dict[int, bytes], Given]:
    """Return all texts by id, ids ascending, as UTF-8; and which ids are given."""
    with table._store.lock:
        return dict(sorted(table._store.items())), Given(table._store.end, table._store.supply.blocks)


class Arrival(NamedTuple):
    """A saved table, and the one that is to have its texts.

    Attributes:
      label: of the saved one.
      table: where the texts go.
      texts: by id, as UTF-8.
      given: which ids the saved one has given.
    """

    label: str
    table: TextTable
    texts: Mapping[int, bytes]
    given: Given


def adopt(arrivals: Sequence[Arrival]) -> None:
    """Put texts into tables, under their ids, and on the disk where a table is: all, or none if they do not fit.

    The tables go on with the ids that the saved ones would have given, unless this process has given any as high
    already. They give none that those have given. One that has every text may be read-only: it gives no ids.

    Raises:
      UnknownTextError: a table has another text under one of the ids, or two saved ones that become one do.
      TextTableFullError: it has no room for them.
      TextFileError, WrongProcessError: it cannot be written. Nothing has changed, but where the disk is full.
    """
    tables = {id(each.table): each.table for each in arrivals}
    with together([table._store for table in tables.values()]):  # so that nobody takes an id after it was looked for
        new = {key: _missing(table, _joined(arrivals, table)) for key, table in tables.items()}
        writers = [key for key, table in tables.items() if new[key] or not table._store.read_only]
        for key in writers:
            tables[key]._store.check_writable()
        supplies = _supplies([each for each in arrivals if id(each.table) in writers])
        for key in writers:
            store, (end, supply) = tables[key]._store, supplies[key]
            store.adopt({i: (digest(data), store.pack(data)) for i, data in new[key].items()}, end, supply)
            store.commit()


def _joined(arrivals: Sequence[Arrival], table: TextTable) -> dict[int, bytes]:
    texts: dict[int, bytes] = {}
    for each in arrivals:
        if each.table is table:
            if any(texts[i] != each.texts[i] for i in texts.keys() & each.texts.keys()):
                raise UnknownTextError("two tables that were saved name different texts alike: give each its own here.")
            texts |= each.texts
    return texts


def _missing(table: TextTable, texts: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return those texts whose ids the table does not have."""
    store, ids, new = table._store, list(texts), {}
    for start in range(0, len(ids), CHUNK):
        some = ids[start : start + CHUNK]
        found = store.read(some)
        for i in some:
            if i not in found:
                new[i] = texts[i]
            elif found[i] != texts[i]:
                raise UnknownTextError(
                    f"text {i} is {_short(texts[i])} in the checkpoint and {_short(found[i])} in the table: give a "
                    f"new jb.TextTable, or the one that was saved."
                )
    size = sum(len(store.pack(data)) for data in new.values()) if table.max_bytes is not None else 0
    if table.max_bytes is not None and size and store.nbytes + size > table.max_bytes:
        raise TextTableFullError(
            f"{len(new)} texts of the checkpoint take {size} bytes, the table has {store.nbytes} of max_bytes="
            f"{table.max_bytes}. Raise the limit."
        )
    return new


def _supplies(arrivals: Sequence[Arrival]) -> dict[int, tuple[int, Supply]]:
    """Return, for each table, a number above all ids that were given, and the ids that it gives next.

    Where a saved table goes to several, the first goes on with its ids.
    """
    ends: dict[int, int] = {}
    blocks: dict[int, list[range]] = {}
    first: dict[str, int] = {}
    for each in arrivals:
        key = id(each.table)
        ends[key] = max(ends.get(key, 0), each.given.end)
        next_ones = blocks.setdefault(key, [])
        if first.setdefault(each.label, key) == key:
            next_ones += [range(*block) for block in each.given.blocks]
    supplies = Supply.continued([(ends[key], blocks[key]) for key in ends])
    return dict(zip(ends, zip(ends.values(), supplies, strict=True), strict=True))


def _short(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
