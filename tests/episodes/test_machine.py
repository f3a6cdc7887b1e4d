"""Any order of changes, reopenings and reads, against a store in plain Python."""

import shutil

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tier import budget

import jaxbuffers as jb
from episodes.model import COLUMNS, ROW, ROW_BYTES, Model, check_rows, rows, temporary

LENGTHS = st.sampled_from([1, 2, 3, 9, 30, 70])
EXAMPLES, STEPS = budget((15, 25), (400, 60))


class Machine(RuleBasedStateMachine):
    """A store, its oracle, and readers that may lag behind."""

    kind = "disk"

    @initialize(capacity=st.sampled_from([None, 100, 300]), segment=st.sampled_from([20, 64, 1000]))
    def begin(self, capacity, segment):
        self.folder = temporary()
        self.options = {"capacity": capacity, "row": ROW, "columns": COLUMNS, "segment_bytes": segment * ROW_BYTES}
        self.path = self.folder / "store" if self.kind == "disk" else None
        self.store, self.model = jb.EpisodeStore(self.path, **self.options), Model(capacity)
        self.reader, self.seen, self.held, self.key = None, None, [], 0

    @rule(length=LENGTHS)
    def add(self, length):
        self.key += 1
        before = self.model.next_id
        assert self.store.add_episode(rows(self.key, length), {"key": self.key}) == before
        self.model.add([(self.key, length)])

    @rule(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4))
    def write(self, lengths):
        """Environments beside one another, each episode ended by its last row."""
        self.key += 1
        with self.store.writer(len(lengths), metadata={"key": self.key}) as writer:
            flat = [rows(self.key, length) for length in lengths]
            for t in range(max(lengths)):
                at = [min(t, length - 1) for length in lengths]
                block = {
                    name: np.stack([each[name][i] for each, i in zip(flat, at, strict=True)])
                    for name in ROW
                    if name != "said"
                }
                block["said"] = [each["said"][i] for each, i in zip(flat, at, strict=True)]
                ended = writer.add(block, np.array([t < length for length in lengths]))
                done = [(self.key, length) for length in lengths if length == t + 1]
                assert len(ended) == len(done)
                if done:
                    self.model.add(done)

    @rule(count=st.integers(0, 3))
    def evict(self, count):
        ids = list(self.model.held)[:count]
        assert self.store.evict(count).tolist() == ids
        self.model.evict(count)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def delete(self, data):
        ids = data.draw(st.lists(st.sampled_from(list(self.model.held)), unique=True, max_size=3))
        self.store.delete(ids)
        self.model.delete(ids)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), value=st.sampled_from([None, 0.5, 1.0]))
    def judge(self, data, value):
        ids = data.draw(st.lists(st.sampled_from(list(self.model.held)), unique=True, max_size=3))
        self.store.set(ids, judgment=value)
        self.model.judge(ids, value)

    @rule(below=st.sampled_from([0.3, 0.9, 1.0]))
    def compact(self, below):
        self.store.compact(below)

    @rule()
    def sweep(self):
        self.store.texts.sweep(self.store)
        self.store.texts.purge()

    @precondition(lambda self: self.path is not None)
    @rule()
    def reopen(self):
        self.store.close()
        self.store = jb.EpisodeStore(self.path, **self.options)

    @precondition(lambda self: self.path is not None)
    @rule(told=st.booleans())
    def read(self, told):
        """Open a reader anew, or refresh it, and see what was committed by then."""
        if self.reader is None:
            self.reader = jb.EpisodeStore(self.path, row=ROW if told else None, read_only=True)
        else:
            assert self.reader.refresh() == (self.reader_revision != self.store.table().revision)
        self.seen = self.model.copy()
        self.reader_revision = self.reader.table().revision
        self.seen.check(self.reader)

    @precondition(lambda self: self.reader is not None)
    @rule()
    def lag(self):
        """What a reader saw is still what it says, until it is refreshed."""
        assert self.seen.fits(self.reader)

    @precondition(lambda self: self.path is not None and self.reader is not None and self.seen.held)
    @rule(data=st.data())
    def read_late(self, data):
        """An episode that is still there is right, wherever it is by now; one that is gone says so."""
        i = data.draw(st.sampled_from(list(self.seen.held)))
        key, length, _ = self.seen.held[i]
        try:
            found = self.reader.read([i], [0], length)
        except jb.errors.UnknownEpisodeError:
            assert i not in self.model.held
        else:
            rows_found = {name: column[0] for name, column in found.items()}
            if i not in self.model.held:  # its texts may have been swept since
                rows_found["said"] = self.store.texts.intern(rows(key, length)["said"])
            check_rows(self.store, rows_found, key, length)
        if self.reader.table().revision != self.reader_revision:  # it had to look anew
            self.seen, self.reader_revision = self.model.copy(), self.reader.table().revision

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def hold(self, data):
        """Look up an episode, and read its rows much later."""
        i = data.draw(st.sampled_from(list(self.model.held)))
        key, length, _ = self.model.held[i]
        self.held.append((self.store[i], key, length))

    @precondition(lambda self: self.held)
    @rule()
    def let_go(self):
        episode, key, length = self.held.pop(0)
        expected = rows(key, length)
        for name in ("obs", "reward", "is_last"):
            np.testing.assert_array_equal(episode.rows[name], expected[name])

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def windows(self, data):
        """Windows of one length anywhere in episodes."""
        length = data.draw(st.integers(1, max(length for _, length, _ in self.model.held.values())))
        long = [i for i, (_, n, _) in self.model.held.items() if n >= length]
        ids = data.draw(st.lists(st.sampled_from(long), max_size=5))
        starts = [data.draw(st.integers(0, self.model.held[i][1] - length)) for i in ids]
        found = self.store.read(np.array(ids, np.int64), np.array(starts, np.int64), length)
        for b, (i, start) in enumerate(zip(ids, starts, strict=True)):
            expected = rows(*self.model.held[i][:2])
            for name in ("obs", "reward", "is_first"):
                np.testing.assert_array_equal(found[name][b], expected[name][start : start + length])

    @rule()
    def whole(self):
        self.model.check(self.store)

    def teardown(self):
        if hasattr(self, "store"):
            self.model.check(self.store)
            for store in (self.store, self.reader):
                if store is not None:
                    store.close()
            shutil.rmtree(self.folder)


class InMemory(Machine):
    kind = "memory"


@pytest.mark.parametrize("machine", [Machine, InMemory])
def test_a_store_is_its_oracle(machine):
    run_state_machine_as_test(
        machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
    )
