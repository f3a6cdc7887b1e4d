"""HostReplay: a replay driven from a Python loop, which holds the state and takes NumPy arrays, numbers and ``str``."""

from collections import deque
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any

import jax
import numpy as np

from jaxbuffers.batch import Index
from jaxbuffers.errors import (
    ConfigurationError,
    EmptyReplayError,
    PriorityError,
    StaleIndexError,
    StructureError,
    positive,
)
from jaxbuffers.host.batch import HostBatch
from jaxbuffers.host.convert import declared
from jaxbuffers.host.rows import Rows
from jaxbuffers.host.verbs import Verbs
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.texts import TextTable


class HostReplay:
    """The stateful shell of a `Replay`, for loops in Python.

    What is inserted is checked in full before anything is written: a call that raises leaves everything as it was.

    Args:
      replay: the configuration.
      fields: what one row holds: a dict, a `Row` or any pytree of ``jb.text``, dtypes (one number each) and
        ``jax.ShapeDtypeStruct``.
      table: where texts go; a new one in memory by default.
      seed: of the draws.

    >>> import jax, numpy as np, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=1000, num_envs=None, batch_size=2, view=jb.Items())
    >>> buffer = jb.HostReplay(replay, {
    ...     "observation": jb.text, "image": jax.ShapeDtypeStruct((4,), np.float32), "reward": np.float32})
    >>> buffer.insert(observation="a red door", image=np.zeros(4, np.float32), reward=0)
    >>> buffer.insert(observation="a red door", image=np.ones(4, np.float32), reward=0.5)
    >>> batch = buffer.sample()
    >>> batch.text("observation"), batch.data["image"].shape, len(buffer), len(buffer.table)
    (['a red door', 'a red door'], (2, 4), 2, 1)
    """

    def __init__(self, replay: Replay, fields: Any, *, table: TextTable | None = None, seed: int = 0) -> None:
        if not isinstance(replay, Replay):
            raise ConfigurationError(f"replay must be a jb.Replay, got {replay!r}.")
        self.replay = replay
        self.table = TextTable() if table is None else table
        self.key = jax.random.key(seed)
        self._state = replay.init(declared(fields))
        self._rows = Rows(replay, self._state.spec, self.table)
        self._verbs = Verbs.of(replay)
        self._shared = False  # whether the user may hold self._state, which then must not be donated
        self._replaced: list[np.ndarray] = []

    @property
    def state(self) -> ReplayState:
        """The state: yours to keep. The next write then copies it once, instead of updating it in place."""
        self._shared = True
        return self._state

    @state.setter
    def state(self, state: ReplayState) -> None:
        if not isinstance(state, ReplayState) or state.spec != self._state.spec:
            raise StructureError("the state belongs to a replay of other rows.")
        self.replay.count(state)  # raises if it comes from another configuration
        self._state, self._shared = state, True

    def __len__(self) -> int:
        """How many rows are present."""
        return int(self.replay.size(self._state))

    def insert(self, **fields: Any) -> None:
        """Append one row (one of each environment), given by its fields. See `add`."""
        self.add(fields)

    def add(self, rows: Any, mask: Any = None) -> None:
        """Append rows.

        Args:
          rows: in the structure of the declaration, leaves ``[E, ...]`` or ``[N, E, ...]``; without environments
            ``[...]`` or ``[N, ...]``. Arrays have the declared dtype; numbers must fit it; texts are ``str``
            or (nested) lists of them, or int32 ids of the table.
          mask: as for `Replay.add`.

        Raises:
          StructureError, ShapeError, DtypeError: naming the field; nothing is written.
          TextTableFullError: there is no room for the texts; nothing is written.
        """
        arrays, lead = self._rows.arrays(self._state, rows, mask)
        if self._state.spec.texts:
            self._replaced += self._verbs.replaced(self._state, lead, mask)
        self._state = self._verbs.add(self._shared)(self._state, arrays, mask)
        self._shared = False

    def sample(self, batch_size: int | None = None) -> HostBatch:
        """Draw a batch; every call draws anew.

        Raises:
          EmptyReplayError: there is no legal window yet.
        """
        return self._checked(self._draw(batch_size))

    def batches(
        self, steps: int | None = None, batch_size: int | None = None, prefetch: int = 2
    ) -> Iterator[HostBatch]:
        """Iterate over batches, drawn ahead so that the device works while Python does.

        Args:
          steps: how many batches; None for no end.
          batch_size: B.
          prefetch: how many are drawn ahead; rows added meanwhile are seen so many batches later.
        """
        positive("prefetch", prefetch, minimum=0)
        if steps is not None:
            positive("steps", steps, minimum=0)
        ahead: deque[HostBatch] = deque()
        for _ in islice(repeat(None), steps):
            ahead.append(self._draw(batch_size))
            if len(ahead) > prefetch:
                yield self._checked(ahead.popleft())
        for batch in ahead:
            yield self._checked(batch)

    def update(self, index: Index, *, priority: Any = None, rows: Any = None) -> None:
        """Write back to what was sampled; see `Replay.update`.

        Raises:
          PriorityError: a priority is NaN, infinite or negative; nothing is written.
          StaleIndexError: a row has been overwritten since; nothing is written.
        """
        if priority is not None:
            host = np.asarray(priority)
            if host.dtype.kind == "f" and not (np.isfinite(host) & (host >= 0)).all():
                raise PriorityError(f"priorities must be finite and not negative, got {host[~(host >= 0)][:3]}.")
        if (stale := int(self._verbs.stale(self._state, index))) > 0:
            raise StaleIndexError(f"{stale} rows of the index have been overwritten. Update before you add.")
        self._state = self._verbs.update(self._shared)(self._state, index, priority, rows)
        self._shared = False

    def get(self, index: Index) -> tuple[Any, jax.Array]:
        """Read rows by address; see `Replay.get`."""
        return self.replay.get(self._state, index)

    def sweep(self, states: Any = (), pins: Any = (), everything: bool = False) -> int:
        """Free the texts that were overwritten and that nothing refers to any more; see `TextTable.sweep`.

        Args:
          states: further states that will be read again: forks, other replays on the same table.
          pins: further ids to keep, such as those of batches still in use or of a checkpoint.
          everything: look at every text of the table instead of those that rows of this replay were overwritten with.
        """
        replaced = None if everything else np.concatenate([np.zeros(0, np.int32), *self._replaced])
        freed = self.table.sweep([self._state, states], pins, replaced)
        self._replaced = []
        return freed

    def count(self) -> int:
        """How many legal windows there are."""
        return int(self.replay.count(self._state))

    def _draw(self, batch_size: int | None) -> HostBatch:
        batch, self.key = self._verbs.sample(batch_size)(self._state, self.key)
        return HostBatch(batch, self.table, tuple(map(".".join, self._state.spec.texts)))

    def _checked(self, batch: HostBatch) -> HostBatch:
        if not batch.valid:
            raise EmptyReplayError(f"no legal window for {self.replay.view} among {len(self)} rows; add more first.")
        return batch
