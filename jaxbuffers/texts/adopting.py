"""All texts of a table with their ids, and the same in another table, as a checkpoint needs them."""

from collections.abc import Mapping

from jaxbuffers.errors import TextTableFullError, UnknownTextError
from jaxbuffers.texts.coding import digest
from jaxbuffers.texts.ids import claim
from jaxbuffers.texts.table import CHUNK, TextTable


def everything(table: TextTable) -> tuple[dict[int, bytes], int]:
    """Return all texts by id, ids ascending, as UTF-8; and a number above every id that the table has given."""
    with table._store.lock:
        return dict(sorted(table._store.items())), table._store.end


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


def adopt(table: TextTable, texts: Mapping[int, bytes], end: int) -> None:
    """Put texts that are `missing` into a table, under their ids, and on the disk if the table is.

    From now on no table of this process gives an id below ``end``.
    """
    store = table._store
    with store.lock:
        claim(end)
        store.adopt({i: (digest(data), store.pack(data)) for i, data in texts.items()}, end)
        store.commit()


def _short(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
