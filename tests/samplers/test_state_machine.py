"""Any order of adding, sampling, reporting, writing back, saving and loading, with every sampler on the same rows."""

import functools

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from flax import serialization
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from oracle import OracleReplay, leaves_of, quick_jit, row_at, windows_to_arrays
from oracle.lives import ROW, grow, places
from oracle.wrapped import like_of, slots_of

import jaxbuffers as jb

from .catalog import SAMPLERS, assert_as_followed, follow, replay_of, show, tables, use

LENGTH, STREAMS, BLOCK, EACH = 5, 2, 3, 3
BATCH = EACH * len(SAMPLERS)
VIEWS = [
    jb.Items(),
    jb.Transitions(2, gamma=0.5),
    jb.Sequences(2, "within", burn_in=1, period=2, time_major=True),
    jb.Sequences(3, "pad", actions="previous"),
]


@functools.cache
def verbs(view):
    """A replay and its verbs, compiled once: add, sample and look, report."""
    replay = replay_of(view, SAMPLERS, LENGTH, STREAMS, EACH)
    look = quick_jit(lambda state, key: (replay.sample(state, key), tables(replay, state)))
    return replay, quick_jit(replay.add), look, quick_jit(functools.partial(use, replay))


class Machine(RuleBasedStateMachine):
    """A replay and, beside it, the oracle and a follower for each sampler."""

    view = VIEWS[0]

    @initialize()
    def empty(self):
        self.replay, self.add, self.look, self.use = verbs(self.view)
        self.state, self.oracle = self.replay.init(ROW), OracleReplay(LENGTH, STREAMS)
        self.followers = follow(self.replay)
        self.number, self.batches = 0, []

    def every_follower(self, followers=None):
        """With those inside others."""
        for follower in self.followers if followers is None else followers:
            yield follower
            yield from self.every_follower(getattr(follower, "parts", []))

    @rule(
        flags=st.lists(st.integers(0, 7), min_size=BLOCK * STREAMS, max_size=BLOCK * STREAMS),
        groups=st.lists(st.integers(-1, 3), min_size=BLOCK * STREAMS, max_size=BLOCK * STREAMS),
        mask=st.integers(0, 2 ** (BLOCK * STREAMS) - 1),
    )
    def add_rows(self, flags, groups, mask):
        shape = (BLOCK, STREAMS)
        number = self.number + np.arange(1, BLOCK * STREAMS + 1, dtype=np.int32).reshape(shape)
        self.number += BLOCK * STREAMS
        first, last, terminal = (np.array(flags).reshape(shape) >> bit & 1 == 1 for bit in range(3))
        obs, group = np.stack([number, -number], axis=-1), np.array(groups, np.int32).reshape(shape)
        rows = jb.Row(
            obs, 1000 + number, (number % 8).astype(np.float32), first, last, last & terminal, {"group": group}
        )
        mask = np.array([mask >> i & 1 == 1 for i in range(BLOCK * STREAMS)]).reshape(shape)
        self.state = self.add(self.state, rows, mask)
        leaves = leaves_of(rows)
        block = [[row_at(leaves, n, e) for e in range(STREAMS)] for n in range(BLOCK)]
        completed = grow(self.oracle, self.view, block, mask.tolist())
        self.see()
        for follower in self.every_follower():
            follower.added(completed)

    def see(self):
        legal = places(self.oracle, self.view)
        for follower in self.every_follower():
            follower.legal = legal

    @rule(seed=st.integers(0, 2**31 - 1))
    def every_sampler_draws_what_it_may_and_the_view_reads_what_is_there(self, seed):
        batch = jax.tree.map(np.asarray, self.look(self.state, jax.random.key(seed))[0])
        times, streams = self.by_window(batch.index.time), self.by_window(batch.index.stream)
        read = {path: self.by_window(leaf) for path, leaf in leaves_of(batch.data).items()}
        legal = self.oracle.windows(self.view)
        wanted, leaves = windows_to_arrays([*legal], slots_of(self.view), like_of(self.view, leaves_of(ROW)))
        at = {(window.stream, *time): i for i, (window, time) in enumerate(zip(legal, wanted.tolist(), strict=True))}
        assert read.keys() == leaves.keys()
        for i, follower in enumerate(self.followers):
            part = slice(EACH * i, EACH * (i + 1))
            probability, found = batch.probability[part], []
            for j in range(part.start, part.stop):
                place = at.get((int(streams[j, 0]), *times[j].tolist()))
                if place is None:
                    assert not follower.can_draw(EACH)
                    assert (times[j] == -1).all()
                    assert not any(leaf[j].any() for leaf in read.values())
                else:
                    found.append((legal[place].stream, legal[place].start))
                    for path, leaf in read.items():
                        np.testing.assert_array_equal(leaf[j], leaves[path][place], err_msg=path)
            if follower.can_draw(EACH):
                follower.check(found, probability)
        assert bool(batch.valid) == all(follower.can_draw(EACH) for follower in self.followers)
        # A window of which no row may be shown cannot be reported: nothing says which it was.
        known = [
            at.get((int(s[0]), *t.tolist())) if t.max() >= 0 else None for s, t in zip(streams, times, strict=True)
        ]
        self.batches.append((batch.index, [None if i is None else (legal[i].stream, legal[i].start) for i in known]))

    def by_window(self, leaf):
        """Time along the second axis."""
        if not isinstance(self.view, jb.Sequences):
            return leaf[:, None]
        return np.swapaxes(leaf, 0, 1) if self.view.time_major else leaf

    @precondition(lambda self: self.batches)
    @rule(which=st.integers(0, 10), seed=st.integers(0, 2**16))
    def report_a_batch_of_any_age(self, which, seed):
        index, windows = self.batches[which % len(self.batches)]
        rng = np.random.default_rng(seed)
        bad = rng.choice(np.float32([np.nan, np.inf, -1, -0.0, 1e30]), BATCH)
        priority = np.where(rng.random(BATCH) < 0.2, bad, np.exp(rng.normal(0, 3, BATCH)).astype(np.float32))
        group = rng.integers(-1, 4, index.time.shape).astype(np.int32)
        self.state = self.use(self.state, index, priority, group)
        addresses = list(zip(index.stream.reshape(-1).tolist(), index.time.reshape(-1).tolist(), strict=True))
        self.oracle.update(addresses, [{"extras.group": value} for value in group.reshape(-1)])
        rewritten = {(e, t) for e, t in addresses if self.oracle.get(e, t) is not None}
        self.see()
        for follower in self.every_follower():
            follower.rewritten(rewritten)
            follower.used(windows, priority)

    @rule()
    def save_and_load(self):
        saved = serialization.msgpack_serialize(serialization.to_state_dict(self.state))
        loaded = serialization.from_state_dict(self.replay.init(ROW), serialization.msgpack_restore(saved))
        jax.tree.map(np.testing.assert_array_equal, loaded, self.state)
        self.state = loaded

    @invariant()
    def probabilities_and_counters_are_what_the_followers_say(self):
        if not hasattr(self, "state"):
            return
        table = np.asarray(self.look(self.state, jax.random.key(0))[1])
        added = [len(rows) for rows in self.oracle.history]
        assert int(self.state.dropped) == self.oracle.dropped
        for i, (sampler, follower) in enumerate(zip(SAMPLERS, self.followers, strict=True)):

            def probability_of(windows, table=table[i]):
                return [table[e, added[e] - 1 - t] for e, t in windows]

            assert_as_followed(sampler, follower, self.state.sampler[i], probability_of, EACH)


@pytest.mark.long  # quick: test_every_sampler.py, and the order of verbs in tests/test_state_machine.py
@pytest.mark.parametrize("view", VIEWS, ids=show)
def test_any_order_of_verbs_agrees_with_the_oracle_of_every_sampler(view):
    run_state_machine_as_test(
        type("Machine", (Machine,), {"view": view}),
        settings=settings(
            deadline=None,
            derandomize=True,
            database=None,
            max_examples=25,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )
