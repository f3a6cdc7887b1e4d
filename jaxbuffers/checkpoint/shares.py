"""Shares: the files beside a checkpoint of several processes, one each, with its pieces of the arrays that they share.

Beside the checkpoint ``run`` lie ``run.TOKEN.0of2`` and ``run.TOKEN.1of2``. They are written first, and count for
nothing until ``run`` names their token.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

from jaxbuffers.checkpoint import file
from jaxbuffers.checkpoint.boxes import Box, common, covered, size_of, slices, whole
from jaxbuffers.checkpoint.leaves import Described, layout
from jaxbuffers.checkpoint.publish import sync
from jaxbuffers.checkpoint.snapshot import IN_SHARES, TREE, Pieces, header
from jaxbuffers.errors import CheckpointError, DamagedCheckpointError


def share_path(path: str, token: str, number: int, count: int) -> str:
    """Return where the share of a process is."""
    return f"{path}.{token}.{number}of{count}"


def write_share(path: str, token: str, number: int, count: int, pieces: Pieces) -> int:
    """Write the share of this process, on the disk when this returns; return its checksum.

    Args:
      path: of the checkpoint.
      token: of this save.
      number: of the share.
      count: how many there are.
      pieces: of each array that is shared, by the name of the leaf.
    """
    words = {
        "format": IN_SHARES,
        "share": {"token": token, "number": number, "count": count},
        "pieces": {name: [box for box, _ in some] for name, some in pieces.items()},
    }
    arrays = {_called(name, i): array for name, some in pieces.items() for i, (_, array) in enumerate(some)}
    where = share_path(path, token, number, count)
    with file.translated(where, "write"):
        file.write(where, header(words), arrays)
        sync(os.path.dirname(where))
    with file.opened(where) as reader:
        return reader.sum


def sweep(folder: str, names: str) -> None:
    """Delete shares that belong to no checkpoint; whoever calls this has the lock.

    Args:
      folder: where to look.
      names: a regular expression for the names of checkpoints.
    """
    share = re.compile(rf"({names})\.([0-9a-f]{{8}})\.\d+of\d+")
    found: dict[str, list[tuple[str, str]]] = {}
    with file.translated(folder, "write"):
        for name in os.listdir(folder):
            if matched := share.fullmatch(name):
                found.setdefault(matched[1], []).append((name, matched.groups()[-1]))
        for checkpoint, shares in found.items():
            try:
                token = token_of(os.path.join(folder, checkpoint))
            except DamagedCheckpointError:
                continue  # nobody knows
            for name, its in shares:
                if its != token:
                    with suppress(FileNotFoundError):
                        os.remove(os.path.join(folder, name))


def token_of(path: str) -> str | None:
    """Return the token of the shares of a checkpoint; None if it has none, or is not there."""
    if not os.path.lexists(path):
        return None
    with file.opened(path) as reader:
        words = json.loads(reader.words.get("jaxbuffers", "{}"))
    token: str | None = (words.get("shares") or {}).get("token")
    return token


class Shares:
    """The shares of a checkpoint, open to be read.

    Args:
      path: of the checkpoint.
      words: what it says.
      stack: what closes them.

    Raises:
      DamagedCheckpointError: one is missing, or is not the one that was saved with it; or the pieces of an array are
        not all of it.
    """

    def __init__(self, path: str, words: Mapping[str, Any], stack: ExitStack) -> None:
        self._pieces: dict[str, list[tuple[Box, file.Reader, str]]] = {}
        self._readers: list[file.Reader] = []
        saved = words.get("shares") or {"token": None, "sums": []}
        for number, total in enumerate(saved["sums"]):
            reader, boxes = _opened(path, saved["token"], number, len(saved["sums"]), total, stack)
            self._readers.append(reader)
            for name, some in boxes.items():
                for i, box in enumerate(some):
                    each = tuple((int(start), int(stop)) for start, stop in box)
                    self._pieces.setdefault(name, []).append((each, reader, _called(name, i)))
        for name, described in words["leaves"].items():
            boxes_of_it = [box for box, _, _ in self._pieces.get(name, [])]
            if described.get("split") and not covered(described["shape"], boxes_of_it):
                raise DamagedCheckpointError(
                    f"{path} is damaged: the pieces of leaf {name!r} are not all of it, or overlap. Go back to an "
                    f"earlier one."
                )

    def parts(self, name: str, described: Described, boxes: Sequence[Box]) -> dict[Box, np.ndarray]:
        """Return the parts of an array in some boxes; every piece that is read is checked as a whole."""
        dtype, shape = layout(described)
        more = whole(shape[len(described["shape"]) :])  # the words of keys
        found = {box: np.empty(size_of(box + more), dtype) for box in boxes}
        for piece, reader, called in self._pieces.get(name, []):  # none of an array without elements
            wanted = {box: both for box in boxes if (both := common(box, piece)) is not None}
            if not wanted:
                continue
            array = reader.read(called, dtype, size_of(piece + more))
            for box, both in wanted.items():
                if box == piece:
                    found[box] = array if len(wanted) == 1 else array.copy()
                else:
                    found[box][slices(both, box)] = array[slices(both, piece)]
        return found

    def check(self) -> None:
        """Raise `DamagedCheckpointError` unless every byte is the one that was written."""
        for reader in self._readers:
            reader.check()


def _opened(
    path: str, token: str, number: int, count: int, total: int, stack: ExitStack
) -> tuple[file.Reader, dict[str, Any]]:
    """Open a share, and return the boxes of its pieces, too."""
    where = share_path(path, token, number, count)
    if not os.path.lexists(where):
        if token_of(path) != token:
            raise CheckpointError(f"{path} was replaced by another save while it was read; restore it again.")
        raise DamagedCheckpointError(
            f"{path} is not whole: {os.path.basename(where)}, the share of process {number + 1} of the {count} that "
            f"saved it, is missing. Keep all files together whose names begin with {os.path.basename(path)}."
        )
    reader = stack.enter_context(file.opened(where))
    try:
        words = json.loads(reader.words["jaxbuffers"])
        its, boxes = words["share"], dict(words["pieces"])
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(f"{where} is no share of a checkpoint.") from error
    if its != {"token": token, "number": number, "count": count} or reader.sum != total:
        raise DamagedCheckpointError(
            f"{where} comes from another save than {path}: shares of two checkpoints are mixed. Take all from one."
        )
    return reader, boxes


def _called(name: str, number: int) -> str:
    return f"{TREE}{name}#{number}"
