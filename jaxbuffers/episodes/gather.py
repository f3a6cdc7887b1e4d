"""Windows of rows out of columns, with as few copies as there can be."""

import numpy as np

ALIGNMENT = 64
LONG = 4096  # bytes of a window from which it is faster to copy windows one by one


def gather(groups: list[tuple[np.ndarray, np.ndarray]], starts: np.ndarray, length: int) -> np.ndarray:
    """Return windows of one leaf, uint8 ``[B, length * size]``.

    Args:
      groups: for each segment that has windows, which ones, int ``[n]``, and its column, uint8 ``[rows, size]``.
      starts: where each window begins in its segment, int ``[B]``.
      length: rows of a window.
    """
    size = length * groups[0][1].shape[1]
    if size >= LONG:
        result = _aligned(len(starts) * size).reshape(len(starts), size)
        for places, column in groups:
            flat, width = column.reshape(-1), column.shape[1]
            for place, start in zip(places.tolist(), (starts[places] * width).tolist(), strict=True):
                result[place] = flat[start : start + size]
        return result
    kind, gathered = np.dtype((np.void, size)), np.empty(0)
    for places, column in groups:
        rows, width = column.shape
        windows: np.ndarray = np.ndarray((rows - length + 1,), kind, column, 0, (width,))  # they overlap
        if len(groups) == 1:
            gathered = windows[starts]
            break
        if not len(gathered):
            gathered = np.empty(len(starts), kind)
        gathered[places] = windows[starts[places]]
    return gathered.view(np.uint8).reshape(len(starts), size)


def gather_padded(
    groups: list[tuple[np.ndarray, np.ndarray]], starts: np.ndarray, counts: np.ndarray, skips: np.ndarray, length: int
) -> np.ndarray:
    """Return windows of one leaf, uint8 ``[B, length * size]``, of which some rows are zero.

    Args:
      groups: as for `gather`.
      starts: where the rows of each window begin in its segment, int ``[B]``.
      counts: how many there are, int ``[B]``.
      skips: how many rows of zeros come before them, int ``[B]``.
      length: rows of a window, zeros included.
    """
    width = groups[0][1].shape[1]
    result = _aligned(len(starts) * length * width).reshape(len(starts), length * width)
    if length * width >= LONG:
        for places, column in groups:
            flat = column.reshape(-1)
            edges = np.stack([starts, counts, skips])[:, places] * width
            for place, start, count, skip in zip(places.tolist(), *edges.tolist(), strict=True):
                row = result[place]
                row[:skip], row[skip + count :] = 0, 0
                row[skip : skip + count] = flat[start : start + count]
        return result
    step = np.arange(length) - skips[:, None]
    inside = (step >= 0) & (step < counts[:, None])
    at = starts[:, None] + np.where(inside, step, 0)
    rows = result.reshape(len(starts), length, width)
    for places, column in groups:
        rows[places] = column[at[places]]
    rows[~inside] = 0
    return result


def _aligned(size: int) -> np.ndarray:
    """Return memory that JAX takes over on a CPU as it is; what does not begin so it copies."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + size]
