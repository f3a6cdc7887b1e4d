"""The half of a HostReplay that batches come out of."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from jaxbuffers.batch import Data
from jaxbuffers.checks import positive
from jaxbuffers.errors import EmptyReplayError
from jaxbuffers.host.ahead import Ahead
from jaxbuffers.host.batch import HostBatch, text_names
from jaxbuffers.host.batches import Batches, Drawn, nothing_to_draw
from jaxbuffers.host.checks import at_top, beside, one_key, outside_jit
from jaxbuffers.host.keys import Key
from jaxbuffers.host.programs import SMALL, calls_python, results_are_searched
from jaxbuffers.host.staging import STEP
from jaxbuffers.host.transfers import transfers
from jaxbuffers.host.verbs import Drawing
from jaxbuffers.host.writing import Writing
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.texts import TextTable


class Sampling(Writing[Data]):
    """Draws from the state, with a key that goes on after each draw.

    Args:
      replay: the configuration.
      state: empty.
      table: where texts go.
      staging: how many rows of each stream may wait; None for as many as are of use.
      key: of the first draw.
    """

    def __init__(
        self, replay: Replay[Data], state: ReplayState, table: TextTable, staging: int | None, key: Key
    ) -> None:
        super().__init__(replay, state, table, staging)
        self._key = key
        self._compiled: set[tuple[int, ...]] = set()  # leading axes of what has been drawn by itself
        self._calls_python: dict[Drawing, bool] = {}
        self._texts: tuple[str, ...] | None = None  # of what the view reads, once it has
        self._ahead = Ahead()  # of iterators to come
        self._window = self._staging.layout.nbytes // replay.num_streams * replay.view.span  # bytes

    @property
    def key(self) -> jax.Array:
        """The key of the next draw. Assign one key to draw differently, or again."""
        return self._key.whole

    @key.setter
    def key(self, key: jax.Array) -> None:
        with self._guard():
            beside(self._added, {("key",): one_key(key)})
            self._key = Key.of(key)

    @transfers
    def sample(self, batch_size: int | None = None, *, batches: int | None = None) -> HostBatch[Data]:
        """Draw a batch; every call draws anew. Hand ``batch.batch``, or the whole, to jitted functions.

        Args:
          batch_size: B; None for the configured one.
          batches: U, for several batches in one call, as algorithms need that learn often for each row. They are those
            that as many calls would draw, with all leaves ``[U, B, ...]``, the index and ``valid`` too. To go on with
            one of them, take it out: ``jax.tree.map(lambda leaf: leaf[0], batch)``.

        Raises:
          EmptyReplayError: there is no legal window yet, or no such batch of them; the key is as it was.
          ShapeError: `Weighted` is asked for more different windows than the ring has rows.
        """
        size, several = self._size(batch_size), None if batches is None else positive("batches", batches)
        # What writes or compiles needs a section, which is entered before the lock is taken: a handler may wait for it.
        whole = self._staging.count > 0 or _lead(size, several) not in self._compiled
        with self._guard() if whole else self._guard.looking():
            drawn = self._draw(size, several, together=whole)
        if not drawn.valid():
            with self._guard():
                raise self._undo([drawn])
        return drawn.batch

    def batches(
        self,
        steps: int | None = None,
        batch_size: int | None = None,
        prefetch: int = 2,
        *,
        batches: int | None = None,
    ) -> Iterator[HostBatch[Data]]:
        """Iterate over batches, drawn ahead so that the device works while Python does.

        Several threads may share the iterator. `sweep` keeps the texts of the batches that were drawn ahead.

        Args:
          steps: how many there are; None for no end.
          batch_size: B; None for the configured one.
          prefetch: how many are drawn ahead; rows added meanwhile are seen so many steps later.
          batches: U, for several batches in each step, with all leaves ``[U, B, ...]``; see `sample`. Then U times
            ``prefetch`` batches are drawn ahead.

        Raises:
          EmptyReplayError: there is no legal window, when a batch is asked for; asking again draws again.
        """
        steps = None if steps is None else positive("steps", steps, minimum=0)
        prefetch, size = positive("prefetch", prefetch, minimum=0), self._size(batch_size)
        several = None if batches is None else positive("batches", batches)
        with self._guard():
            draw, lead = partial(self._draw, size, several), _lead(size, several)
            return self._ahead.hand_to(Batches(self._guard, lead, draw, self._undo, steps, prefetch))

    def _size(self, batch_size: int | None) -> int:
        return self.replay.batch_size if batch_size is None else positive("batch_size", batch_size)

    def _draw(self, size: int, batches: int | None = None, together: bool = True) -> Drawn:
        """Draw; ``together`` with the rows that wait, if one program may do both, which needs a section."""
        before, lead = self._key, _lead(size, batches)
        small = self._window * size * (batches or 1) <= SMALL and at_top()
        drawing = Drawing(size, batches, before.impl, small and self._on_cpu())
        joint = self._joint(drawing, before.words) if together and small else None
        if joint is not None:
            batch, words = self._hand_over(joint)
        else:
            batch, words = self._verbs.sample(drawing)(self._state, before.words)
            outside_jit(words)
            self._compiled.add(lead)
        if self._texts is None:
            self._texts = text_names(batch.data, self._added.spec)
        host = HostBatch(batch, self.table, self._texts)
        drawn = Drawn(host, lead, self._drawable, before, Key(words, before.impl))
        if self._key is not before:  # a handler of a signal has drawn with it meanwhile
            return self._draw(size, batches, together)
        self._key = drawn.after  # last: until here nothing has happened
        return drawn

    @transfers
    def _joint(self, drawing: Drawing, words: jax.Array) -> Callable[..., tuple[Any, ...]] | None:
        """Return what adds the few rows that wait and draws, in one program; None where there must be two.

        Adding donates the state, so nothing may raise from then on: neither a search for NaN nor a draw in Python.
        """
        if not 0 < self._staging.count <= STEP or results_are_searched():
            return None
        program: Any = self._verbs.add_and_sample(self._shared, drawing)
        if drawing not in self._calls_python:
            traced = program.trace(words, self._added, self._staging.block())  # which the first call then need not do
            self._calls_python[drawing] = calls_python(traced.jaxpr.jaxpr)
        return None if self._calls_python[drawing] else partial(program, words)

    def _on_cpu(self) -> bool:
        if self._platform is None:
            self._platform = next(iter(self._added.ring.time.devices())).platform
        return self._platform == "cpu"

    @transfers
    def _undo(self, draws: list[Drawn]) -> EmptyReplayError:
        for drawn in reversed(draws):
            if self._key is drawn.after:  # else somebody else has drawn since
                self._key = drawn.before
        return nothing_to_draw(self.replay, draws[0].lead[-1], int(self.replay.count(self._state)), len(self))


def _lead(size: int, batches: int | None) -> tuple[int, ...]:
    return (size,) if batches is None else (batches, size)
