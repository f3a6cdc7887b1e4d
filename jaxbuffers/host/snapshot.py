"""The windows of a state, read by their numbers."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Draw
from jaxbuffers.errors import StructureError
from jaxbuffers.host.batch import leaves_by_name, text_names
from jaxbuffers.numerics.search import locate
from jaxbuffers.replay import Replay, ReplayState

AT_ONCE = 2**26  # bytes to read in one call, where more than one window is asked for


class Snapshot:
    """Every legal window of a state: window ``i`` is the same whenever, and beside whichever others, it is read.

    Args:
      replay: the configuration.
      state: the state to read.
      fields: from the data of one window to the fields to return; None for the data as it is.

    Raises:
      StructureError: what ``fields`` returns is no (nested) dict of arrays.
    """

    def __init__(self, replay: Replay, state: ReplayState, fields: Callable[[Any], Any] | None) -> None:
        self._replay, self._state, self._fields = replay, state, fields
        self.count = int(replay.count(state))
        self.texts: tuple[str, ...] = ()
        found, mask = jax.eval_shape(partial(self._item, state), jax.ShapeDtypeStruct((), jnp.int32))
        self.leaves: dict[str, jax.ShapeDtypeStruct] = named(found, mask, mask.ndim > 0)
        self._read = jax.jit(jax.vmap(self._item, in_axes=(None, 0)))

    def read(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """Return several windows, leaves ``[n, ...]`` by their names; where windows have several rows, their mask."""
        size = 1 << max(len(numbers) - 1, 0).bit_length()  # few sizes, few compilations
        found, mask = self._read(self._state, np.array([*numbers, *[0] * (size - len(numbers))], np.int32))
        leaves = named(found, mask, mask.ndim > 1)
        return {name: np.array(leaf)[: len(numbers)] for name, leaf in leaves.items()}

    def all(self) -> dict[str, np.ndarray]:
        """Return every window, leaves ``[count, ...]``, reading some at a time."""
        columns = {name: np.empty((self.count, *leaf.shape), leaf.dtype) for name, leaf in self.leaves.items()}
        window = sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in self.leaves.values())
        size = 1 << min(AT_ONCE // window, 4096, self.count).bit_length()
        for start in range(0, self.count, size):
            numbers = np.minimum(np.arange(start, start + size), self.count - 1)  # one size, one compilation
            for name, leaf in self.read(numbers.tolist()).items():
                columns[name][start : start + size] = leaf[: self.count - start]
        return columns

    def _item(self, state: ReplayState, number: jax.Array) -> tuple[Any, jax.Array]:
        """Read one window, and choose its fields; remember which of them are texts, passed on unchanged."""
        data, mask = self._window(state, number)
        leaves = leaves_by_name(data)
        ids = [leaves[name] for name in text_names(data, state.spec)]
        found = data if self._fields is None else _chosen(self._fields(data))
        named_fields = leaves_by_name(found).items()
        self.texts = tuple(name for name, leaf in named_fields if any(leaf is each for each in ids))
        return found, mask

    def _window(self, state: ReplayState, number: jax.Array) -> tuple[Any, jax.Array]:
        """Read one window: its data and mask, without an axis for the batch, wherever the view puts that."""
        read = partial(self._windows, state)
        two, three = (jax.eval_shape(read, jax.ShapeDtypeStruct((size,), jnp.int32)) for size in (2, 3))
        batch = jax.tree.map(
            lambda x, y: [a == b for a, b in zip(x.shape, y.shape, strict=True)].index(False), two, three
        )
        return jax.tree.map(jnp.squeeze, read(number[None]), batch)

    def _windows(self, state: ReplayState, number: jax.Array) -> tuple[Any, jax.Array]:
        legal = self._replay.legal(state)
        count = legal.count()
        key = jax.random.fold_in(jax.random.key(0), number[0])  # what a view chooses depends on the window alone
        ends = jnp.cumsum(count, dtype=jnp.int32)
        stream = locate(ends, number)
        start = legal.start(stream, number - (ends[stream] - count[stream]))
        draw = Draw(stream, start, jnp.ones(len(number), jnp.float32), jnp.ones(len(number), jnp.bool_))
        batch = self._replay.read(state, draw, key)
        return batch.data, batch.mask


def _chosen(found: Any) -> dict[str, Any]:
    """Return what a function of fields has returned; refuse what is no dict of arrays."""
    leaves = jax.tree.leaves(found)
    if not isinstance(found, dict) or not leaves or not all(isinstance(leaf, jax.Array) for leaf in leaves):
        raise StructureError(f"fields must return a (nested) dict of arrays, one or more, got {found!r}.")
    return found


def named(data: Any, mask: Any, rows: bool) -> dict[str, Any]:
    """Return the leaves of data by their names, and the mask of windows that have several rows.

    Raises:
      StructureError: two leaves would have one name.
    """
    leaves = leaves_by_name(data)
    if rows and "mask" in leaves:
        raise StructureError("the rows have a field 'mask', as a dataset calls which of them are there; rename it.")
    return leaves | {"mask": mask} if rows else leaves
