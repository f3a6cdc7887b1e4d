"""Any order of inserting, failing, forking, sampling and sweeping agrees with a list of Python objects."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tier import budget

from host.shells import contents, seen, shell
from jaxbuffers.errors import EmptyReplayError

CAPACITY = 4
WORDS = st.sampled_from(["", "a", "b", "c", "d", "ü", None])
BAD = [
    {"mission": 1},
    {"mission": np.int32(-7)},
    {"notes": ["x"] * 4},
    {"notes": "x"},
    {"reward": True},
    {"reward": np.float64},
    {"reward": np.zeros(1, np.float32)},
    {"more": 0},
]


class Machine(RuleBasedStateMachine):
    """A shell beside the rows that it should hold and the texts that its table should."""

    @initialize(shared=st.booleans())
    def empty(self, shared):
        self.buffer = shell()
        self.rows = []
        self.texts = set()  # that the table holds
        self.overwritten = set()  # that a sweep may free
        self.forks = []
        self.number = 0
        if shared:
            self.buffer.state  # noqa: B018, the next write copies

    def remember(self, rows):
        for mission, notes, reward in rows:
            self.texts |= {mission, *notes} - {None}
            self.rows.append((mission, (notes + [None] * 3)[:3], reward))
        for mission, notes, _ in self.rows[:-CAPACITY]:
            self.overwritten |= {mission, *notes} - {None}
        self.rows = self.rows[-CAPACITY:]

    def row(self, words):
        self.number += 1
        return words[0], list(words[1:]), self.number / 2

    @rule(words=st.lists(WORDS, min_size=1, max_size=4))
    def insert(self, words):
        mission, notes, reward = self.row(words)
        self.buffer.insert(mission=mission, notes=notes, reward=reward)
        self.remember([(mission, notes, reward)])

    @rule(words=st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=3, max_size=3), mask=st.integers(-1, 7))
    def add_a_block(self, words, mask):
        rows = [self.row(each) for each in words]
        mission, notes, reward = map(list, zip(*rows, strict=True))
        written = None if mask < 0 else np.array([mask >> i & 1 == 1 for i in range(3)])
        self.buffer.add({"mission": mission, "notes": notes, "reward": np.array(reward, np.float32)}, mask=written)
        self.remember([row for i, row in enumerate(rows) if written is None or written[i]])

    @rule(bad=st.sampled_from(BAD), masked=st.booleans(), waiting=st.booleans())
    def fail(self, bad, masked, waiting):
        before = self.buffer._staging.count if waiting else seen(self.buffer)
        row = {"mission": "never stored", "notes": ["nor this"], "reward": 0.0} | bad
        with pytest.raises((ValueError, TypeError, LookupError)):
            self.buffer.add(row, mask=np.array(True) if masked else None)
        assert before == (self.buffer._staging.count if waiting else seen(self.buffer))

    @rule()
    def sample(self):
        if not self.rows:
            with pytest.raises(EmptyReplayError, match="add more first"):
                self.buffer.sample()
            return
        batch = self.buffer.sample()
        found = zip(batch.text("mission"), batch.text("notes"), batch.data["reward"].tolist(), strict=True)
        assert all(row in self.rows for row in found)

    @rule()
    def look(self):
        assert contents(self.buffer) == self.rows

    @rule()
    def fork(self):
        self.forks.append((self.buffer.state, list(self.rows)))

    @precondition(lambda self: self.forks)
    @rule(which=st.integers(0, 9))
    def go_back_to_a_fork(self, which):
        self.buffer.state, rows = self.forks[which % len(self.forks)]
        self.rows = list(rows)

    @rule(everything=st.booleans(), keep=st.integers(0, 2))
    def sweep(self, everything, keep):
        self.forks = self.forks[-keep:] if keep else []
        freed = self.buffer.sweep(states=[state for state, _ in self.forks], everything=everything)
        live = {
            text
            for rows in [self.rows, *(rows for _, rows in self.forks)]
            for mission, notes, _ in rows
            for text in (mission, *notes)
        }
        gone = (self.texts if everything else self.overwritten & self.texts) - live
        assert freed == len(gone)
        self.texts -= gone
        # What only a fork keeps stays a candidate.
        held = {text for _, rows in self.forks for mission, notes, _ in rows for text in (mission, *notes)}
        self.overwritten &= held & self.texts

    @invariant()
    def they_agree(self):
        if not hasattr(self, "buffer"):
            return
        assert len(self.buffer) == len(self.rows)
        assert {text.decode() for _, text in self.buffer.table._store.items()} == self.texts

    def teardown(self):
        if hasattr(self, "forks"):
            self.look()
        for state, rows in self.forks if hasattr(self, "forks") else []:
            assert contents(self.buffer, state) == rows


def test_a_shell_agrees_with_a_list():
    quick = settings(
        max_examples=budget(5, 25),
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=quick)
