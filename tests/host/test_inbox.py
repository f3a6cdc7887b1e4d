"""An inbox gives the rows of every stream in order, none twice, none lost, and ends what a lost actor began."""

from dataclasses import dataclass, field

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget

import jaxbuffers as jb
from jaxbuffers.errors import (
    ConfigurationError,
    InboxFullError,
    ShapeError,
    StaleRowsError,
    StructureError,
)

from .actor_rows import ROW, rows_of, some


@dataclass
class Lists:
    """The oracle: a list for each stream, of ``[number, first, last, version]``."""

    streams: int
    capacity: int
    waiting: list = field(default_factory=list)
    cut: list = field(default_factory=list)

    def __post_init__(self):
        self.waiting = [[] for _ in range(self.streams)]
        self.cut = [False] * self.streams

    def error(self, new):
        """What a put of rows, a list for each of some streams, must raise."""
        if any(len(rows) > self.capacity - 1 for rows in new.values()):
            return ShapeError
        if any(self.cut[s] and rows and not rows[0][1] for s, rows in new.items()):
            return StructureError
        if any(rows and len(self.waiting[s]) + len(rows) > self.capacity for s, rows in new.items()):
            return InboxFullError
        return None

    def put(self, new):
        for s, rows in new.items():
            self.waiting[s] += rows
            self.cut[s] = self.cut[s] and not rows

    def ready(self, s):
        rows = self.waiting[s]
        return len(rows) - bool(rows and not rows[-1][2])

    def take(self, length):
        out = []
        for s in range(self.streams):
            n = min(self.ready(s), length)
            out.append(self.waiting[s][:n])
            del self.waiting[s][:n]
        return out

    def lost(self, streams):
        for s in streams:
            if self.waiting[s]:
                self.waiting[s][-1][2] = True
            self.cut[s] = True


def same(block, taken, length, version):
    """Whether a block is what the lists gave."""
    assert block.mask.shape == (length, len(taken))
    for s, rows in enumerate(taken):
        n = len(rows)
        np.testing.assert_array_equal(block.mask[:, s], np.arange(length) < n)
        numbers = [row[0] for row in rows] + [0] * (length - n)
        np.testing.assert_array_equal(block.rows["obs"][:, s], np.stack([numbers, np.negative(numbers)], -1))
        for name, at in (("is_first", 1), ("is_last", 2)):
            assert block.rows[name][:, s].tolist() == [row[at] for row in rows] + [False] * (length - n)
        assert block.staleness[:, s].tolist() == [version - row[3] for row in rows] + [0] * (length - n)


@settings(max_examples=budget(60, 600), deadline=None)
@given(st.data())
def test_any_order_of_puts_takes_and_losses_is_that_of_lists(data):
    actors, envs = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([None, 1, 2]))
    length, capacity = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 5))
    inbox = jb.Inbox(ROW, actors, envs, length=length, capacity=capacity)
    each, number, taken = envs or 1, 0, 0
    lists = Lists(actors * each, capacity)
    for _ in range(data.draw(st.integers(1, 25))):
        what, actor = (
            data.draw(st.sampled_from(["put"] * 4 + ["take", "lost", "announce"])),
            data.draw(st.integers(0, actors - 1)),
        )
        if what == "put":
            n = data.draw(st.integers(0, capacity))
            flags = st.lists(st.booleans(), min_size=n * each, max_size=n * each)
            mask, first, last = (np.array(data.draw(flags), bool).reshape(n, each) for _ in range(3))
            version = data.draw(st.integers(0, inbox.version))
            numbers = number + 1 + np.arange(n * each).reshape(n, each)
            number += n * each
            new = {
                actor * each + e: [
                    [int(numbers[i, e]), bool(first[i, e]), bool(last[i, e]), version] for i in range(n) if mask[i, e]
                ]
                for e in range(each)
            }
            rows = rows_of(numbers, first, last)
            if envs is None:
                rows, mask = jax.tree.map(lambda x: x[:, 0], rows), mask[:, 0]
            if error := lists.error(new):
                with pytest.raises(error):
                    inbox.put(actor, rows, mask, version=version)
            else:
                inbox.put(actor, rows, mask, version=version)
                lists.put(new)
            rows["obs"][:] = 777  # its owner may write to it again
        elif what == "take":
            ready = sum(min(lists.ready(s), length) for s in range(actors * each))
            at_least = data.draw(st.integers(0, min(length, capacity) * actors * each))
            block = inbox.take(at_least)
            assert (block is None) == (ready < at_least)
            if block is not None:
                same(block, lists.take(length), length, inbox.version)
                block.rows["obs"][:] = 555
                taken += ready
        elif what == "lost":
            inbox.lost(actor)
            lists.lost(range(actor * each, (actor + 1) * each))
        else:
            inbox.announce(inbox.version + data.draw(st.integers(0, 3)))
        assert inbox.waiting.tolist() == [len(rows) for rows in lists.waiting]
        assert len(inbox) == sum(map(len, lists.waiting))
    for actor in range(actors):
        inbox.lost(actor)
    lists.lost(range(actors * each))
    while (block := inbox.take()) is not None:  # after the last loss nothing is held back
        same(block, lists.take(length), length, inbox.version)
    assert len(inbox) == sum(map(len, lists.waiting)) == 0


