"""Which windows are legal, by hand-written examples: the oracle and the library must both agree with them."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, OracleReplay, each_of, leaves_of, quick_jit
from tier import long_but

import jaxbuffers as jb

PAIRS = jb.Transitions()
WITHIN2 = jb.Sequences(2, "within")
WITHIN3 = jb.Sequences(3, "within")
CROSS3 = jb.Sequences(3, "cross")
PAD3 = jb.Sequences(3, "pad")


def rows_of(pattern):
    """One row a character: ``F`` is_first, ``L`` is_last, ``B`` both, ``.`` neither; obs counts from 1."""
    shape = len(pattern)
    return jb.Row(
        obs=np.arange(1, shape + 1, dtype=np.int32),
        action=np.arange(101, shape + 101, dtype=np.int32),
        reward=np.arange(shape, dtype=np.float32),
        is_first=np.array([c in "FB" for c in pattern], bool),
        is_last=np.array([c in "LB" for c in pattern], bool),
        is_terminal=np.zeros(shape, bool),
    )


ROW = jax.tree.map(lambda x: x[0], rows_of("."))


@functools.cache
def verbs(replay):
    """The replay's verbs, compiled once for each configuration."""
    return quick_jit(replay.add), quick_jit(replay.sample, static_argnames="batch_size")


def replay_of(view, length, num_envs=None, sampler=None):
    streams = num_envs or 1
    return jb.Replay(length * streams, num_envs, length * streams, view, sampler or Every())


def one_by_one(replay, pattern, state=None):
    """Add the rows of a pattern to a single stream, one at a time."""
    add, _ = verbs(replay)
    state = replay.init(ROW) if state is None else state
    rows = rows_of(pattern)
    for i in range(len(pattern)):
        state = add(state, jax.tree.map(lambda x, i=i: x[i], rows))
    return state


def starts(replay, state):
    """Where the legal windows begin: a list of (stream, time), oldest first."""
    _, sample = verbs(replay)
    batch = sample(state, jax.random.key(0))
    ones = jax.tree.map(lambda x: np.asarray(x).reshape(len(batch.probability), -1), batch.index)
    slot = replay.view.burn_in if isinstance(replay.view, jb.Sequences) else 0
    legal = np.asarray(batch.probability) > 0
    return list(zip(ones.stream[legal, slot].tolist(), ones.time[legal, slot].tolist(), strict=True))


def times(replay, state):
    return [time for _, time in starts(replay, state)]


def oracle_times(view, length, pattern):
    oracle = OracleReplay(length)
    leaves = leaves_of(rows_of(pattern))
    for i in range(len(pattern)):
        oracle.append(0, {path: leaf[i] for path, leaf in leaves.items()})
    return [window.start for window in oracle.windows(view)]


