"""A batch that knows the table its texts are in."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxbuffers.batch import Batch, Index
from jaxbuffers.errors import MissingFieldError
from jaxbuffers.row import paths_of
from jaxbuffers.texts import TextTable


@dataclass(frozen=True)
class HostBatch:
    """A `Batch`, and its texts.

    Attributes:
      batch: what was sampled, to hand to jitted functions.
      table: where the texts are.
      texts: the names of the stored fields that hold texts.
    """

    batch: Batch
    table: TextTable
    texts: tuple[str, ...] = ()

    @property
    def data(self) -> Any:
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

    def text(self, name: str) -> Any:
        """Return the texts of a field of ``data``, such as ``"obs.mission"``: lists in the shape of its ids.

        Raises:
          MissingFieldError: there is no such field.
          UnknownTextError: a text was freed since the batch was sampled.
        """
        found = {".".join(path): leaf for path, leaf in paths_of(self.data).items()}
        if name not in found:
            raise MissingFieldError(f"the batch has no field {name!r}; it has {', '.join(found)}.")
        return self.table.lookup(np.asarray(found[name]))
