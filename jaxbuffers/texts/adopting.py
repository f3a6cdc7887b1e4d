"""All texts of a table with their ids, and the same in another table, as a checkpoint needs them."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxbuffers.errors import TextTableFullError, UnknownTextError
from jaxbuffers.texts.coding import digest
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


def missing(table: TextTable, texts: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return those texts whose ids the table does not have.

    Raises:
      UnknownTextError: it has another text under one of the ids.
      TextTableFullError: it has no room for them.
    """
    store, ids, new = table._store, list(texts), {}
    with store.lock:
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
        if table.max_bytes is not None and store.nbytes + size > table.max_bytes:
            raise TextTableFullError(
                f"{len(new)} texts of the checkpoint take {size} bytes, the table has {store.nbytes} of max_bytes="
                f"{table.max_bytes}. Raise the limit."
            )
    return new


def adopt(table: TextTable, texts: Mapping[int, bytes], given: Given) -> None:
    """Put texts that are `missing` into a table, under their ids, and on the disk if the table is.

    The table goes on with the ids that the other one would have given, unless this process has given any as high
    already. It gives none that the other one has given.
    """
    store = table._store
    with store.lock:
        supply = Supply.continued(given.end, [range(*block) for block in given.blocks])
        store.adopt({i: (digest(data), store.pack(data)) for i, data in texts.items()}, given.end, supply)
        store.commit()


def _short(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