def test_blocks_have_one_shape_and_no_transition_leads_from_a_lost_actor_to_the_next():
    replay = jb.Replay(64, 2, 64, jb.Transitions(gamma=0.5))
    traced = []

    def add(state, rows, mask):
        traced.append(mask.shape)
        return replay.add(state, rows, mask)

    def steps(obs, first=False):
        n = len(obs)
        begins = np.arange(n) == (0 if first else -1)
        no = np.zeros(n, bool)
        return jb.Row(np.float32(obs), np.zeros(n, np.int32), np.ones(n, np.float32), begins, no, no)

    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), steps([0]))
    state, add = replay.init(row), jax.jit(add, donate_argnums=0)
    inbox = jb.Inbox(row, 2, length=2, capacity=8)
    inbox.put(0, steps([10, 11, 12], first=True))
    while (block := inbox.take()) is not None:
        state = add(state, block.rows, block.mask)
    inbox.lost(0)  # 12 has not left yet
    inbox.put(0, steps([20, 21], first=True))
    inbox.put(1, steps([30, 31, 32, 33, 34], first=True))
    while (block := inbox.take()) is not None:
        state = add(state, block.rows, block.mask)
    assert traced == [(2, 2)]
    batch = jax.jit(replay.sample, static_argnums=2)(state, jax.random.key(0), 512)
    found = set(zip(batch.data.obs.tolist(), batch.data.next_obs.tolist(), batch.data.discount.tolist(), strict=True))
    # 21 and 34 wait: whether they are the last of their episodes is not known.
    assert found == {(a, a + 1, 0.5) for a in (10, 11, 30, 31, 32)}
    inbox.lost(0)
    inbox.lost(1)
    block = inbox.take()
    state = add(state, block.rows, block.mask)
    assert int(replay.count(state)) == 7  # (20, 21) and (33, 34), too


def test_an_actor_that_finished_its_episode_is_not_marked_again():
    inbox = jb.Inbox(ROW, 1, length=4, capacity=4)
    inbox.put(0, some(1, 2, first=True, last=True))
    inbox.lost(0)
    inbox.put(0, some(3, first=True))
    assert inbox.take().rows["is_last"][:, 0].tolist() == [False, True, False, False]


def test_rows_without_is_last_never_wait():
    row = {"obs": np.float32}
    inbox = jb.Inbox(row, 1, length=2, capacity=1)
    inbox.put(0, {"obs": np.float32(5)})
    inbox.lost(0)
    block = inbox.take()
    assert block.rows["obs"].tolist() == [[5.0], [0.0]]
    assert block.mask.tolist() == [[True], [False]]


def test_late_rows_of_a_predecessor_are_refused_and_those_of_its_successor_begin_an_episode():
    inbox = jb.Inbox(ROW, 1, length=4, capacity=4)
    inbox.put(0, some(1, first=True), life=0)
    life = inbox.lost(0)
    with pytest.raises(StaleRowsError, match="life 0, which is over"):
        inbox.put(0, some(2, first=True), life=0)
    with pytest.raises(StructureError, match=r"stream 0 was cut .* Reset the environment"):
        inbox.put(0, some(2), life=life)
    assert len(inbox) == 1
    inbox.put(0, some(3, first=True), life=life)
    inbox.put(0, some(4), life=life)
    assert inbox.take().rows["obs"][:, 0, 0].tolist() == [1, 3, 0, 0]


def test_too_old_a_policy_is_refused_at_the_limit_and_counted_below_it():
    inbox = jb.Inbox(ROW, 1, length=4, capacity=4, max_staleness=2)
    inbox.announce(5)
    with pytest.raises(StaleRowsError, match=r"version 2, the newest is 5, and max_staleness=2. Send it the weights"):
        inbox.put(0, some(1, first=True), version=2)
    inbox.put(0, some(1, first=True), version=3)
    inbox.put(0, some(2), version=5)
    inbox.put(0, some(3), version=4)
    inbox.announce(7)  # what waits grows older
    block = inbox.take()
    assert block.staleness[:, 0].tolist() == [4, 2, 0, 0]
    assert block.staleness.dtype == np.int32
    with pytest.raises(ConfigurationError, match="version 8 has not been announced; the newest is 7"):
        inbox.put(0, some(4), version=8)
    for wrong, why in ((6, "must not go down"), (2**31, "below"), (True, "int of at least 0")):
        with pytest.raises(ConfigurationError, match=why):
            inbox.announce(wrong)
    assert inbox.version == 7
