"""Checksums of columns, block by block, and which blocks have been checked already."""

import zlib
from typing import Any

import numpy as np


def sums(columns: list[Any], block: int) -> np.ndarray:
    """Return the CRC-32 of each block of rows in each column, uint32 ``[blocks, columns]``.

    Args:
      columns: uint8 ``[T, size]`` each, contiguous.
      block: rows of a block.
    """
    starts = range(0, len(columns[0]), block)
    return np.array([[zlib.crc32(c[start : start + block]) for c in columns] for start in starts], np.uint32)


def packed(episode: int, found: np.ndarray) -> bytes:
    """Return checksums as they are stored: little-endian, and after them their own, which covers the id too."""
    data = found.astype("<u4").tobytes()
    return data + zlib.crc32(data, episode & 0xFFFFFFFF).to_bytes(4, "little")


def unpacked(episode: int, data: Any, blocks: int, columns: int) -> np.ndarray | None:
    """Undo `packed`; None if the bytes are damaged."""
    if not isinstance(data, bytes) or len(data) != 4 * (blocks * columns + 1):
        return None
    if zlib.crc32(data[:-4], episode & 0xFFFFFFFF) != int.from_bytes(data[-4:], "little"):
        return None
    return np.frombuffer(data, "<u4", blocks * columns).reshape(blocks, columns)


class Checked:
    """Which blocks of which columns have been checked since the store was opened.

    Blocks are numbered as their episodes come, and numbers are never used twice.
    """

    def __init__(self, columns: int) -> None:
        self._first = 0  # number of the first block that is remembered
        self._done = np.zeros((1024, columns), np.bool_)

    def extend(self, begin: int, end: int, *live: np.ndarray) -> None:
        """Make room for the blocks from ``begin`` to ``end``; those before it and all ``live``, int ``[n]``, may go."""
        if end - self._first <= len(self._done):
            return
        first = max(min(int(each.min(initial=begin)) for each in live), self._first)
        kept = self._done[first - self._first :]
        done = np.zeros((max(2 * (end - first), 1024), kept.shape[1]), np.bool_)
        done[: len(kept)] = kept
        self._done, self._first = done, first

    def missing(self, blocks: np.ndarray, columns: list[int]) -> np.ndarray:
        """Say which windows have blocks, int ``[B, n]``, with a column that is unchecked: bool ``[B]``."""
        done = self._done[blocks - self._first]
        return ~(done if len(columns) == done.shape[-1] else done[..., columns]).all(axis=(1, 2))

    def mark(self, blocks: np.ndarray, columns: list[int]) -> None:
        """Remember that blocks, int ``[B, n]``, are as they were written."""
        self._done[(blocks.reshape(-1, 1) - self._first), columns] = True
