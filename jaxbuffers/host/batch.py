"""A batch that knows the table its texts are in."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic

import jax
import numpy as np

from jaxbuffers.batch import Batch, Data, Index
from jaxbuffers.errors import MissingFieldError, StructureError
from jaxbuffers.host.transfers import transfers
from jaxbuffers.row import Path, RowSpec, paths_of
from jaxbuffers.texts import TextTable


@partial(jax.tree_util.register_dataclass, data_fields=["batch"], meta_fields=["table", "texts"])
@dataclass(frozen=True)
class HostBatch(Generic[Data]):
    """A `Batch`, and its texts. Jitted functions take it as it is, or its ``batch``.

    Outside of ``jit``, ``batch["mission"]`` is a field of ``data``, decoded: texts are lists of ``str`` in the shape of
    their ids, arrays stay as they are. So ``loss(**batch)`` hands over every field by its name, and ``dict(batch)``
    is all of them.

    Attributes:
      batch: what was sampled, to hand to jitted functions.
      table: where the texts are.
      texts: the names of the fields of ``data`` that hold texts, joined by dots.
    """

    batch: Batch[Data]
    table: TextTable
    texts: tuple[str, ...] = ()

    @property
    def data(self) -> Data:
        """What the view reads, leaves ``[B, ...]``; texts as int32 ids."""
        return self.batch.data

    @property
    def index(self) -> Index:
        """Where the rows live, for ``update`` and ``get``."""
        return self.batch.index

    @property
    def probability(self) -> jax.Array:
        """float32 ``[B]``."""
        return self.batch.probability

    @property
    def mask(self) -> jax.Array:
        """True where ``data`` holds a row."""
        return self.batch.mask

    @property
    def valid(self) -> jax.Array:
        """Always True: without a legal window ``sample`` raises."""
        return self.batch.valid

    @transfers
    def text(self, name: str) -> Any:
        """Return the texts of a field of ``data``, such as ``"obs.mission"``: lists in the shape of its ids.

        Raises:
          MissingFieldError: there is no such field, or it holds no texts.
          UnknownTextError: a text was freed since the batch was sampled.
        """
        if name not in self.texts:
            raise MissingFieldError(f"the batch has no text field {name!r}; it has {', '.join(self.texts) or 'none'}.")
        ids = leaves_by_name(self.data)[name]
        if isinstance(ids, jax.core.Tracer):
            raise StructureError(f"{name!r} is traced: texts are on the host. Inside jit use the ids, batch.data.")
        return self.table.lookup(np.asarray(ids))

    def keys(self) -> tuple[str, ...]:
        """Return the names of the fields of ``data``, joined by dots, such as ``"obs.mission"``."""
        return tuple(leaves_by_name(self.data))

    def __getitem__(self, name: str) -> Any:
        leaves = leaves_by_name(self.data)
        if name not in leaves:
            raise MissingFieldError(f"the batch has no field {name!r}; it has {', '.join(leaves)}.")
        return self.text(name) if name in self.texts else leaves[name]

    def __contains__(self, name: object) -> bool:
        return name in leaves_by_name(self.data)

    @transfers
    def text_ids(self) -> np.ndarray:
        """Return the ids of all its texts, int32 ``[n]``, so that `TextTable.sweep` keeps them."""
        leaves = leaves_by_name(self.data)
        return np.concatenate([np.zeros(0, np.int32), *(np.asarray(leaves[name]).ravel() for name in self.texts)])

    __iter__: ClassVar[None] = None  # having items, it would be a sequence otherwise


def leaves_by_name(data: Any) -> dict[str, Any]:
    """Map each leaf by the names on its path, joined by dots.

    Raises:
      StructureError: two leaves would have one name, as ``{"a.b": x, "a": {"b": y}}``.
    """
    paths = paths_of(data)
    leaves = {".".join(path): leaf for path, leaf in paths.items()}
    if len(leaves) < len(paths):
        names = [".".join(path) for path in paths]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise StructureError(f"two fields are both called {twice!r} once names are joined by dots; rename one.")
    return leaves


def text_names(data: Any, spec: RowSpec) -> tuple[str, ...]:
    """Return the names of the leaves of what a view reads, joined by dots, that hold texts."""

    def holds(path: Path) -> bool:
        # The next observation is no field of its own, but that of the next row; and `Episode` holds rows.
        for stored in (path, _now(path), path[1:]):
            if stored in spec.paths:
                return stored in spec.texts
        return False

    return tuple(".".join(path) for path in paths_of(data) if holds(path))


def _now(path: Path) -> Path:
    return (path[0].removeprefix("next_"), *path[1:]) if path else path
