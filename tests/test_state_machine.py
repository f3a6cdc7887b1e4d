"""Any order of adding, sampling, writing back and reading agrees with the oracle, row by row."""

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
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
from oracle import Every, OracleReplay, leaves_of, quick_jit, row_at, small_row, windows_to_arrays
from tier import budget, long_but

import jaxbuffers as jb

LENGTH, STREAMS, BATCH, BLOCK = 5, 2, 6, 3

ROW = small_row(latent=np.zeros(2, np.float32), note=np.int8(0))
STRUCTURE = jax.tree.structure(ROW)

VIEWS = [
    jb.Items(),
    jb.Transitions(2, gamma=0.5),
    jb.Sequences(2, "within", burn_in=1, period=2, actions="previous"),
    jb.Sequences(3, "pad", time_major=True),
    jb.Sequences(3, "cross", burn_in=1, period=2),
]


@functools.cache
def verbs(view):
    """A replay of the view and its verbs, compiled once."""
    replay, every = (jb.Replay(LENGTH * STREAMS, STREAMS, BATCH, view, sampler) for sampler in (jb.Uniform(), Every()))
    legal = quick_jit(lambda state: every.sample(state, jax.random.key(0), LENGTH * STREAMS))
    update = quick_jit(lambda state, index, rows: replay.update(state, index, rows=rows))
    return replay, quick_jit(replay.add), quick_jit(replay.sample), legal, update, quick_jit(replay.get)


