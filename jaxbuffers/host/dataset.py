"""Rows and batches as map-style datasets, for PyTorch's DataLoader, Grain, or any other loader. Needs neither."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.checks import flag
from jaxbuffers.errors import ConfigurationError, DtypeError, StructureError
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.replay import HostReplay
from jaxbuffers.host.snapshot import Snapshot, named
from jaxbuffers.host.transfers import transfers
from jaxbuffers.texts import TextTable

Words = dict[int, str | None]


class WindowDataset:
    """Every legal window of a replay, as it is now, once: item i is a dict of NumPy arrays and texts.

    Names are those of the view's data, joined by dots: ``"obs.image"``; where windows have several rows, ``"mask"``
    says which are there. Give it to a ``DataLoader`` with ``collate_fn=jb.collate``, or
    ``functools.partial(jb.collate, convert=torch.from_numpy)``. `Demonstrations.dataset` returns one.

    All windows are read at once, into NumPy arrays and ``str``: worker processes, forked or spawned, need no JAX. (JAX
    warns of every fork; these workers do not use it.) Windows that overlap are copied as often as they overlap:
    where that takes too much memory, ``copy=False`` reads each window when it is asked for.

    Args:
      buffer: the `HostReplay`.
      fields: from the data of one window, leaves without an axis for the batch, to the items' fields, a (nested) dict
        of arrays, traced by JAX; None for all of the data as it is. A text field that it passes on unchanged is a
        text of the items, too.
      copy: whether to copy all windows. If not, the dataset works in this process only, without worker processes.

    Raises:
      StructureError: two fields would have one name once they are joined by dots, or one is called ``"mask"`` too; or
        ``fields`` returns no dict of arrays.

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

    @transfers
    def __init__(
        self, buffer: HostReplay, fields: Callable[[Any], dict[str, Any]] | None = None, *, copy: bool = True
    ) -> None:
        if not isinstance(buffer, HostReplay):
            hint = " Write demonstrations.dataset()." if hasattr(buffer, "dataset") else ""
            raise StructureError(f"expected a HostReplay, got {type(buffer).__name__}.{hint}")
        if fields is not None and not callable(fields):
            hint = f" Write copy={fields}." if isinstance(fields, bool) else ""
            raise ConfigurationError(f"fields must be a function from data to a dict of arrays, got {fields!r}.{hint}")
        flag("copy", copy)
        snapshot = Snapshot(buffer.replay, buffer.state, fields)
        self._count, self._texts = snapshot.count, snapshot.texts
        self._live: tuple[Snapshot, TextTable] | None = None if copy else (snapshot, buffer.table)
        self._process = os.getpid()
        self._columns = snapshot.all() if copy else {}
        self._words = _words(buffer.table, [self._columns[name] for name in self._texts] if copy else [])

    def __len__(self) -> int:
        """How many windows there are."""
        return self._count

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])[0]

    @transfers
    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Read several windows at once."""
        numbers = []
        for i in indices:
            if not isinstance(i, int | np.integer):
                raise IndexError(f"a window is numbered by an int, got {i!r}.")
            if not -self._count <= i < self._count:
                raise IndexError(f"window {i} of {self._count}")
            numbers.append(int(i) % self._count)
        columns, words = self._columns, self._words
        if self._live is not None:
            if os.getpid() != self._process:
                raise StructureError("a dataset with copy=False cannot be used in another process; leave copy out.")
            snapshot, table = self._live
            columns, numbers = snapshot.read(numbers), list(range(len(numbers)))
            words = _words(table, [columns[name] for name in self._texts])
        return [_item({name: column[i] for name, column in columns.items()}, self._texts, words) for i in numbers]

    def __getstate__(self) -> dict[str, Any]:
        if self._live is not None:
            raise StructureError("a dataset with copy=False cannot be sent to another process; leave copy out.")
        return vars(self)


class BatchDataset:
    """A list of sampled batches as a dataset: item i is a dict of NumPy arrays and lists of ``str``.

    Arrays and texts are copied out of the batches, so worker processes need no JAX.

    >>> import numpy as np, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=10, num_envs=None, batch_size=2, view=jb.Items())
    >>> buffer = jb.HostReplay(replay, {"mission": jb.text, "reward": np.float32})
    >>> buffer.insert(mission="open the door", reward=1.0)
    >>> item = jb.BatchDataset([buffer.sample()])[0]
    >>> print(*item["mission"])
    open the door open the door
    """

    @transfers
    def __init__(self, batches: Iterable[HostBatch]) -> None:
        if isinstance(batches, HostBatch):
            raise StructureError("expected a list of batches, got one batch; write [batch].")
        self._batches: list[tuple[dict[str, np.ndarray], tuple[str, ...], Words]] = []
        for batch in batches:
            if not isinstance(batch, HostBatch):
                raise StructureError(f"expected batches of a HostReplay, got {type(batch).__name__}.")
            leaves = named(batch.data, batch.mask, batch.mask.ndim > 1)
            arrays = {name: np.array(leaf) for name, leaf in leaves.items()}
            self._batches.append((arrays, batch.texts, _words(batch.table, [arrays[name] for name in batch.texts])))

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self._batches)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return _item(*self._batches[i])


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


def _words(table: TextTable, ids: list[np.ndarray]) -> Words:
    """Return what is needed to decode ids without the table."""
    found = np.unique(np.concatenate([np.zeros(0, np.int32), *(x.ravel() for x in ids)]))
    return dict(zip(found.tolist(), table.lookup(found), strict=True))


def _item(leaves: dict[str, Any], texts: tuple[str, ...], words: Words) -> dict[str, Any]:
    """Return leaves as copies, as PyTorch wants arrays that can be written to, and ids as (nested lists of) texts."""
    return {name: _decoded(x.tolist(), words) if name in texts else x.copy() for name, x in leaves.items()}


def _decoded(ids: Any, words: Words) -> Any:
    return [_decoded(i, words) for i in ids] if isinstance(ids, list) else words[ids]
