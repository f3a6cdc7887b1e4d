"""Rows and batches as map-style datasets, for PyTorch's DataLoader, Grain, or any other loader. Needs neither."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Draw
from jaxbuffers.errors import DtypeError, StructureError
from jaxbuffers.host.batch import HostBatch, text_names
from jaxbuffers.host.demonstrations import TEXTS, Demonstrations
from jaxbuffers.host.replay import HostReplay
from jaxbuffers.replay import ReplayState
from jaxbuffers.row import paths_of
from jaxbuffers.samplers.streams import locate
from jaxbuffers.texts import TextTable
from jaxbuffers.views import Reader


class WindowDataset:
    """Every legal window of a replay, as it is now, once: item i is a dict of NumPy arrays and texts.

    Names are those of the view's data, joined by dots: ``"obs.image"``; where windows have several rows, ``"mask"``
    says which are there. Transitions of `Demonstrations` have the names that they were inserted with. Give it to a
    ``DataLoader`` with ``collate_fn=jb.collate``, or ``functools.partial(jb.collate, convert=torch.from_numpy)``, and
    without worker processes: JAX does not work reliably in forked ones.

    >>> import numpy as np, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=10, num_envs=None, batch_size=2, view=jb.Items())
    >>> buffer = jb.HostReplay(replay, {"mission": jb.text, "reward": np.float32})
    >>> for reward in range(3):
    ...     buffer.insert(mission=f"task {reward}", reward=reward)
    >>> dataset = jb.WindowDataset(buffer)
    >>> item = dataset[1]
    >>> len(dataset), item["mission"], float(item["reward"])
    (3, 'task 1', 1.0)
    """

    def __init__(self, buffer: HostReplay | Demonstrations) -> None:
        self._fields: Callable[[Any], Any] | None = None
        if isinstance(buffer, Demonstrations):
            self._fields, buffer = buffer.fields_of, buffer.buffer
        if not isinstance(buffer, HostReplay):
            raise StructureError(f"expected a HostReplay or Demonstrations, got {type(buffer).__name__}.")
        self._replay, self._state, self._table = buffer.replay, buffer.state, buffer.table
        self._count = int(self._replay.count(self._state))
        self._read = jax.jit(jax.vmap(self._window, in_axes=(None, 0)))

    def __len__(self) -> int:
        """How many windows there are."""
        return self._count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Read several windows at once."""
        numbers = []
        for i in indices:
            if not isinstance(i, int | np.integer):
                raise IndexError(f"a window is numbered by an int, got {i!r}.")
            if not -self._count <= i < self._count:
                raise IndexError(f"window {i} of {self._count}")
            numbers.append(i % self._count)
        size = 1 << max(len(numbers) - 1, 0).bit_length()  # few sizes, few compilations
        data, mask = self._read(self._state, np.array(numbers + [0] * (size - len(numbers)), np.int32))
        names = TEXTS if self._fields else text_names(data, self._state.spec)
        found = _named(self._fields(data) if self._fields else data, names, self._table, mask)
        return [{name: column[i] for name, column in found.items()} for i in range(len(numbers))]

    def _window(self, state: ReplayState, number: jax.Array) -> tuple[Any, jax.Array]:
        """Read one window: its data and mask, without an axis for the batch, wherever the view puts that."""
        read = partial(self._windows, state)
        two, three = (jax.eval_shape(read, jax.ShapeDtypeStruct((size,), jnp.int32)) for size in (2, 3))
        batch = jax.tree.map(
            lambda x, y: [a == b for a, b in zip(x.shape, y.shape, strict=True)].index(False), two, three
        )
        return jax.tree.map(jnp.squeeze, read(number[None]), batch)

    def _windows(self, state: ReplayState, number: jax.Array) -> tuple[Any, jax.Array]:
        legal = self._replay._legal(state)
        count = legal.count()
        key = jax.random.fold_in(jax.random.key(0), number[0])  # what a view chooses depends on the window alone
        ends = jnp.cumsum(count, dtype=jnp.int32)
        stream = locate(ends, number)
        start = legal.start(stream, number - (ends[stream] - count[stream]))
        draw = Draw(stream, start, jnp.ones(len(number), jnp.float32), jnp.ones(len(number), jnp.bool_))
        reader = Reader(legal.windows, state.queue, state.ring, draw, key)
        data, index = self._replay.view.read(reader)
        return data, index.time >= 0


