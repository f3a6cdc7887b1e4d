"""HostReplay: a replay driven from a Python loop, which holds the state and takes NumPy arrays, numbers and ``str``."""

from collections import deque
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.arguments import check_index
from jaxbuffers.batch import Index
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    EmptyReplayError,
    PriorityError,
    StaleIndexError,
    StructureError,
    one_of,
    positive,
)
from jaxbuffers.host import saving
from jaxbuffers.host.batch import HostBatch, text_names
from jaxbuffers.host.convert import declared
from jaxbuffers.host.rows import Rows
from jaxbuffers.host.verbs import Verbs
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import paths_of
from jaxbuffers.texts import TextTable
from jaxbuffers.texts.live import as_ids, ids_of


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
        if not isinstance(table, TextTable | None):
            raise ConfigurationError(f"table must be a jb.TextTable, got {table!r}; write jb.TextTable(path).")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ConfigurationError(f"seed must be an int, got {seed!r}; a key can be assigned to buffer.key.")
        self.replay = replay
        self.table = TextTable() if table is None else table
        self.key = jax.random.key(seed)
        self._state = replay.init(declared(fields))
        self._rows = Rows(replay, self._state.spec, self.table)
        self._verbs = Verbs.of(replay)
        self._shared = False  # whether the user may hold self._state, which then must not be donated
        self._texts: tuple[str, ...] | None = None  # of what the view reads, once it has
        self._replaced: list[np.ndarray] = []  # ids of texts, which `sweep` may free
        self._has_windows = False  # whether this state is known to have some: asking the device takes time
        self._look_at_all = False  # whether there may be others, of a state that was exchanged

    @property
    def state(self) -> ReplayState:
        """The state: yours to keep. The next write then copies it once, instead of updating it in place.

        Assign to it to go back to a state of the same replay, such as a fork; see `to_bytes` for files.
        """
        self._shared = True
        return self._state

    @state.setter
    def state(self, state: ReplayState) -> None:
        if not isinstance(state, ReplayState) or state.spec != self._state.spec:
            raise StructureError("the state belongs to a replay of other rows.")
        self.replay.count(state)  # raises if it comes from another view or other sizes
        if _kinds(state) != _kinds(self._state):
            raise ConfigurationError(
                f"the state comes from another sampler than {self.replay.sampler}, or other sizes."
            )
        # Arrays of NumPy, as a checkpoint has them, may be written to by their owner.
        self._state = jax.tree.map(lambda x: x if isinstance(x, jax.Array) else jnp.array(x), state)
        self._shared = self._look_at_all = True
        self._has_windows = False

    def to_bytes(self) -> bytes:
        """Return the state and the key. The texts are not in there: commit the table first, then save this.

        >>> import numpy as np, jaxbuffers as jb
        >>> replay = jb.Replay(capacity=10, num_envs=None, batch_size=2, view=jb.Items())
        >>> buffer, other = (jb.HostReplay(replay, {"reward": np.float32}) for _ in range(2))
        >>> buffer.insert(reward=0.5)
        >>> other.from_bytes(buffer.to_bytes())
        >>> len(other), other.sample().data["reward"].tolist()
        (1, [0.5, 0.5])
        """
        return saving.pack(self.replay, self._state, self.key)

    def from_bytes(self, data: bytes) -> None:
        """Go back to what `to_bytes` returned, of an equal replay with equal fields, and on the table it had.

        Raises:
          StructureError: the configuration or the fields are others; nothing has changed.
          UnknownTextError: the table lacks texts that the rows refer to; nothing has changed.
        """
        state, key = saving.unpack(self.replay, self._state, data)
        if state.spec.texts:
            self.table.lookup(np.unique(ids_of(state)))
        self.state, self.key = state, key

    def __len__(self) -> int:
        """How many rows are present."""
        return int(self.replay.size(self._state))

    def insert(self, **fields: Any) -> None:
        """Append one row (one of each environment), given by its top-level fields. See `add`."""
        spec = self._state.spec
        row = spec.treedef.unflatten(spec.paths)
        if not isinstance(row, dict):
            try:
                fields = type(row)(**fields)
            except TypeError as error:
                raise StructureError(f"{error}; the fields are {', '.join(map('.'.join, spec.paths))}.") from None
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
        mask = np.array(mask) if isinstance(mask, np.ndarray) else mask  # its owner may write to it again
        gone = self._verbs.replaced(self._state, lead, mask) if self._state.spec.texts else []
        self._state = self._verbs.add(self._shared)(self._state, arrays, mask)
        self._shared = self._has_windows = False
        self._replace(gone)

    def sample(self, batch_size: int | None = None) -> HostBatch:
        """Draw a batch; every call draws anew. Hand ``batch.batch``, or the whole, to jitted functions.

        Raises:
          EmptyReplayError: there is no legal window yet.
        """
        key = self.key
        batch = self._draw(batch_size)
        if not self._has_windows:
            if not batch.valid:
                self.key = key  # a call that raises leaves everything as it was
            self._checked(batch)
            self._has_windows = True
        return batch

    def batches(
        self, steps: int | None = None, batch_size: int | None = None, prefetch: int = 2
    ) -> Iterator[HostBatch]:
        """Iterate over batches, drawn ahead so that the device works while Python does.

        Args:
          steps: how many batches; None for no end.
          batch_size: B.
          prefetch: how many are drawn ahead; rows added meanwhile are seen so many batches later.

        Raises:
          EmptyReplayError: there is no legal window, when the first batch is asked for.
        """
        positive("prefetch", prefetch, minimum=0)
        if steps is not None:
            positive("steps", steps, minimum=0)
        return self._batches(steps, batch_size, prefetch)

    def _batches(self, steps: int | None, batch_size: int | None, prefetch: int) -> Iterator[HostBatch]:
        ahead: deque[HostBatch] = deque()
        for _ in islice(repeat(None), steps):
            ahead.append(self._draw(batch_size))
            if len(ahead) > prefetch:
                yield self._checked(ahead.popleft())
        for batch in ahead:
            yield self._checked(batch)

    def update(
        self, index: Index, *, priority: Any = None, rows: Any = None, stale: Literal["error", "drop"] = "error"
    ) -> None:
        """Write back to what was sampled; see `Replay.update`. Texts are given as ids: ``table.intern(texts)``.

        Args:
          index: ``batch.index``.
          priority: float32 ``[B]``.
          rows: the fields to replace.
          stale: what to do about rows that have been overwritten since: ``"error"``, or ``"drop"`` what was meant
            for them, for loops that add between a sample and its update; ``state.dropped`` counts such rows.

        Raises:
          PriorityError: a priority is NaN, infinite or negative; nothing is written.
          StaleIndexError: a row has been overwritten since, and ``stale`` is ``"error"``; nothing is written.
          StructureError, ShapeError, DtypeError: naming the field; nothing is written.
          UnknownTextError: an id is not in the table; nothing is written.
        """
        check_index(index)
        one_of("stale", stale, ("error", "drop"))
        gone: list[np.ndarray] = []
        if priority is not None:
            if getattr(priority, "dtype", None) != np.float32:
                got = getattr(priority, "dtype", type(priority).__name__)
                raise DtypeError(f"priority must be float32, got {got}; nothing is cast.")
            priority = np.array(priority)
            if (bad := ~(np.isfinite(priority) & (priority >= 0))).any():
                raise PriorityError(f"priorities must be finite and not negative, got {priority[bad][:3]}.")
        if rows is not None:
            rows = self._rows.replacements(rows, index.time.shape)
            if texts := [path for path in paths_of(rows) if path in self._state.spec.texts]:
                old, present = self.replay.get(self._state, index)
                gone = [np.asarray(paths_of(old)[path])[np.asarray(present)].ravel() for path in texts]
        if stale == "error" and (number := int(self._verbs.stale(self._state, index))) > 0:
            raise StaleIndexError(
                f'{number} rows of the index have been overwritten. Update before you add, or give stale="drop".'
            )
        self._state = self._verbs.update(self._shared)(self._state, index, priority, rows)
        self._shared = self._has_windows = False
        self._replace(gone)

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
        replaced, everything = np.concatenate([np.zeros(0, np.int32), *self._replaced]), everything or self._look_at_all
        freed = self.table.sweep([self._state, states], pins, None if everything else replaced)
        self._look_at_all = False
        # What only a fork or a pin keeps today can be freed once they are gone.
        others = np.concatenate([as_ids(pins)] + ([ids_of(states)] if jax.tree.leaves(states) else []))
        kept = np.unique(others) if everything else np.intersect1d(replaced, others)
        self._replaced = [kept.astype(np.int32)]
        return freed

    def text_ids(self) -> np.ndarray:
        """Return the ids of all texts in its rows, int64 ``[n]``, so that `TextTable.sweep` keeps them."""
        return ids_of(self._state)

    def count(self) -> int:
        """How many legal windows there are."""
        return int(self.replay.count(self._state))

    def _draw(self, batch_size: int | None) -> HostBatch:
        if batch_size is not None:
            positive("batch_size", batch_size)
        batch, self.key = self._verbs.sample(batch_size)(self._state, self.key)
        if self._texts is None:
            self._texts = text_names(batch.data, self._state.spec)
        return HostBatch(batch, self.table, self._texts)

    def _replace(self, gone: list[np.ndarray]) -> None:
        self._replaced += gone
        if len(self._replaced) > 1000:  # keep one of each
            self._replaced = [np.unique(np.concatenate(self._replaced))]

    def _checked(self, batch: HostBatch) -> HostBatch:
        if not batch.valid:
            raise EmptyReplayError(
                f"no legal window for {self.replay.view} among {len(self)} rows; add more first. If there are enough, "
                f"look at their is_first and is_last, and at jb.stats(buffer.state)."
            )
        return batch


def _kinds(state: ReplayState) -> tuple[Any, list]:
    leaves, treedef = jax.tree.flatten(state)
    return treedef, [(np.shape(leaf), getattr(leaf, "dtype", None)) for leaf in leaves]
