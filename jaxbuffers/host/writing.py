"""The half of a HostReplay that rows go into: they wait on the host, and are added to the state many at a time."""

from collections.abc import Callable
from typing import Any, Generic

import jax
import numpy as np

from jaxbuffers.batch import Data
from jaxbuffers.checks import positive
from jaxbuffers.host.checkpoints import Saved
from jaxbuffers.host.checks import at_top, outside_jit
from jaxbuffers.host.overwritten_texts import Overwritten
from jaxbuffers.host.programs import unsearched
from jaxbuffers.host.rows import Rows
from jaxbuffers.host.signals import Guard
from jaxbuffers.host.staging import Staging
from jaxbuffers.host.transfers import transfers
from jaxbuffers.host.verbs import Verbs
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.samplers import Sampler
from jaxbuffers.storage.ring import Ring
from jaxbuffers.texts import TextTable
from jaxbuffers.windows.base import Contiguous

FETCHED = 4096  # bytes of an array on a device that are worth fetching, so that its row can wait with others


class Writing(Saved, Generic[Data]):
    """Holds a state, and the rows that will be part of it as soon as anybody looks.

    Args:
      replay: the configuration.
      state: empty.
      table: where texts go.
      staging: how many rows of each stream may wait; None for as many as are of use.
    """

    def __init__(self, replay: Replay[Data], state: ReplayState, table: TextTable, staging: int | None) -> None:
        self.replay, self.table = replay, table
        self._guard = Guard(table)
        self._rows = Rows(replay, state.spec, table)
        self._verbs = Verbs.of(replay)
        self._staging = Staging(replay, state.spec, None if staging is None else positive("staging", staging))
        self._overwritten = Overwritten()  # texts, which `sweep` may free
        self._lasting = _lasting(replay, state)
        self._become(state, shared=False)

    @property
    def _state(self) -> ReplayState:
        """The state with all rows that were inserted."""
        if self._staging.count:
            self.flush()
        return self._added

    def _become(self, state: ReplayState, shared: bool) -> None:
        """Go over to another state; rows that wait are forgotten with the one that they were for."""
        self._staging.clear(None)
        self._added = state  # without the rows that wait
        self._shared = shared  # whether the user may hold it: then it must not be donated
        self._drawable: set[int] = set()  # the sizes of batches that it is known to have
        self._platform: str | None = None  # of its device, once somebody has asked
        self._sizes: np.ndarray | None = None  # the rows it has of each stream, int64 [E], once somebody has asked

    def __len__(self) -> int:
        """How many rows are present."""
        with self._guard.looking():
            while True:
                sizes = self._present()
                rows = int(np.minimum(sizes + self._staging.written(), self.replay.length).sum())
                if sizes is self._sizes:  # else a handler of a signal has had those added that waited
                    return rows

    def insert(self, /, **fields: Any) -> None:
        """Append one row (one of each environment), given by its top-level fields. See `add`."""
        if not self._staged(fields, None):
            self._add(self._rows.named(fields), None)

    def add(self, rows: Any, mask: Any = None) -> None:
        """Append rows.

        One row (of each environment) is checked, copied, and waits on the host for others: see `flush`. So does a block
        of rows that is small enough. The states are those that each call by itself would give, bit for bit.

        Args:
          rows: in the structure of the declaration, leaves ``[E, ...]`` or ``[N, E, ...]``; without environments
            ``[...]`` or ``[N, ...]``. Arrays have the declared dtype; numbers must fit it; texts are ``str``
            or (nested) lists of them, or int32 ids of the table.
          mask: as for `Replay.add`.

        Raises:
          StructureError, ShapeError, DtypeError: naming the field; nothing is written.
          TextTableFullError: there is no room for the texts; nothing is written.
        """
        if not self._staged(rows, mask):
            self._add(rows, mask)

    @unsearched
    def flush(self) -> None:
        """Hand the rows that wait on the host to the device, in one transfer for each block.

        Everything that reads does so itself, and so does the row with which a block is full; call it to have the device
        begin earlier.

        >>> import numpy as np, jaxbuffers as jb
        >>> buffer = jb.HostReplay(jb.Replay(capacity=10, num_envs=None, batch_size=2), {"reward": np.float32})
        >>> for i in range(3):
        ...     buffer.insert(reward=i)
        >>> buffer.flush()
        >>> len(buffer), sorted(set(buffer.sample(64).data["reward"].tolist()))
        (3, [0.0, 1.0, 2.0])
        """
        with self._guard():
            if self._staging.count:
                self._hand_over(self._verbs.add_staged(self._shared))

    @transfers
    def _hand_over(self, program: Callable[..., tuple[Any, ...]]) -> list[Any]:
        """Have a program add the rows that wait, in a section; return what else it returns than `add_staged` does."""
        block, gone = self._staging.block(), []
        added = None if self._sizes is None else self._staging.written()
        if self._added.spec.texts:
            written = block.words[..., -1] % 2 == 1
            gone = self._verbs.replaced(self._added, written.shape, written)
        state, read, *others = program(self._added, block)
        self._store(state, [], added)
        self._staging.clear(read)  # at once: whatever fails from here on, no row is added twice
        self._overwritten.note(gone)
        return others

    def _staged(self, rows: Any, mask: Any) -> bool:
        """Let a row wait that needs no conversion; False, with nothing done, where it needs one."""
        with self._guard.looking():  # a handler of a signal may raise here, or use the buffer
            if not (self._staging.open and at_top() and self._staging.put(rows, mask)):
                return False
            if self._staging.count < self._staging.size:
                return True
            turn = self._staging.turn
        self._flush_full(turn)
        return True

    @transfers
    @unsearched
    def _add(self, rows: Any, mask: Any) -> None:
        with self._guard():
            arrays, mask, lead = self._rows.arrays(self._added, rows, mask)
            if (number := self._staging.fits(lead)) and at_top():
                if self._staging.count + number > self._staging.size:
                    self.flush()
                fetched, written = _on_host(arrays), _on_host(mask)
                if self._staging.put(fetched, written):
                    self._staging.open = not self._added.spec.texts  # ids of texts must be looked up
                    if self._staging.count == self._staging.size:
                        self._flush_full(self._staging.turn)
                    return
            state = self._state
            gone = self._verbs.replaced(state, lead, mask) if state.spec.texts else []
            new = self._verbs.add(self._shared)(state, arrays, mask)
            number = lead[0] if len(lead) > len(self._staging.lead) else 1
            each = np.ones(lead, np.bool_) if mask is None else np.asarray(mask)
            self._store(new, gone, each.reshape(number, self.replay.num_streams).sum(axis=0))

    def _flush_full(self, turn: int) -> None:
        """Add a block that what came last has made full; take that back where it cannot be added."""
        try:
            self.flush()
        except BaseException:
            with self._guard():  # another thread may just be adding them
                staging = self._staging
                if (staging.turn, staging.count) == (turn, staging.size):  # what did not fit is not there
                    staging.take_back()
            raise

    @transfers
    def _present(self) -> np.ndarray:
        if self._sizes is None:
            with self._guard():
                self._sizes = np.asarray(jax.device_get(self._added.ring.size), np.int64)
        return self._sizes

    def _store(self, state: ReplayState, gone: list[np.ndarray], added: np.ndarray | None = None) -> None:
        """Take the result of a verb, and ``added``, how many rows of each stream it wrote, if it is an `add`."""
        outside_jit(state.dropped)
        if added is not None and self._sizes is not None:
            self._sizes = np.minimum(self._sizes + added, self.replay.length)
        self._added, self._shared = state, False
        if not self._lasting:
            self._drawable = set()
        self._overwritten.note(gone)


def _lasting(replay: Replay, state: ReplayState) -> bool:
    """Say whether a state that had a batch to draw has one for ever, whatever is written to it."""
    kind = replay.view.windows(Ring(state.spec, replay.length, replay.num_streams))
    return type(kind) is Contiguous and type(replay.sampler).can_draw is Sampler.can_draw


def _on_host(tree: Any) -> Any:
    """Fetch small arrays that are there from their devices; leave others as they are."""

    def fetch(x: Any) -> Any:
        if isinstance(x, jax.Array) and x.is_ready():  # type: ignore[attr-defined]
            near = x.nbytes <= FETCHED or all(device.platform == "cpu" for device in x.devices())
            return np.asarray(x) if near else x
        return x

    return jax.tree.map(fetch, tree)