class BatchDataset:
    """A list of sampled batches as a dataset: item i is a dict of NumPy arrays and lists of ``str``.

    >>> import numpy as np, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=10, num_envs=None, batch_size=2, view=jb.Items())
    >>> buffer = jb.HostReplay(replay, {"mission": jb.text, "reward": np.float32})
    >>> buffer.insert(mission="open the door", reward=1.0)
    >>> item = jb.BatchDataset([buffer.sample()])[0]
    >>> print(*item["mission"])
    open the door open the door
    """

    def __init__(self, batches: Iterable[HostBatch]) -> None:
        if isinstance(batches, HostBatch):
            raise StructureError("expected a list of batches, got one batch; write [batch].")
        self._batches = list(batches)
        for batch in self._batches:
            if not isinstance(batch, HostBatch):
                raise StructureError(f"expected batches of a HostReplay, got {type(batch).__name__}.")

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self._batches)

    def __getitem__(self, i: int) -> dict[str, Any]:
        batch = self._batches[i]
        return _named(batch.data, batch.texts, batch.table, batch.mask)


class Collated(NamedTuple):
    """Items of a dataset put together.

    Attributes:
      arrays: for each field ``[B, ...]``.
      texts: for each text field a list of B.
    """

    arrays: dict[str, Any]
    texts: dict[str, list]


def collate(items: Sequence[dict[str, Any]], convert: Callable[[np.ndarray], Any] = lambda x: x) -> Collated:
    """Put items together, arrays apart from texts: the ``collate_fn`` of a ``DataLoader``.

    Args:
      items: dicts with the same names, of arrays and of texts.
      convert: applied to each array, such as ``torch.from_numpy``.

    >>> jb_items = [{"mission": "go", "reward": np.float32(1)}, {"mission": "stay", "reward": np.float32(0)}]
    >>> batch = collate(jb_items)
    >>> batch.texts, batch.arrays["reward"].tolist()
    ({'mission': ['go', 'stay']}, [1.0, 0.0])
    """
    arrays, texts = {}, {}
    if not items or any(set(item) != set(items[0]) for item in items):
        raise StructureError("expected one or more items that have the same names.")
    for name in items[0]:
        column = [item[name] for item in items]
        if all(x is None or isinstance(x, str | list) for x in column):
            texts[name] = column
            continue
        if not all(isinstance(x, np.ndarray | np.generic) for x in column):
            kinds = ", ".join(sorted({type(x).__name__ for x in column}))
            raise DtypeError(f"expected only arrays of NumPy or only texts for {name!r}, got {kinds}.")
        if len({(x.dtype, x.shape) for x in column}) > 1:
            raise DtypeError(f"items differ in the dtype or shape of {name!r}.")
        arrays[name] = convert(np.stack(column))
    return Collated(arrays, texts)


def _named(data: Any, texts: tuple[str, ...], table: TextTable, mask: jax.Array) -> dict[str, Any]:
    """Return the leaves by their names, those that are text as ``str``, and the mask of windows of several rows."""
    leaves = {".".join(path): leaf for path, leaf in paths_of(data).items()}
    if mask.ndim > 1:
        if "mask" in leaves:
            raise StructureError("the rows have a field 'mask', as a dataset calls which of them are there; rename it.")
        leaves["mask"] = mask
    # Copies, as PyTorch wants arrays that can be written to.
    return {name: table.lookup(np.asarray(x)) if name in texts else np.array(x) for name, x in leaves.items()}
