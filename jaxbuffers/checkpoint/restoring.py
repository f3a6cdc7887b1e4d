"""restore: everything is checked before anything is used."""

import os
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxbuffers.checkpoint import file
from jaxbuffers.checkpoint.boxes import whole
from jaxbuffers.checkpoint.comparing import check_alike, check_version
from jaxbuffers.checkpoint.cursor import Later, later_ids
from jaxbuffers.checkpoint.leaves import has_bytes, layout
from jaxbuffers.checkpoint.peers import Meeting, peers_of
from jaxbuffers.checkpoint.placing import made, parts_of, scattered, sharding_of
from jaxbuffers.checkpoint.publish import absolute
from jaxbuffers.checkpoint.shares import Shares
from jaxbuffers.checkpoint.snapshot import TEXTS, TREE, Tables, named_tables, texts_of
from jaxbuffers.checkpoint.tree import Node, apart, class_of, holder_of
from jaxbuffers.checkpoint.words import words_of
from jaxbuffers.checks import flag, number
from jaxbuffers.errors import ConfigurationError, StructureError
from jaxbuffers.texts import TextTable
from jaxbuffers.texts.adopting import Arrival, Given, adopt


@dataclass(frozen=True)
class Restored:
    """What was in a checkpoint.

    Attributes:
      tree: in the structure of ``like``.
      tables: the text tables by name, with the texts in them.
      metadata: what was given to ``save``.
      store: how far the store had come, if one was given to ``save``.
      path: of the file.
      step: its number, where a `Manager` has one.
    """

    tree: Any
    tables: dict[str, TextTable]
    metadata: Any
    store: dict[str, Any] | None
    path: str
    step: int | None = None


def restore(
    path: str | os.PathLike,
    like: Any,
    *,
    tables: Tables = None,
    store: Any = None,
    later: Later = "error",
    any_version: bool = False,
    timeout: float = 300.0,
) -> Restored:
    """Return what `save` saved, bit for bit, once all of it is known to be whole and to fit.

    Args:
      path: of the file.
      like: a tree of the same structure: a fresh one, or what ``jax.eval_shape`` returns. Leaves come back as arrays of
        NumPy where it has such, else as arrays of JAX, on the devices and with the sharding of its own; static values
        are those of ``like``. A `HostReplay` or `Demonstrations` in it takes what was saved, and is what is returned.
      tables: where texts go, by the names they were saved with; new tables in memory by default. One that has texts
        already keeps them. Those of a `HostReplay` go to its own.
      store: the `EpisodeStore` that was given to ``save``.
      later: what to do if episodes were committed to it since: ``"error"``; ``"drop"``, delete them, so that a resumed
        run finds the store as it was; ``"keep"`` them. If others have left it since, such as those that made room, it
        cannot be as it was: an error but for ``"keep"``.
      any_version: restore states that another release of this library saved; its changelog says whether they mean the
        same.
      timeout: seconds to wait for another process, where ``like`` lies on the devices of several under
        ``jax.distributed``. Then each of them must call this; each reads what its own devices hold, however many
        processes saved it; and it is restored in all of them or in none.

    Raises:
      CheckpointError: there is none, another version saved it, the store has later episodes, or another process could
        not restore it, or did not come.
      DamagedCheckpointError: its bytes are not those that were written.
      StructureError, ShapeError, DtypeError, ConfigurationError: ``like`` differs from what was saved: every leaf that
        differs is named, with what it was and what it is. Nothing has changed.
      UnknownTextError, TextTableFullError: a table has another text under a saved id, or no room. Nothing has changed.
      TextFileError, StoreError: the file of a table, or the store, cannot be written. Nothing has changed, but where
        the disk became full meanwhile: then tables may have texts of the checkpoint already.

    >>> import pathlib, tempfile, numpy as np, jaxbuffers as jb
    >>> path = pathlib.Path(tempfile.mkdtemp(), "run")
    >>> jb.checkpoint.save(path, {"weights": np.arange(3.0), "step": 7})
    >>> jb.checkpoint.restore(path, {"weights": np.zeros(3), "step": 0}).tree
    {'step': 7, 'weights': array([0., 1., 2.])}
    """
    where = absolute(path)
    flag("any_version", any_version)
    number("timeout", timeout, 0, above=True)
    peers = peers_of(like, timeout)
    everywhere: AbstractContextManager[dict[str, Any]] = nullcontext({})
    if peers is not None:
        everywhere = Meeting(peers).all_or_none()
    with ExitStack() as stack, everywhere as seen:
        stack.enter_context(jax.transfer_guard("allow"))
        reader = stack.enter_context(file.opened(where))
        words = words_of(reader)
        seen |= {"checkpoint": os.path.basename(where), "checksum": reader.sum}
        check_version(where, words, any_version)
        node = _apart(like, where, words)
        check_alike(where, words, node)
        later_episodes = later_ids(store, words["store"], later, where) if store is not None else ()
        given = _destinations(named_tables(tables), node, words)
        values = _values(node, words, reader, Shares(where, words, stack))
        texts = {label: _texts(reader, label) for label in words["tables"]}
    drop = later == "drop" and len(later_episodes) > 0
    if drop:
        store.delete(later_episodes[:0])  # raises where nothing can be deleted
    adopt([Arrival(label, table, texts[label], Given(**words["tables"][label])) for label, table in given])
    if drop:
        store.delete(later_episodes)
    node.hand_over(values)
    return Restored(node.rebuilt(values), dict(given[::-1]), words["metadata"], words["store"], where)


