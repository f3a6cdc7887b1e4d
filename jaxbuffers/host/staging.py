"""Rows that wait on the host, in memory that was allocated before, until many are added to the state at once."""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxbuffers.host.staged_layout import CALLED, WRITTEN, Arrays, Layout
from jaxbuffers.replay import Replay
from jaxbuffers.row import RowSpec

MOST = 256  # rows of each stream
ROOM = 2**22  # bytes that a block takes at most, unless it is one row
STEP = 8  # blocks come in sizes this many times apart, each compiled once

_NOTHING: dict[type, tuple[Any, Any]] = {}


class Staging:
    """One block of waiting rows, and the one before, which the device may still be reading.

    A row counts from the moment ``count`` is raised: whatever interrupts a call before that leaves nothing behind.

    Args:
      replay: the configuration.
      spec: what one row looks like.
      most: how many rows of each stream may wait; None for as many as are of use.
    """

    def __init__(self, replay: Replay, spec: RowSpec, most: int | None) -> None:
        self.lead = () if replay.num_envs is None else (replay.num_envs,)
        self.layout = Layout(spec, self.lead)
        room = max(ROOM // self.layout.nbytes, 1) if most is None else most
        # Of more rows than that at once the last could end a window that the first complete: some samplers would
        # never hear of it.
        size = min(MOST if most is None else most, room, replay.length - replay.view.span + 1)
        self.size = size if size > 1 else 0
        self.count = 0
        self.turn = 0  # how many blocks there were before
        self._came = 1  # rows of each stream, with the last call
        self.open = False  # to rows that nobody else has checked, once one like them has been
        self._inside = False  # a handler of a signal may come in the middle of a row, and bring one of its own
        self._checks = _checks(spec, self.lead)
        row = spec.treedef.unflatten(range(len(spec.paths)))
        flat = type(row) is dict and all(type(place) is int for place in row.values())
        self._names = list(row) if flat else None
        self._order = [row[name] for name in row] if flat else list(range(len(spec.paths)))
        self._flags = [spec.paths.index((name,)) for name in ("is_terminal", "is_last") if (name,) in spec.paths]
        self._flags = self._flags if all(spec.dtypes[i] == np.bool_ and not spec.shapes[i] for i in self._flags) else []
        self._block = self._fresh()
        self._spare: _Block | None = None

    def fits(self, lead: tuple[int, ...]) -> int:
        """How many rows of each stream those with these leading axes are, if they may wait; else 0."""
        if lead == self.lead:
            return min(self.size, 1)
        # Two blocks of rows at least, or they might as well be added at once.
        return lead[0] if lead[1:] == self.lead and 2 * lead[0] <= self.size else 0

    def put(self, rows: Any, mask: Any) -> bool:
        """Take one row of each stream, or a block of them; False, with nothing taken, unless they plainly are and fit.

        Only what needs no conversion is taken: NumPy arrays and scalars of the declared dtype, and Python numbers of
        which the declared dtype has the nearest value.
        """
        if self._inside:
            return False  # the row that was begun has this place
        self._inside = True
        try:
            if self._names is None:
                try:
                    rows = self.layout.spec.treedef.flatten_up_to(rows)
                except (ValueError, TypeError, AttributeError):
                    return False
            elif type(rows) is not dict or len(rows) != len(self._names):
                return False
            return self._put(rows, mask) or self._put_block(rows, mask)
        except KeyError:  # of a name, or of a type
            return False
        finally:
            self._inside = False

    def _put(self, rows: Any, mask: Any) -> bool:
        place, block = self.count, self._block
        if place >= self.size:
            return False
        for name, column, shape, dtype, scalar, ranges in block.columns:
            value = rows[name]
            kind = type(value)
            if kind is np.ndarray:
                if value.shape != shape or value.dtype != dtype:
                    return False
            elif kind is not scalar:
                low, high = ranges[kind]
                if not low <= value <= high:
                    return False
            column[place] = value
        written: Any = WRITTEN
        if mask is not None:
            if type(mask) is not np.ndarray or mask.dtype != np.bool_ or mask.shape != self.lead:
                return False
            written = mask * np.uint32(WRITTEN)
        if len(block.ends) == 2:
            terminal, last = block.ends
            if np.any((terminal[place] > last[place]) & (written == WRITTEN)):
                return False
        self._came = 1
        if self.count != place or self._block is not block:  # a handler has had the others added meanwhile
            return False
        block.kinds[place] = written + CALLED
        self.count = place + 1  # from here on it is there
        return True

    def _put_block(self, rows: Any, mask: Any) -> bool:
        place, block = self.count, self._block
        first = rows[block.columns[0][0]]
        lead = first.shape[: 1 + len(self.lead)] if type(first) is np.ndarray else ()
        number = self.fits(lead) if len(lead) > len(self.lead) else 0
        if not number or place + number > self.size:
            return False
        here = slice(place, place + number)
        for name, column, shape, dtype, *_ in block.columns:
            value = rows[name]
            if type(value) is not np.ndarray or value.shape != (number, *shape) or value.dtype != dtype:
                return False
            column[here] = value
        kinds = np.full(lead, WRITTEN, np.uint32)
        if mask is not None:
            if type(mask) is not np.ndarray or mask.dtype != np.bool_ or mask.shape != lead:
                return False
            kinds *= mask
        if len(block.ends) == 2:
            terminal, last = block.ends
            if np.any((terminal[here] > last[here]) & (kinds == WRITTEN)):
                return False
        kinds[0] += np.uint32(CALLED)  # one call has brought them all
        self._came = number
        if self.count != place or self._block is not block:  # a handler has had the others added meanwhile
            return False
        block.kinds[here] = kinds
        self.count = place + number  # from here on all of them are there
        return True

    def block(self) -> Arrays:
        """Return what waits, in one of a few sizes: rows that no call has brought fill it up."""
        self._spare = self._spare or self._fresh()  # before anything is added: there may be no memory
        size = 1
        while size < self.count:
            size *= STEP
        size = min(size, self.size)
        if self.count < size:
            self._block.kinds[self.count : size] = 0  # whatever was here before, or was interrupted
        parts = self._block.parts
        if size not in parts:
            words, large = self._block.arrays
            parts[size] = Arrays(words[:size], tuple(leaf[:size] for leaf in large))
        return parts[size]

    def written(self) -> np.ndarray:
        """How many rows of each stream wait: int64 ``[E]``."""
        kinds = self._block.kinds[: self.count].reshape(self.count, math.prod(self.lead))
        return np.asarray(np.sum(kinds % CALLED, axis=0, dtype=np.int64))

    def clear(self, read: jax.Array | None) -> None:
        """Begin a new block; ``read`` is there once the device has read the old one, None if it never does."""
        self.turn += 1
        if read is None:
            self._block.kinds[: self.count] = 0
            self.count = 0
            return
        old, self.count = self._block, 0
        old.read = read
        new = self._spare or self._fresh()
        if new.read is not None:
            new.read.block_until_ready()  # it was given to the device one block ago
        self._block, self._spare = new, old

    def take_back(self) -> None:
        """Forget what came last."""
        self.count -= self._came

    def _fresh(self) -> "_Block":
        arrays = self.layout.arrays(self.size)
        columns = self.layout.columns(arrays)
        names = self._order if self._names is None else self._names
        return _Block(
            arrays=arrays,
            columns=[(name, columns[i], *self._checks[i]) for name, i in zip(names, self._order, strict=True)],
            ends=[columns[i] for i in self._flags],
            kinds=arrays.words[..., -1],
        )


@dataclass
class _Block:
    """Memory for waiting rows.

    Attributes:
      arrays: all of it.
      columns: of each leaf its name, its part of the memory and its checks.
      ends: of these ``is_terminal`` and ``is_last``.
      kinds: which rows are there and written (see `Layout`).
      parts: the first rows of it, by how many.
      read: is ready once the device has read what it was given last.
    """

    arrays: Arrays
    columns: list[tuple[Any, ...]]
    ends: list[np.ndarray]
    kinds: np.ndarray
    parts: dict[int, Arrays] = field(default_factory=dict)
    read: jax.Array | None = None


def _checks(spec: RowSpec, lead: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Return for each leaf the shape and dtype of arrays, the type of scalars, and the ranges of Python's numbers."""
    return [
        (lead + shape, dtype, *((_NOTHING, _NOTHING) if lead + shape else (dtype.type, _ranges(dtype))))
        for shape, dtype in zip(spec.shapes, spec.dtypes, strict=True)
    ]


def _ranges(dtype: np.dtype) -> dict[type, tuple[Any, Any]]:
    """Map types of numbers by the range in which they become values of a dtype: floats rounded, all else exact."""
    if dtype == np.bool_:
        return {bool: (False, True)}
    if dtype.kind in "iu" and dtype.itemsize <= 4:
        limits = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        return {int: limits, np.int64: limits}
    if dtype == np.float32:
        most = float(np.finfo(np.float32).max)
        return {float: (-most, most), np.float64: (-most, most), int: (-(2**24), 2**24)}
    return {}
