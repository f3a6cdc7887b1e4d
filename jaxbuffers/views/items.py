"""Items: one row a sample."""

from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from jaxbuffers.batch import Index
from jaxbuffers.views.base import Reader, View
from jaxbuffers.windows.legal import Legal


@dataclass(frozen=True)
class Items(View[Any]):
    """Read single rows, as they were stored. Needs no flags: any pytree will do.

    ``data`` has leaves ``[B, ...]``; ``index`` and ``mask`` are ``[B]``.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4, num_envs=None, batch_size=3, view=jb.Items())
    >>> state = replay.add(replay.init({"x": jnp.float32(0)}), {"x": jnp.float32(7)})
    >>> replay.sample(state, jax.random.key(0)).data
    {'x': Array([7., 7., 7.], dtype=float32)}
    """

    @property
    @override
    def required(self) -> int:
        return 1

    @override
    def anchor(self, legal: Legal, index: Index) -> Index | None:
        return index if index.time.ndim == 1 else None

    @override
    def read(self, reader: Reader) -> tuple[Any, Index]:
        index = reader.index([0])
        index = Index(index.stream[:, 0], index.time[:, 0])
        return reader.rows(index), index
