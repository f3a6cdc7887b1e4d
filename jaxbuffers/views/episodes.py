"""Episodes: whole episodes, padded, with their lengths."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from typing_extensions import override

from jaxbuffers.batch import Index
from jaxbuffers.checks import positive, settle
from jaxbuffers.row import field
from jaxbuffers.storage.bits import zero_where_not
from jaxbuffers.storage.ring import Ring
from jaxbuffers.views.base import Reader, View, episode_of
from jaxbuffers.windows.base import Windows
from jaxbuffers.windows.legal import Legal
from jaxbuffers.windows.queue import WholeEpisodes


@struct.dataclass
class Episode:
    """Whole episodes.

    Attributes:
      rows: leaves ``[B, max_length, ...]``, from the first row to the last, then zeros.
      length: int32 ``[B]``, how many rows each has; 0 if the batch is not valid.
    """

    rows: Any
    length: jax.Array


@dataclass(frozen=True)
class Episodes(View[Episode]):
    """Read whole episodes: `Episode`, with ``index`` and ``mask`` of shape ``[B, max_length]``.

    An episode is legal from the row with ``is_last`` on until its first row is overwritten. One
    with more than ``max_length`` rows is never drawn, and counted as ``too_long`` in `stats`.
    With `Uniform`, episodes are equally likely, however long they are.

    Args:
      max_length: rows of the longest episode (T actions are T + 1 rows), at most the rows kept of a stream.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> rows = jb.episode_rows(obs=jnp.arange(4.0), action=jnp.zeros(3), reward=jnp.ones(3),
    ...                        terminated=True, truncated=False)
    >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=1, view=jb.Episodes(5))
    >>> state = replay.add(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
    >>> batch = replay.sample(state, jax.random.key(0))
    >>> batch.data.rows.obs, batch.data.length
    (Array([[0., 1., 2., 3., 0.]], dtype=float32), Array([4], dtype=int32))
    """

    max_length: int

    def __post_init__(self) -> None:
        settle(self, max_length=positive("max_length", self.max_length))

    @property
    @override
    def required(self) -> int:
        """The first row; the rest is there as long as it is."""
        return 1

    @property
    @override
    def within(self) -> bool:
        return True

    @property
    @override
    def span(self) -> int:
        """The longest episode."""
        return self.max_length

    @property
    @override
    def before(self) -> int:
        """Nothing."""
        return 0

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        """The flags of where episodes begin and end."""
        return ("is_first", "is_last")

    @override
    def windows(self, ring: Ring) -> Windows:
        """Episodes that have ended."""
        return WholeEpisodes(ring, self.max_length)

    @override
    def anchor(self, legal: Legal, index: Index) -> Index | None:
        """The first row."""
        return super().anchor(legal, index) if index.time.shape[1:] == (self.max_length,) else None

    @override
    def read(self, reader: Reader) -> tuple[Episode, Index]:
        """Read as many rows as the longest has, and keep those of the episode."""
        index = reader.index(range(self.max_length))
        rows = reader.rows(index)
        kept = (index.time >= 0) & (episode_of(field(rows, "is_first"), field(rows, "is_last")) == 0)
        index = Index(index.stream, jnp.where(kept, index.time, -1))
        return Episode(zero_where_not(kept, rows), jnp.sum(kept, axis=1, dtype=jnp.int32)), index
