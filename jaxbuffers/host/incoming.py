"""Rows as an actor sends them, checked in full: what an `Inbox` copies from."""

from typing import Any

import jax
import numpy as np

from jaxbuffers.checks import row_mask
from jaxbuffers.errors import ShapeError, StructureError
from jaxbuffers.host.checks import usable
from jaxbuffers.row import Path, RowSpec


def incoming(spec: RowSpec, num_envs: int | None, rows: Any, mask: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the leaves of rows, ``[n, e, ...]``, and which rows there are, bool ``[n, e]``; or raise.

    Args:
      spec: what a row is.
      num_envs: e; None for rows without that axis.
      rows: leaves ``[e, ...]`` or ``[n, e, ...]``.
      mask: bool, the leading axes of ``rows``; None for all.
    """
    lead = spec.leading(rows)
    axes = () if num_envs is None else (num_envs,)
    if lead[len(lead) - len(axes) :] != axes or len(lead) - len(axes) not in (0, 1):
        names = "".join(f"{size}, " for size in axes)
        raise ShapeError(f"rows must have leaves [{names}...] or [n, {names}...]; got leading axes {lead}.")
    shape = lead[0] if len(lead) > len(axes) else 1, num_envs or 1
    arrays = [_array(path, leaf) for path, leaf in zip(spec.paths, jax.tree.leaves(rows), strict=True)]
    leaves = [array.reshape(*shape, *own) for array, own in zip(arrays, spec.shapes, strict=True)]
    written = np.ones(shape, bool) if mask is None else np.asarray(row_mask(mask, lead)).reshape(shape)
    flags = dict(zip(spec.paths, leaves, strict=True))
    last, terminal = flags.get(("is_last",)), flags.get(("is_terminal",))
    if last is not None and terminal is not None and (terminal & ~last & written).any():
        raise StructureError("is_terminal is True where is_last is False: a terminal row is the last of its episode.")
    return leaves, written


def _array(path: Path, leaf: Any) -> np.ndarray:
    return leaf if type(leaf) is np.ndarray else np.asarray(usable(path, leaf))
