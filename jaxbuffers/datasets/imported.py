"""Imported: the episodes of a data set, one after another, as a store takes them."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.errors import DtypeError

Pair = tuple[Any, dict[str, Any]]
NARROW = {"float64": "float32", "complex128": "complex64", "int64": "int32", "uint64": "uint32"}


@dataclass(frozen=True)
class Imported:
    """The episodes of a data set. Each is read when it comes.

    Iterating gives pairs: the rows of an episode, leaves ``[T + 1, ...]``, and what else is known of it.

    Attributes:
      row: what a row is, for ``EpisodeStore(row=)`` and, where there are no texts, `Replay.init`.

    >>> import numpy as np, jaxbuffers as jb
    >>> arrays = dict(observations=np.zeros((5, 2), np.float32), actions=np.zeros(5, np.int32),
    ...               rewards=np.ones(5, np.float32), terminals=np.array([0, 1, 0, 0, 0], bool),
    ...               timeouts=np.array([0, 0, 0, 0, 1], bool), next_observations=np.zeros((5, 2), np.float32))
    >>> episodes = jb.datasets.from_arrays(arrays)
    >>> store = jb.EpisodeStore(row=episodes.row)
    >>> episodes.into(store), store.metadata["ending"], store.metadata["length"]
    ([0, 1], array(['terminated', 'truncated'], dtype=object), array([3, 4]))
    """

    row: Any
    _count: int = field(repr=False)
    _episodes: Callable[[], Iterator[Pair]] = field(repr=False)

    def __len__(self) -> int:
        """How many episodes there are."""
        return self._count

    def __iter__(self) -> Iterator[Pair]:
        """Go through the episodes in the order of the data set."""
        return self._episodes()

    def into(self, store: EpisodeStore) -> list[int]:
        """Store all episodes; return their ids.

        Each is durable when the next one is read. An error leaves those before it in the store.
        """
        return [store.add_episode(rows, metadata) for rows, metadata in self]


def narrowed(what: str, x: Any, narrow: bool) -> np.ndarray:
    """Return an array in a dtype that JAX holds; where ``narrow`` says so, with 32 bits for 64.

    Raises:
      DtypeError: it has 64 bits and nobody said so, or values that 32 bits cannot hold.
    """
    array = np.asarray(x)
    wanted = np.dtype(jax.dtypes.canonicalize_dtype(array.dtype)) if array.dtype.name in NARROW else array.dtype
    if wanted == array.dtype:
        return array
    if not narrow:
        raise DtypeError(
            f"{what!r} is {array.dtype}, and JAX's 64-bit types are off: say narrow=True to take it as {wanted}."
        )
    with np.errstate(over="ignore"):
        result = array.astype(wanted)
    lost = np.isinf(result) & ~np.isinf(array) if array.dtype.kind in "fc" else result != array
    if lost.any():
        raise DtypeError(f"{what!r} has values that {wanted} cannot hold, such as {array[lost].ravel()[0]}.")
    return result


def wide_dtype(dtype: Any, what: str, narrow: bool) -> np.dtype:
    """Return the dtype that arrays of some dtype will have; see `narrowed`."""
    return narrowed(what, np.empty(0, dtype), narrow).dtype


def needed(module: str, extra: str) -> Any:
    """Import an optional dependency."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this needs {module}: pip install 'jaxbuffers[{extra}]'") from error