EXAMPLES = {
    "one episode: every row with a successor": (PAIRS, 8, "F..L", [0, 1, 2]),
    "one-step episodes are never merged": (PAIRS, 8, "FLFLFL", [0, 2, 4]),
    "episodes of one row have no transition": (PAIRS, 8, "BBBB", []),
    "an episode of one row between two others": (PAIRS, 8, "F.LBF.", [0, 1, 4]),
    "is_first alone separates episodes": (PAIRS, 8, "F.F.", [0, 2]),
    "is_last alone separates episodes": (PAIRS, 8, "..L..", [0, 1, 3]),
    "a boundary flagged on both sides is one boundary": (WITHIN2, 8, "F.LF.L", [0, 1, 3, 4]),
    "no flags at all are one episode": (WITHIN3, 8, ".....", [0, 1, 2]),
    "an episode as long as the window gives one": (WITHIN3, 8, "F.LF.L", [0, 3]),
    "an episode shorter than the window gives none": (WITHIN3, 8, "FLFLF.L", [4]),
    "crossing windows do not care": (CROSS3, 8, "FLFLF.L", [0, 1, 2, 3, 4]),
    "padded windows begin anywhere": (PAD3, 8, "FLFLF.L", [0, 1, 2, 3, 4, 5, 6]),
    "exactly full": (PAIRS, 4, "F...", [0, 1, 2]),
    "one row past full": (PAIRS, 4, "F....", [1, 2, 3]),
    "exactly two laps": (PAIRS, 4, "F.......", [4, 5, 6]),
    "a boundary inside a full ring": (PAIRS, 4, "F...LF.", [3, 5]),
    "the window as long as the ring": (CROSS3, 3, "F.LF.", [2]),
    "the window as long as the ring, one episode": (WITHIN3, 3, "F....", [2]),
    "the window as long as the ring, two episodes": (WITHIN3, 3, "F...F", []),
    "the boundary is overwritten": (PAIRS, 3, "FLF..", [2, 3]),
    "the row before the oldest ended an episode": (PAIRS, 3, "F.L..", [3]),
    "period within: phase from the episode's first row": (
        jb.Sequences(2, "within", period=2),
        8,
        "F.LF....",
        [0, 3, 5],
    ),
    "period within: the phase outlives the episode's first row": (
        jb.Sequences(2, "within", period=2),
        4,
        "F......",
        [4],
    ),
    "period cross: phase from the stream's first row": (jb.Sequences(2, period=3), 8, "F.LF...", [0, 3]),
    "period cross: the newest rows stay reachable": (jb.Sequences(2, period=2), 5, "F.......", [4, 6]),
    "period pad: phase from the episode's first row": (jb.Sequences(2, "pad", period=2), 8, "F.LF...", [0, 2, 3, 5]),
    "n_step asks for one successor only": (jb.Transitions(3), 8, "F.LF", [0, 1]),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_legal_windows_begin_where_the_example_says(name):
    view, length, pattern, want = EXAMPLES[name]
    assert oracle_times(view, length, pattern) == want
    replay = replay_of(view, length)
    assert times(replay, one_by_one(replay, pattern)) == want


@pytest.mark.parametrize("view", [jb.Items(), PAIRS, CROSS3, WITHIN3, jb.Sequences(2, "pad", period=2)], ids=str)
def test_an_empty_replay_has_no_legal_window(view):
    replay = replay_of(view, 4, num_envs=2)
    state = replay.init(ROW)
    assert times(replay, state) == []
    assert not replay.can_sample(state)
    assert int(replay.size(state)) == 0


def test_an_all_false_mask_adds_nothing():
    replay = replay_of(PAIRS, 4, num_envs=2)
    add, _ = verbs(replay)
    rows = jax.tree.map(lambda x: np.stack([x, x], axis=1), rows_of("F.L"))
    before = add(replay.init(ROW), rows)
    after = add(before, rows, np.zeros((3, 2), bool))
    assert starts(replay, before) == starts(replay, after) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert int(replay.size(after)) == 6


@pytest.mark.parametrize("view, want", [(PAIRS, [0, 1, 2]), (WITHIN3, [0, 1])], ids=str)
def test_a_row_not_written_does_not_end_or_begin_an_episode(view, want):
    # The masked-out rows carry is_last and is_first; the stream must not notice.
    replay = replay_of(view, 8)
    rows = rows_of("F.BF..")
    mask = np.array([True, True, False, False, True, True])
    assert times(replay, verbs(replay)[0](replay.init(ROW), rows, mask)) == want


def test_streams_advance_independently():
    replay = replay_of(WITHIN2, 3, num_envs=2)
    add, _ = verbs(replay)
    rows = jax.tree.map(lambda x: np.stack([x, x], axis=1), rows_of("F.."))
    state = replay.init(ROW)
    for _ in range(4):
        state = add(state, rows, np.array([[True, False]] * 3))
    state = add(state, rows, np.array([[False, True], [False, True], [False, False]]))
    assert starts(replay, state) == [(0, 9), (0, 10), (1, 0)]
    assert int(replay.size(state)) == 5


VIEWS = [
    jb.Items(),
    jb.Transitions(2, gamma=0.5),
    jb.Sequences(2, "within", period=2, burn_in=1, actions="previous"),
    jb.Sequences(3, "cross", period=2, burn_in=1),
    jb.Sequences(3, "pad"),
]


def random_rows(seed, steps, streams):
    """Rows ``[S, E]`` whose every leaf differs from row to row, and a mask."""
    rng = np.random.default_rng(seed)
    number = np.arange(1, steps * streams + 1, dtype=np.int32).reshape(steps, streams)
    rows = jb.Row(
        obs=number,
        action=-number,
        reward=rng.integers(-8, 8, number.shape).astype(np.float32) / 4,
        is_first=rng.random(number.shape) < 0.25,
        is_last=rng.random(number.shape) < 0.25,
        is_terminal=rng.random(number.shape) < 0.1,
    )
    return rows, rng.random(number.shape) < 0.7


@pytest.mark.parametrize("view", long_but(VIEWS, quick=[1, 2, 4]), ids=str)
def test_a_block_of_rows_adds_what_single_rows_add(view):
    length, streams = 5, 2
    replay = replay_of(view, length, num_envs=streams)
    add, sample = verbs(replay)
    steps = 60
    rows, mask = random_rows(1, steps, streams)

    def block(i, n):
        return jax.tree.map(lambda x: x[i : i + n], (rows, mask))

    singles, state = [], replay.init(ROW)
    for i in range(steps):
        state = add(state, *jax.tree.map(lambda x: x[0], block(i, 1)))
        singles.append(sample(state, jax.random.key(0)))
    for n in (1, 2, 3, length):
        state = replay.init(ROW)
        for i in range(0, steps, n):
            state = add(state, *block(i, n))
            jax.tree.map(np.testing.assert_array_equal, sample(state, jax.random.key(0)), singles[i + n - 1])


def clock_near_its_wrap(replay, state, rows_before):
    cycle = 2**30 // replay.length * replay.length
    state = replace(state, ring=replace(state.ring, time=jnp.full_like(state.ring.time, cycle - rows_before)))
    if state.windows is not None:
        queue = state.windows
        state = replace(state, windows=replace(queue, made=queue.made + (cycle - 1), gone=queue.gone + (cycle - 1)))
    return state, cycle


@pytest.mark.parametrize("view", long_but(VIEWS, quick=[1, 2, 4]), ids=str)
def test_nothing_changes_where_the_clock_starts_again_except_the_times(view):
    length, streams, steps = 5, 2, 40
    replay = replay_of(view, length, num_envs=streams)
    add, sample = verbs(replay)
    rows, mask = random_rows(2, steps, streams)
    plain = replay.init(ROW)
    late, cycle = clock_near_its_wrap(replay, plain, rows_before=7)
    crossed = False
    for i in range(steps):
        plain, late = (add(state, *jax.tree.map(lambda x, i=i: x[i], (rows, mask))) for state in (plain, late))
        want, got = (sample(state, jax.random.key(0)) for state in (plain, late))
        shifted = np.where(want.mask, (np.asarray(want.index.time) + cycle - 7) % cycle, -1)
        np.testing.assert_array_equal(got.index.time, shifted)
        jax.tree.map(np.testing.assert_array_equal, got.data, want.data)
        jax.tree.map(np.testing.assert_array_equal, replay.get(late, got.index), replay.get(plain, want.index))
        crossed |= bool((np.asarray(got.index.time)[np.asarray(got.mask)] < length).any())
    assert crossed


def test_an_address_from_before_the_wrap_is_stale_after_it():
    replay = replay_of(jb.Items(), 4)
    state, cycle = clock_near_its_wrap(replay, replay.init(ROW), rows_before=2)
    state = one_by_one(replay, "F..", state)  # times cycle - 2, cycle - 1 and 0
    index = jb.Index(jnp.zeros(4, jnp.int32), jnp.array([cycle - 2, cycle - 1, 0, 1], jnp.int32))
    rows, present = replay.get(state, index)
    np.testing.assert_array_equal(present, [True, True, True, False])
    np.testing.assert_array_equal(rows.obs, [1, 2, 3, 0])
    state = one_by_one(replay, "...", state)
    _, present = replay.get(state, index)
    np.testing.assert_array_equal(present, [False, False, True, True])


@pytest.mark.parametrize("view", long_but(VIEWS, quick=[2, 3]), ids=str)
def test_sampling_draws_legal_windows_only_and_every_one_of_them(view):
    # 12 windows at most and 600 draws: one of them is missed with probability below 12 * (11/12)**600 < 1e-21.
    length, streams, steps, states = 6, 2, 24, 40
    every = replay_of(view, length, num_envs=streams)
    uniform = replace(every, sampler=jb.Uniform())

    def run(rows, mask, stop, key):
        mask = mask & (jnp.arange(steps)[:, None] < stop)
        state, _ = jax.lax.scan(lambda state, x: (every.add(state, *x), None), every.init(ROW), (rows, mask))
        return every.sample(state, key), uniform.sample(state, key, 600)

    cases = [random_rows(seed, steps, streams) for seed in range(states)]
    rows, mask = jax.tree.map(lambda *x: np.stack(x), *cases)
    keys = jax.random.split(jax.random.key(0), states)
    stop = np.arange(states) % steps
    legal, drawn = jax.tree.map(np.asarray, each_of(run)(rows, mask, stop, keys))

    def windows(batch, case, real):
        """Each window as the bytes of its index and data."""
        parts = jax.tree.leaves(jax.tree.map(lambda x: x[case][real], (batch.index, batch.data)))
        flat = [np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8) for x in parts]
        return {row.tobytes() for row in np.concatenate(flat, axis=1)}

    seen = 0
    for case in range(states):
        real = legal.probability[case] > 0
        assert drawn.valid[case] == real.any()
        if real.any():
            assert windows(drawn, case, np.ones(600, bool)) == windows(legal, case, real)
            np.testing.assert_array_equal(drawn.probability[case], np.float32(1) / np.float32(real.sum()))
            seen += 1
        else:
            assert not drawn.mask[case].any()
    assert seen > states // 2