class Machine(RuleBasedStateMachine):
    """A replay and the oracle, side by side."""

    view = VIEWS[0]

    @initialize()
    def empty(self):
        self.replay, self.add, self.sample, self.legal, self.update, self.get = verbs(self.view)
        self.state = self.replay.init(ROW)
        self.oracle = OracleReplay(LENGTH, STREAMS)
        self.number = 0
        self.batches = []

    def rows(self, steps, flags):
        """Rows ``[N, E]``, each different from all before."""
        shape = (steps, STREAMS)
        number = self.number + np.arange(1, steps * STREAMS + 1, dtype=np.int32).reshape(shape)
        self.number = int(number[-1, -1])
        first, last, terminal = (np.array(flags, int).reshape(shape) >> bit & 1 == 1 for bit in range(3))
        latent = np.stack([number, number], axis=-1).astype(np.float32) / 2
        obs = np.stack([number, -number], axis=-1)
        reward = (number % 7).astype(np.float32) / 4
        extras = {"latent": latent, "note": (number % 128).astype(np.int8)}
        return jb.Row(obs, 1000 + number, reward, first, last, last & terminal, extras)

    def remember(self, rows, mask):
        leaves = leaves_of(rows)
        steps = range(len(mask))
        self.oracle.add([[row_at(leaves, n, e) for e in range(STREAMS)] for n in steps], mask.tolist())

    @rule(flags=st.lists(st.integers(0, 7), min_size=STREAMS, max_size=STREAMS), mask=st.integers(0, 2**STREAMS - 1))
    def add_one_row_a_stream(self, flags, mask):
        rows = self.rows(1, flags)
        mask = np.array([[mask >> e & 1 == 1 for e in range(STREAMS)]])
        self.state = self.add(self.state, jax.tree.map(lambda x: x[0], rows), mask[0])
        self.remember(rows, mask)

    @rule(
        flags=st.lists(st.integers(0, 7), min_size=BLOCK * STREAMS, max_size=BLOCK * STREAMS),
        mask=st.integers(0, 2 ** (BLOCK * STREAMS) - 1),
    )
    def add_a_block_of_rows(self, flags, mask):
        rows = self.rows(BLOCK, flags)
        mask = np.array([mask >> i & 1 == 1 for i in range(BLOCK * STREAMS)]).reshape(BLOCK, STREAMS)
        self.state = self.add(self.state, rows, mask)
        self.remember(rows, mask)

    @rule(flags=st.lists(st.integers(0, 7), min_size=BLOCK * STREAMS, max_size=BLOCK * STREAMS))
    def add_a_block_without_a_mask(self, flags):
        rows = self.rows(BLOCK, flags)
        self.state = self.add(self.state, rows)
        self.remember(rows, np.ones((BLOCK, STREAMS), bool))

    @rule(seed=st.integers(0, 2**31 - 1))
    def sample_draws_what_is_legal(self, seed):
        batch = jax.tree.map(np.asarray, self.sample(self.state, jax.random.key(seed)))
        windows = self.oracle.windows(self.view)
        assert bool(batch.valid) == bool(windows)
        np.testing.assert_array_equal(batch.probability, np.full(BATCH, 1 / np.float32(len(windows) or np.inf)))
        seen = self.as_windows(batch)
        if windows:
            expected = self.contents([*windows])
            assert all(any(same(one, other) for other in expected) for one in seen)
        else:
            assert not batch.mask.any()
        self.batches.append(batch.index)

    @precondition(lambda self: self.batches)
    @rule(which=st.integers(0, 10), seed=st.integers(0, 2**16))
    def write_back_to_a_batch_of_any_age(self, which, seed):
        index = self.batches[which % len(self.batches)]
        latent = np.random.default_rng(seed).normal(size=(*index.time.shape, 2)).astype(np.float32)
        self.state = self.update(self.state, index, {"extras": {"latent": latent}})
        addresses = list(zip(index.stream.reshape(-1).tolist(), index.time.reshape(-1).tolist(), strict=True))
        self.oracle.update(addresses, [{"extras.latent": value} for value in latent.reshape(-1, 2)])

    @rule(streams=st.lists(st.integers(-1, STREAMS), min_size=4, max_size=4), age=st.integers(-2, LENGTH + 2))
    def get_by_any_address(self, streams, age):
        newest = [len(self.oracle.history[e]) if 0 <= e < STREAMS else 0 for e in streams]
        times = [end - 1 - age for end in newest]
        index = jb.Index(jnp.array(streams, jnp.int32), jnp.array(times, jnp.int32))
        rows, mask = self.get(self.state, index)
        want = [self.oracle.get(e, t) for e, t in zip(streams, times, strict=True)]
        np.testing.assert_array_equal(mask, [row is not None for row in want])
        for path, leaf in leaves_of(rows).items():
            zero = np.zeros_like(leaf[0])
            np.testing.assert_array_equal(leaf, [zero if row is None else row[path] for row in want])

    @invariant()
    def every_legal_window_is_there_and_reads_as_the_oracle_says(self):
        if not hasattr(self, "state"):
            return
        windows = self.oracle.windows(self.view)
        batch = jax.tree.map(np.asarray, self.legal(self.state))
        real = batch.probability > 0
        assert real.sum() == len(windows)
        seen = [one for one, is_real in zip(self.as_windows(batch), real, strict=True) if is_real]
        for one, other in zip(seen, self.contents(windows), strict=True):
            assert same(one, other)
        assert int(self.replay.size(self.state)) == self.oracle.size()
        assert int(self.state.dropped) == self.oracle.dropped

    def as_windows(self, batch):
        """Each window of a batch: its streams, times and leaves, time along the first axis."""
        parts = {"stream": batch.index.stream, "time": batch.index.time, **leaves_of(batch.data)}
        if not isinstance(self.view, jb.Sequences):
            parts = {path: part[:, None] for path, part in parts.items()}
        elif self.view.time_major:
            parts = {path: np.swapaxes(part, 0, 1) for path, part in parts.items()}
        return [{path: part[i] for path, part in parts.items()} for i in range(len(batch.probability))]

    def contents(self, windows):
        """The same for the oracle's windows."""
        slots = self.view.burn_in + self.view.length if isinstance(self.view, jb.Sequences) else 1
        like = leaves_of(ROW)
        if isinstance(self.view, jb.Transitions):
            like = {path: leaf for path, leaf in like.items() if not path.startswith("is_")}
            like |= {"next_obs": like["obs"], "discount": np.float32(0)}
        times, leaves = windows_to_arrays([*windows], slots, like)
        return [
            {"stream": np.full(slots, window.stream), "time": times[i], **{k: leaf[i] for k, leaf in leaves.items()}}
            for i, window in enumerate(windows)
        ]


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[path], other[path]) for path in one)


# Verbs do not know the view: one whose windows are queued.
@pytest.mark.parametrize("view", long_but(VIEWS, quick=[2]), ids=str)
def test_any_order_of_verbs_agrees_with_the_oracle(view):
    machine = type("Machine", (Machine,), {"view": view})
    run_state_machine_as_test(
        machine,
        settings=settings(
            deadline=None,
            derandomize=True,
            database=None,
            max_examples=budget(8, 25),
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
