"""What a store holds, and the changes that it goes through: each is one transaction, or has not happened."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.episodes import checksums
from jaxbuffers.episodes.catalog import Catalog, Change, State
from jaxbuffers.episodes.layout import Layout
from jaxbuffers.episodes.memory import MemoryCatalog, MemorySegments
from jaxbuffers.episodes.placement import Placement
from jaxbuffers.episodes.segments import Columns, FileSegments, Segment, Segments
from jaxbuffers.episodes.structure import require_same, restored
from jaxbuffers.episodes.table import Record, Table, columns_of
from jaxbuffers.errors import DamagedError
from jaxbuffers.row import RowSpec

SMALL = 2**20  # bytes below which no capacity makes a segment smaller


class Rows(NamedTuple):
    """What follows from knowing what a row is."""

    layout: Layout
    segments: Segments
    checked: checksums.Checked


class Core:
    """The contents of a store, to be used under its lock.

    Args:
      catalog: what is durable.
      folder: where segments are; None for memory.
      spec: what a row is; None to take it from the catalog, or from the first episode.
      capacity: in rows; None for no limit.
      segment_bytes: about how large a segment is.
    """

    def __init__(
        self,
        catalog: Catalog | MemoryCatalog,
        folder: str | None,
        spec: RowSpec | None,
        capacity: int | None,
        segment_bytes: int,
    ) -> None:
        self.catalog, self.folder, self.capacity, self.segment_bytes = catalog, folder, capacity, segment_bytes
        self.state, self.table, self.total = State(revision=-1), Table.empty(), 0
        self.known: dict[int, Segment] = {}
        self.live: dict[int, int] = {}  # rows of episodes in each segment
        self.current: int | None = None
        self.made: Rows | None = None
        self.noted = False  # whether the catalog knows what a row is
        self._wanted = spec
        self._next_block = 0
        self.refresh()
        if spec is not None and self.made is None:
            self.made = self.made_of(spec)

    @property
    def writable(self) -> bool:
        """Whether this is the one writer."""
        return not self.catalog.read_only

    def declare(self, types: dict[str, str]) -> None:
        """Add columns of the user's."""
        if types != self.state.types:
            table = self.table.with_types(types)
            self.commit(Change(self.next_state(types=types)), self.made, table, self.live, None)

    def tidy(self) -> None:
        """Delete what a crash has left."""
        if self.made is not None:
            self.made.segments.tidy(set(self.known))

    def refresh(self) -> bool:
        """Take over what another process has written; say whether there was anything."""
        with self.catalog.snapshot:
            state = self.catalog.state()
            if state.revision == self.state.revision:
                return False
            if not self.noted and (description := self.catalog.note("row")) is not None:
                if self._wanted is not None:
                    require_same(self._wanted, description, self.catalog.path)
                self.made = self.made_of(self._wanted or restored(description, self.catalog.path))
                self.noted = True
            known, table = self.catalog.segments(), self._read_table(state)
        if len(table) != state.episodes:
            raise DamagedError(f"{self.catalog.path} is damaged: it has {len(table)} of {state.episodes} episodes.")
        if (strange := ~np.isin(table["segment"], list(known))).any():
            raise DamagedError(f"{self.catalog.path} is damaged: it lacks segment {table['segment'][strange][0]}.")
        self._take(state, table, known)
        if self.made is not None:
            self.made.segments.keep(set(known))
        self.current = max((n for n, segment in known.items() if segment.used < segment.rows), default=None)
        self.total = int(table["length"].sum())
        numbers, inverse = np.unique(table["segment"], return_inverse=True)
        rows = np.bincount(inverse, table["length"], len(numbers)).astype(np.int64)
        self.live = dict(zip(numbers.tolist(), rows.tolist(), strict=True))
        return True

    def remove(self, ids: list[int]) -> None:
        """Delete episodes that there are."""
        if not ids:
            return
        state = self.next_state(episodes=self.state.episodes - len(ids))
        live = self.live_after(ids, [])
        table = self.table.without(self.table.find(ids))
        self.commit(Change(state, None, (), tuple(ids)), self.made, table, live, None)

    def edit(self, at: list[int], records: list[Record], names: list[str], types: dict[str, str]) -> None:
        """Replace what is known of the episodes in some places of the table, in some columns."""
        state = self.next_state(edited=self.state.revision + 1, types=types)
        table = self.table.with_types(types).replaced(at, columns_of(records, names))
        self.commit(Change(state, edited=tuple(records)), self.made, table, self.live, None)

    def segment_rows(self, rows: Rows) -> int:
        """Return how many rows a usual segment has."""
        size, each = self.segment_bytes, rows.layout.row_bytes
        if self.capacity is not None:
            size = min(size, max(SMALL, self.capacity * each // 16))
        return max(1, size // each)

    def made_of(self, spec: RowSpec) -> Rows:
        """Return what follows from knowing what a row is."""
        layout = Layout(spec, self.catalog.identity)
        segments = MemorySegments(layout) if self.folder is None else FileSegments(self.folder, layout)
        return Rows(layout, segments, checksums.Checked(len(layout.sizes)))

    def _read_table(self, state: State) -> Table:
        """Return the table as the catalog has it now: what is new of it, beside what is known."""
        table, last = self.table.with_types(state.types), self.state.next_episode
        for columns in self.catalog.episodes(state.types, "id >= ?", last):
            table = table.appended(columns, self.number(columns["length"], self.made, table))
        if len(table) > state.episodes:  # the oldest went first, as a rule
            table = table.without(range(int(np.searchsorted(table["id"], self.catalog.first()))))
        if len(table) > state.episodes:
            table = table.without(np.flatnonzero(~np.isin(table["id"], np.array(self.catalog.ids(), np.int64))))
        if state.edited > self.state.revision >= 0:
            for columns in self.catalog.episodes(state.types, "id < ? AND revision > ?", last, self.state.revision):
                at = table.find(columns["id"])
                moved = np.flatnonzero(table["segment"][at] != columns["segment"]).tolist()
                table = table.replaced(at, {name: columns[name] for name in table.names()})
                lengths = [columns["length"][i] for i in moved]
                table = table.moved(at[moved], self.number(lengths, self.made, table))
        return table

    def number(self, lengths: Sequence[int], rows: Rows | None, table: Table) -> list[int]:
        """Give the blocks of episodes numbers beside those of a table, and return that of each one's first.

        The episodes that are there now keep theirs too: the change that is prepared may not happen.
        """
        if rows is None:
            raise DamagedError(f"{self.catalog.path} is damaged: it does not say what a row is.")
        numbers, begin = [], self._next_block
        for length in lengths:
            numbers.append(self._next_block)
            self._next_block += rows.layout.blocks(length)
        rows.checked.extend(begin, self._next_block, self.table.first_blocks, table.first_blocks)
        return numbers

    def next_state(self, **changes: Any) -> State:
        """Return what the store says of itself after one more transaction."""
        return replace(self.state, revision=self.state.revision + 1, **changes)

    def placement(self, rows: Rows) -> Placement:
        """Return what finds places for new episodes; where the current segment is damaged, they get another one."""
        current, held = self.current, dict[int, Segment]()
        if current is not None:
            held = {current: self.known[current]}
            if not rows.segments.intact(current, held[current].rows):
                current, held = None, {}
        return Placement(self.segment_rows(rows), current, self.state.next_segment, held)

    def write(self, rows: Rows, plan: Placement, parts: list[tuple[tuple[int, int], Columns]]) -> None:
        """Write episodes to their places, each given by its segment and its first row there."""
        grouped: dict[int, list[tuple[int, Columns]]] = {}
        for (number, offset), columns in parts:
            grouped.setdefault(number, []).append((offset, columns))
        try:
            for number in plan.created:
                rows.segments.create(number, plan.segments[number].rows)
            for number, some in grouped.items():
                rows.segments.write(number, plan.segments[number].rows, some)
        except BaseException:
            rows.segments.discard(plan.created)
            raise

    def live_after(self, removed: list[int], records: list[Record]) -> dict[int, int]:
        """Return how many rows of each segment are in use when some episodes are gone and others have come."""
        live, at = dict(self.live), self.table.find(removed)
        for number, length in zip(self.table["segment"][at].tolist(), self.table["length"][at].tolist(), strict=True):
            live[number] -= length
        for record in records:
            live[record["segment"]] = live.get(record["segment"], 0) + record["length"]
        return {number: rows for number, rows in live.items() if rows}

    def commit(
        self, change: Change, rows: Rows | None, table: Table, live: dict[int, int], plan: Placement | None
    ) -> None:
        """Make a change durable, and then true.

        Args:
          change: what the catalog is told.
          rows: what follows from knowing what a row is, afterwards.
          table: the table afterwards.
          live: how many rows of each segment are in use afterwards.
          plan: where rows were written, if any were.
        """
        current = self.current if plan is None or plan.current is None else plan.current
        known = {**self.known, **change.segments}
        dropped = tuple(number for number in known if number not in live and number != current)
        known = {number: segment for number, segment in known.items() if number not in dropped}
        change = change._replace(
            dropped=dropped, segments={n: s for n, s in change.segments.items() if n not in dropped}
        )

        def done() -> None:
            self.made, self.noted = rows, self.noted or change.row is not None
            self._take(change.state, table, known)
            self.live, self.current, self.total = live, current, int(sum(live.values()))

        try:
            self.catalog.commit(change, done)
        except BaseException:
            if self.state is not change.state and plan is not None and rows is not None:
                if self.catalog.in_doubt:  # those bytes are not written again
                    self.known |= {n: s for n, s in plan.segments.items() if n in self.known}
                    self.state = replace(self.state, next_segment=plan.next_segment)
                else:
                    rows.segments.discard(plan.created)
            raise
        if rows is not None:
            for number in dropped:
                rows.segments.remove(number)

    def _take(self, state: State, table: Table, known: dict[int, Segment]) -> None:
        self.state, self.table, self.known = state, table.at_revision(state.revision), known