def _values(node: Node, words: dict[str, Any], reader: file.Reader, shares: Shares) -> dict[str, Any]:
    """Return the leaves that take the place of those of a tree, once all their bytes are known to be whole."""
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, Any] = {}
    here: dict[str, Any] = {}
    for name, leaf in node.everything().items():
        described = words["leaves"][name]
        sharding = sharding_of(leaf)
        if described.get("split") and sharding is not None and not sharding.is_fully_addressable:
            values[name] = scattered(name, described, partial(shares.parts, name, described), leaf)
            continue
        here[name] = leaf
        if described.get("split"):
            box = whole(described["shape"])
            arrays[name] = shares.parts(name, described, [box])[box]
        elif has_bytes(described):
            arrays[name] = reader.read(TREE + name, *layout(described))
    for name, leaf in here.items():
        array, sharding = arrays.pop(name, None), sharding_of(leaf)
        if array is not None and sharding is not None and not sharding.is_fully_addressable:
            values[name] = scattered(name, words["leaves"][name], parts_of(array), leaf)
        else:
            values[name] = made(name, words["leaves"][name], array, leaf)
    return values


def metadata(path: str | os.PathLike) -> Any:
    """Return what a user said about a checkpoint, without reading the rest: to know what to restore it into.

    >>> import pathlib, tempfile, jaxbuffers as jb
    >>> path = pathlib.Path(tempfile.mkdtemp(), "run")
    >>> jb.checkpoint.save(path, {}, metadata={"env": "CartPole-v1"})
    >>> jb.checkpoint.metadata(path)
    {'env': 'CartPole-v1'}
    """
    with file.opened(absolute(path)) as reader:
        return words_of(reader)["metadata"]


def _apart(like: Any, path: str, words: dict[str, Any]) -> Node:
    def inside(name: str, each: Any) -> Any:
        holder, facts = holder_of(each), words["parts"].get(name)
        assert holder is not None
        if facts is None or facts["class"] != class_of(each).__name__:
            saved = "no buffer" if facts is None else f"a {facts['class']}"
            raise StructureError(f"{path} holds {saved} at {name!r}; here is a {type(each).__name__}.")
        return holder.like(each, facts)

    node = apart(like, inside)
    if absent := sorted(words["parts"].keys() - node.holders().keys()):
        raise StructureError(f"{path} holds {absent[0]!r}, a {words['parts'][absent[0]]['class']}; it is not here.")
    return node


def _destinations(given: dict[str, TextTable], node: Node, words: dict[str, Any]) -> list[tuple[str, TextTable]]:
    """Return which saved table goes where; one may go to several, for buffers that no longer share theirs."""
    if unknown := sorted(given.keys() - words["tables"].keys()):
        raise ConfigurationError(
            f"no table was saved as {unknown[0]!r}; saved: {', '.join(map(repr, words['tables'])) or 'none'}."
        )
    found = list(given.items())
    for name, each in node.holders().items():
        label, holder = words["parts"][name].get("table"), holder_of(each)
        assert holder is not None
        if label is not None and not any(one == label and table is each.table for one, table in found):
            found.append((label, each.table))
    taken = {label for label, _ in found}
    return found + [(label, TextTable()) for label in words["tables"] if label not in taken]


def _texts(reader: file.Reader, label: str) -> dict[int, bytes]:
    columns: dict[str, np.ndarray] = {}
    for name, dtype in (("ids", np.int32), ("ends", np.int64), ("bytes", np.uint8)):
        entry = reader.entries.get(f"{TEXTS}{label}.{name}")
        shape = (0,) if entry is None else entry.shape
        columns[name] = reader.read(f"{TEXTS}{label}.{name}", np.dtype(dtype), shape)
    return texts_of(columns)
