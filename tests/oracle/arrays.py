"""Pytrees of arrays to flat dicts of NumPy arrays, and the oracle's windows to the same."""

from typing import Any

import jax
import numpy as np

from oracle.replay import Row, Window


def leaves_of(tree: Any) -> dict[str, np.ndarray]:
    """Name every leaf of a pytree by its dotted path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def row_at(leaves: dict[str, np.ndarray], *place: int) -> Row:
    """One row, as the oracle keeps it, out of stacked leaves."""
    return {path: leaf[place] for path, leaf in leaves.items()}


def windows_to_arrays(
    windows: list[Window | None], slots: int, like: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Stack windows of ``slots`` slots into times ``[W, slots]`` and leaves ``[W, slots, ...]`` as in ``like``.

    None stands for padding: time -1 and zeros. Raises KeyError if a window lacks a leaf of ``like``, and
    asserts that it has no other.
    """
    times = np.full((len(windows), slots), -1)
    leaves = {path: np.zeros((len(windows), slots, *leaf.shape), leaf.dtype) for path, leaf in like.items()}
    where, rows = [], []
    for i, window in enumerate(windows):
        if window is not None:
            assert len(window.times) == len(window.slots) == slots
            times[i] = window.times
            where += [(i, k) for k, row in enumerate(window.slots) if row is not None]
            rows += [row for row in window.slots if row is not None]
    if rows:
        assert rows[0].keys() == like.keys()
        at = tuple(np.array(where).T)
        for path, leaf in leaves.items():
            leaf[at] = np.array([row[path] for row in rows])
    return times, leaves
