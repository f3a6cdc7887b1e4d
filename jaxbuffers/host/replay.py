"""HostReplay: a replay driven from a Python loop, which holds the state and takes NumPy arrays, numbers and ``str``."""

from contextlib import AbstractContextManager
from typing import Any, Literal, NoReturn

import jax
import numpy as np

from jaxbuffers.batch import Data, Index
from jaxbuffers.checks import flag, one_of
from jaxbuffers.errors import ConfigurationError, StaleIndexError, StructureError
from jaxbuffers.host import saving
from jaxbuffers.host.batches import waiting_ids
from jaxbuffers.host.checks import addresses, beside, first_key, priorities
from jaxbuffers.host.convert import declared
from jaxbuffers.host.keys import Key
from jaxbuffers.host.programs import unsearched
from jaxbuffers.host.sampling import Sampling
from jaxbuffers.host.transfers import transfers
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import paths_of
from jaxbuffers.texts import TextTable
from jaxbuffers.texts.live import ids_of


class HostReplay(Sampling[Data]):
    """The stateful shell of a `Replay`, for loops in Python.

    What is inserted is checked in full before anything is written: a call that raises leaves everything as it was.

    Threads may share a buffer. Each call is atomic, a step of `batches` too, and waits for the call of another thread,
    to this buffer or to others on the same table; several calls are atomic inside a `section`. Without one, another
    thread may overwrite rows between a `sample` and its `update`. Do not write to an array during the call it is in.

    Signals with handlers in Python, Ctrl-C among them, wait until a call that writes is over, or the first draw of a
    size, compilation included. A handler may itself use the buffer, such as to save it; it should not wait for a thread
    that does. After a fork only the process that made the buffer can use it.

    Args:
      replay: the configuration.
      fields: what one row holds: a dict, a `Row` or any pytree of ``jb.text``, dtypes (one number each) and
        ``jax.ShapeDtypeStruct``.
      table: where texts go; a new one in memory by default.
      seed: of the draws.
      staging: how many rows of each environment may wait on the host, to be added to the state at once: in memory for
        twice as many, 8 MB at most unless you say how many. None for as many as are of use, 1 for none.

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

    @transfers
    def __init__(
        self,
        replay: Replay[Data],
        fields: Any,
        *,
        table: TextTable | None = None,
        seed: int = 0,
        staging: int | None = None,
    ) -> None:
        if not isinstance(replay, Replay):
            raise ConfigurationError(f"replay must be a jb.Replay, got {replay!r}.")
        if not isinstance(table, TextTable | None):
            raise ConfigurationError(f"table must be a jb.TextTable, got {table!r}; write jb.TextTable(path).")
        key = Key.of(first_key(seed))
        super().__init__(replay, replay.init(declared(fields)), TextTable() if table is None else table, staging, key)

    @property
    def state(self) -> ReplayState:
        """The state, yours to keep. The next write then copies it once, instead of updating it in place.

        Assign to it to go back to a state of the same replay, such as a fork; see `to_bytes` for files.
        """
        with self._guard():
            state, self._shared = self._state, True
            return state

    @state.setter
    @transfers
    def state(self, state: ReplayState) -> None:
        with self._guard():
            # Arrays of NumPy, as a checkpoint has them, may be written to by their owner.
            self._become(saving.adopted(self.replay, self._state, state), shared=True)
            self._overwritten.may_be_others = bool(state.spec.texts)

    @transfers
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
        with self._guard():
            return saving.pack(self.replay, self._state, self.key, self.table)

    @transfers
    def from_bytes(self, data: bytes) -> None:
        """Go back to what `to_bytes` returned, of an equal replay with equal fields, and on the table it had.

        Raises:
          StructureError: the bytes are damaged, or the configuration or the fields are others; nothing has changed.
          UnknownTextError: the table lacks texts of the rows, or has others under their ids; nothing has changed.
        """
        with self._guard():
            self.state, key = saving.unpack(self.replay, self._state, self.table, data)
            self._key = Key.of(key)

    @transfers
    @unsearched
    def update(
        self, index: Index, *, priority: Any = None, rows: Any = None, stale: Literal["error", "drop"] = "error"
    ) -> None:
        """Write back to what was sampled; see `Replay.update`. Texts are given as ids: ``table.intern(texts)``.

        Args:
          index: ``batch.index``.
          priority: float32 ``[B]``.
          rows: the fields to replace.
          stale: what to do about rows that have been overwritten since, or were never there: ``"error"``, or ``"drop"``
            what was meant for them, for loops that add before they update; ``state.dropped`` counts them.

        Raises:
          PriorityError: a priority is NaN, infinite or negative; nothing is written.
          StaleIndexError: a row has been overwritten since, and ``stale`` is ``"error"``; nothing is written.
          StructureError, ShapeError, DtypeError: naming the field; nothing is written.
          UnknownTextError: an id is not in the table; nothing is written.
        """
        one_of("stale", stale, ("error", "drop"))
        index = addresses(index)
        if priority is not None:
            priority = priorities(priority)
        with self._guard():
            rows = None if rows is None else self._rows.replacements(rows, index.time.shape)
            beside(self._state, paths_of({"index": index, "rows": rows}))
            gone = self._verbs.rewritten(self._state, index, rows)
            if stale == "error" and (number := int(self._verbs.stale(self._state, index))) > 0:
                raise StaleIndexError(
                    f'{number} rows of the index have been overwritten. Update before you add, or give stale="drop".'
                )
            self._store(self._verbs.update(self._shared)(self._state, index, priority, rows), gone)

    @transfers
    def get(self, index: Index) -> tuple[Any, jax.Array]:
        """Read rows by address; see `Replay.get`."""
        index = addresses(index)
        with self._guard.looking():
            beside(self._state, paths_of(index))
            return self.replay.get(self._state, index)

    @transfers
    def text_ids(self) -> np.ndarray:
        """Return the ids of all texts in use, int64 ``[n]``: of its rows, and of batches that were drawn ahead."""
        with self._guard():
            return np.concatenate([ids_of(self._state), *waiting_ids(self.table)])

    @transfers
    def sweep(self, states: Any = (), pins: Any = (), everything: bool = False) -> int:
        """Free the texts that were overwritten and that nothing refers to any more; see `TextTable.sweep`.

        Args:
          states: further states that will be read again: forks, other replays on the same table.
          pins: further ids to keep, such as those of batches still in use or of a checkpoint.
          everything: look at every text of the table instead of those that rows of this replay were overwritten with.
        """
        with self._guard():
            flag("everything", everything)
            return self._overwritten.sweep(self.table, self._state, states, [pins, waiting_ids(self.table)], everything)

    def section(self) -> AbstractContextManager[Any]:
        """Return what makes calls atomic: ``with buffer.section(): ...``, for other threads and for signals."""
        return self._guard()

    @transfers
    def count(self) -> int:
        """How many legal windows there are."""
        with self._guard.looking():
            return int(self.replay.count(self._state))

    def __reduce__(self) -> NoReturn:
        raise StructureError(  # two buffers would write to the same arrays
            "a HostReplay is not copied or pickled. Keep buffer.state for a fork; save() it, and load() it elsewhere."
        )
