"""All that a checkpoint will hold, in memory on the host: from here on nothing else needs to stay as it is."""

import json
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax
import jax
import numpy as np

from jaxbuffers.checkpoint.boxes import Box, own_pieces, own_shards
from jaxbuffers.checkpoint.cursor import note
from jaxbuffers.checkpoint.json_values import checked
from jaxbuffers.checkpoint.leaves import describe, has_bytes, to_host
from jaxbuffers.checkpoint.tree import apart, class_of, holder_of
from jaxbuffers.errors import ConfigurationError, StructureError, UnknownTextError
from jaxbuffers.replay import ReplayState
from jaxbuffers.texts import TextTable
from jaxbuffers.texts.adopting import everything
from jaxbuffers.texts.live import ids_of

FORMAT = 1  # raised by 2 when the meaning of a file changes, or that of the arrays of a state
IN_SHARES = FORMAT + 1  # the same, with arrays of which each process has a share, in a file of its own
TREE, TEXTS = "tree.", "texts."  # begin the names of arrays

Tables = TextTable | Mapping[str, TextTable] | None
Pieces = dict[str, list[tuple[Box, np.ndarray]]]


class Snapshot(NamedTuple):
    """What goes into the file.

    Attributes:
      words: the header.
      arrays: by name.
      pieces: of arrays that several processes share, those that this one saves, by the name of the leaf.
    """

    words: dict[str, Any]
    arrays: dict[str, np.ndarray]
    pieces: Pieces


@jax.transfer_guard("allow")  # it is there to find transfers that nobody asked for
def taken(tree: Any, tables: Tables, store: Any, metadata: Any, copy: bool, shared: bool = False) -> Snapshot:
    """Take a snapshot.

    Args:
      tree: what to save.
      tables: and the tables with its texts.
      store: of which the cursor is noted.
      metadata: JSON.
      copy: whether the arrays of ``tree`` may be written to or donated before the snapshot is written.
      shared: whether other processes save their parts of it meanwhile.
    """
    if shared:
        _check_shareable(tree, tables, store)
    facts: dict[str, Any] = {}
    named, its_table = named_tables(tables), {}

    def inside(name: str, each: Any) -> Any:
        holder = holder_of(each)
        assert holder is not None
        part = holder.part(each)
        facts[name] = {"class": class_of(each).__name__, **part.facts}
        if part.table is not None:
            its_table[name] = part.table
        return part.tree

    node = apart(tree, inside)
    for name, table in its_table.items():
        label = next((label for label, other in named.items() if other is table), None)
        if label is None:
            label = f"{name}.table" if name else "table"
            if label in named:
                raise ConfigurationError(f"two tables are called {label!r}; give the one in tables= another name.")
            named[label] = table
        facts[name]["table"] = label
    cursor = None if store is None else checked(note(store), "the cursor of the store")
    _check_texts(tree, tables, named)
    described = {name: describe(name, leaf, shared) for name, leaf in node.everything().items()}
    for leaf in node.everything().values():
        if isinstance(leaf, jax.Array) and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            parts = [leaf] if leaf.is_fully_addressable else [each.data for each in own_shards(leaf)]
            for part in parts:
                part.copy_to_host_async()
    split = [name for name, each in described.items() if each.get("split")]
    pieces = {name: own_pieces(node.everything()[name], copy) for name in split}
    arrays = {
        TREE + name: to_host(leaf, copy)
        for name, leaf in node.everything().items()
        if has_bytes(described[name]) and name not in pieces
    }
    given = {}
    for label, table in named.items():
        columns, given[label] = _columns(table)
        arrays |= {f"{TEXTS}{label}.{name}": column for name, column in columns.items()}
    words = {
        "format": IN_SHARES if shared else FORMAT,
        "versions": versions(),
        "leaves": described,
        "made_by": {name: maker.text for name, maker in node.makers().items()},
        "parts": facts,
        "tables": given,
        "store": cursor,
        "metadata": checked(metadata),
    }
    return Snapshot(words, arrays, pieces)


def named_tables(tables: Tables) -> dict[str, TextTable]:
    """Return tables by name; one that has none is called ``texts``."""
    if tables is None:
        return {}
    named = {"texts": tables} if isinstance(tables, TextTable) else tables
    if not isinstance(named, Mapping) or not all(isinstance(table, TextTable) for table in named.values()):
        raise ConfigurationError(f"tables must be a jb.TextTable, or a dict of them by name; got {tables!r}.")
    return dict(named)


def texts_of(arrays: Mapping[str, np.ndarray]) -> dict[int, bytes]:
    """Return the texts in the columns of a table, by id."""
    ends, data = arrays["ends"].tolist(), arrays["bytes"].tobytes()
    return {i: data[start:end] for i, start, end in zip(arrays["ids"].tolist(), [0, *ends], ends, strict=False)}


def header(words: dict[str, Any]) -> dict[str, str]:
    """Return the words as the file's header has them."""
    return {"jaxbuffers": json.dumps(words)}


def _columns(table: TextTable) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    texts, given = everything(table)
    lengths = np.fromiter(map(len, texts.values()), np.int64, len(texts))
    columns: dict[str, np.ndarray] = {
        "ids": np.fromiter(texts, np.int32, len(texts)),
        "ends": np.cumsum(lengths, dtype=np.int64),
        "bytes": np.frombuffer(b"".join(texts.values()), np.uint8),
    }
    return columns, given._asdict()


def _check_shareable(tree: Any, tables: Tables, store: Any) -> None:
    """Refuse what belongs to one process."""
    own = [type(leaf).__name__ for leaf in jax.tree.leaves(tree) if holder_of(leaf) is not None]
    own += ["TextTable"] if named_tables(tables) else []  # {} says that texts are kept elsewhere
    own += [type(store).__name__] if store is not None else []
    if own:
        what = f"{'an' if own[0][0] in 'AEIOU' else 'a'} {own[0]}"
        raise StructureError(
            f"{what} belongs to one process, and this tree is saved by several together: save it apart, in each "
            f"process to a path of its own."
        )


def _check_texts(tree: Any, tables: Tables, named: dict[str, TextTable]) -> None:
    """Refuse states with texts whose table is not saved with them, unless the user says so: ``tables={}``."""
    states = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, ReplayState))
    for state in states:
        if isinstance(state, ReplayState) and state.spec.texts:
            if tables is None:
                raise StructureError(
                    f"the rows of a replay hold texts ({', '.join('.'.join(path) for path in state.spec.texts)}): give "
                    f"their table as tables=, or tables={{}} where the texts are kept elsewhere."
                )
            if named and not any(_knows(table, ids_of(state)) for table in named.values()):
                raise UnknownTextError("none of the tables given has all texts that the rows of a replay refer to.")


def _knows(table: TextTable, ids: np.ndarray) -> bool:
    return bool(np.isin(ids[ids > 0], table.ids()).all())


def versions() -> dict[str, str]:
    """Return the versions of what a file depends on."""
    ours: Any = sys.modules[__name__.split(".")[0]]
    return {"jaxbuffers": ours.__version__, "jax": jax.__version__, "numpy": np.__version__, "flax": flax.__version__}
