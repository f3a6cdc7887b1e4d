"""WithoutReplacement: each legal window once an epoch, whatever the batch size, and whatever comes and goes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import drawn, filled, fits, leaves_of, likely, quick_jit, row_at, told_apart
from oracle.lives import ROW, grow, inputs, places
from oracle.replay import OracleReplay
from oracle.samplers import follower_of
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.samplers import without_replacement

from .catalog import show

SAMPLER = jb.WithoutReplacement()


def turn(replay, state, key):
    """Sample, and say that the batch was used."""
    batch = replay.sample(state, key)
    return replay.update(state, batch.index), batch


@functools.cache
def verbs(replay):
    """Take a turn, add, and say that a batch was used."""
    return quick_jit(functools.partial(turn, replay)), quick_jit(replay.add), quick_jit(replay.update)


def epochs(replay, state, count):
    """The windows of so many batches, one after the other: [(stream, time)]."""
    run = quick_jit(lambda state, keys: jax.lax.scan(functools.partial(turn, replay), state, keys)[1])
    batches = run(state, jax.random.split(jax.random.key(0), count))
    assert batches.valid.all()
    index = jax.tree.map(lambda x: np.asarray(x).reshape(-1).tolist(), batches.index)
    return list(zip(index.stream, index.time, strict=True))


LEGAL = [(0, t) for t in (6, 7, 8, 9, 11, 12, 13, 14)] + [(1, t) for t in (0, 1, 2, 3)]


def twelve(size):
    """Two streams of different ages, with twelve legal pairs."""
    replay = jb.Replay(20, 2, size, jb.Transitions(), SAMPLER)
    mask = np.arange(16)[:, None] < np.array([16, 6])
    return replay, filled(replay, told_apart(16, 2, first=[0, 5, 11]), mask)


@pytest.mark.parametrize("size", long_but([1, 3, 5, 7, 12], quick=[2]))
def test_each_legal_window_comes_exactly_once_an_epoch(size):
    windows = epochs(*twelve(size), -(-36 // size))  # batches divide the epoch, or straddle its end
    for begin in (0, 12, 24):
        assert sorted(windows[begin : begin + 12]) == LEGAL


@pytest.mark.parametrize("size", long_but([13, 30], quick=[1]))
def test_a_batch_larger_than_the_epoch_goes_round_and_counts_each_window_once(size):
    replay, state = twelve(size)
    windows = epochs(replay, state, 4)
    for begin in range(0, 4 * size, size):
        counts = [windows[begin : begin + size].count(window) for window in LEGAL]
        assert sum(counts) == size
        assert max(counts) - min(counts) == 1
    # From the middle of an epoch: what is left of it first.
    first = quick_jit(lambda s, k: replay.sample(s, k, 5), static_argnums=())(state, jax.random.key(0))
    state, batch = verbs(replay)[0](verbs(replay)[2](state, first.index), jax.random.key(1))
    one, other = (list(zip(b.index.stream.tolist(), b.index.time.tolist(), strict=True)) for b in (first, batch))
    assert sorted(one + other[:7]) == LEGAL
    assert sorted(other[7:19]) == (LEGAL if size > 18 else sorted(other[7:19]))
    np.testing.assert_allclose(batch.probability, np.float32([1 / 7] * 7 + [1 / 12] * (size - 7)))


def injected(monkeypatch):
    """Let a key be the random words themselves, ``[2 * B]``: the high ones, then the low ones."""
    monkeypatch.setattr(without_replacement, "bits64", lambda key, count: tuple(key.reshape(2, count)))


def words(choices, among):
    """Bits for every combination of one choice among each of so many: uint32 ``[C, 2 * B]``."""
    high = [[-(-(c << 32) // n) for c in range(n)] for n in among]
    high = np.array([*itertools.product(*high)], np.uint64).astype(np.uint32)
    assert len(high) == choices
    return np.concatenate([high, np.zeros_like(high)], axis=1)


def test_two_of_four_are_each_ordered_pair_equally_often_and_then_the_other_two(monkeypatch):
    injected(monkeypatch)
    replay = jb.Replay(4, None, 2, jb.Items(), SAMPLER)
    state = filled(replay, told_apart(4))
    pairs = words(12, (4, 3))
    first, (state_after, index) = epoch_of(replay, state, pairs)
    assert sorted(map(tuple, first.tolist())) == sorted(itertools.permutations(range(4), 2))
    # The rest of the epoch: 2 orders for each of the 12, and of the next one again 12 for each.
    rest = quick_jit(jax.vmap(jax.vmap(lambda s, k: replay.sample(s, k).index.time, (None, 0)), (0, None)))
    second = np.asarray(rest(state_after, words(2, (2, 1))))
    for pair, others in zip(first.tolist(), second.tolist(), strict=True):
        assert sorted(map(tuple, others)) == sorted(itertools.permutations({*range(4)} - {*pair}))
    assert index.shape == (12, 2)


def epoch_of(replay, state, keys):
    """Sample with each key, from one state; return the times and the states after the update."""

    def turn(key):
        batch = replay.sample(state, key)
        return batch.index.time, (replay.update(state, batch.index), batch.index.time)

    times, rest = quick_jit(jax.vmap(turn))(keys)
    return np.asarray(times), rest


@pytest.mark.long  # quick: batches that go round, above, and test_every_sampler.py
def test_a_straddling_batch_is_every_pair_of_orders_equally_often(monkeypatch):
    injected(monkeypatch)
    replay = jb.Replay(4, None, 3, jb.Items(), SAMPLER)
    state = filled(replay, told_apart(4))
    state = quick_jit(replay.update)(state, at(1))  # the first epoch begins, and 1 has come
    state = quick_jit(replay.update)(state, at(3))
    # Of batches of three the first two end the epoch: 0 and 2 in either order; the third begins another: any of four.
    times, (after, _) = epoch_of(replay, state, words(8, (2, 1, 4)))
    want = [(*order, third) for order in ((0, 2), (2, 0)) for third in range(4)]
    assert sorted(map(tuple, times.tolist())) == sorted(want)
    # What came of the next epoch has come: the other three are to come.
    assert int(after.sampler.tree.counts[-1].sum()) == 4 * 8
    for case, (*_, third) in enumerate(times.tolist()):
        left = probabilities(replay, jax.tree.map(lambda x, case=case: x[case], after))
        np.testing.assert_allclose(left, np.where(np.arange(4) == third, 0, 1 / 3), rtol=1e-6)


def at(*time):
    time = jnp.array(time, jnp.int32)
    return jb.Index(jnp.zeros_like(time), time)


def probabilities(replay, state, oldest=0):
    """How likely the next window is each of those that begin at one stream's rows, by time."""
    return likely(replay, state, oldest + np.arange(replay.length))


@pytest.mark.long  # quick: the lives below
def test_what_is_added_meanwhile_joins_at_the_next_epoch_and_what_is_overwritten_is_left_out():
    replay = jb.Replay(6, None, 2, jb.Items(), SAMPLER)
    step, add, update = verbs(replay)
    rows = told_apart(20)
    state, seen = filled(replay, jax.tree.map(lambda x: x[:6], rows)), []
    for t in range(6, 8):
        state, batch = step(state, jax.random.key(t))
        seen += batch.index.time.tolist()
        state = add(state, jax.tree.map(lambda x, t=t: x[t, 0], rows))  # overwrites t - 6
    left, ended = sorted({*range(2, 6)} - {*seen}), []
    while len(ended) < len(left):  # one at a time
        time = int(step(state, jax.random.key(len(ended)))[1].index.time[0])
        state, ended = update(state, at(time)), [*ended, time]
    assert sorted(ended) == left, "what was added came before the epoch was over"
    following = []
    for seed in range(3):
        state, batch = step(state, jax.random.key(seed))
        following += batch.index.time.tolist()
    assert sorted(following) == [2, 3, 4, 5, 6, 7]


@pytest.mark.long  # quick: test_every_sampler.py
def test_a_batch_that_is_not_reported_has_not_come():
    replay = jb.Replay(6, None, 4, jb.Items(), SAMPLER)
    state = filled(replay, told_apart(6))
    one, other = (drawn(replay, state, seed).index for seed in (0, 1))
    update = verbs(replay)[2]
    both = update(update(state, one), other)
    union = {*one.time.tolist(), *other.time.tolist()}
    left = {*range(6)} - union if len(union) < 6 else {*range(6)}
    assert 4 < len(union) < 6, "two batches that overlap in part, or the test shows nothing"
    got = np.asarray(probabilities(replay, both))
    assert {*np.flatnonzero(got).tolist()} == left
    # In either order, and reported once more, as long as the epoch is not over.
    swapped = update(update(update(state, other), one), other)
    np.testing.assert_array_equal(probabilities(replay, swapped), got)


@pytest.mark.long  # quick: test_every_sampler.py
def test_windows_that_were_overwritten_before_the_report_are_ignored():
    replay = jb.Replay(4, None, 3, jb.Items(), SAMPLER)
    state = filled(replay, told_apart(4))
    index = drawn(replay, state, 0).index
    rows = told_apart(6)
    for t in (4, 5):
        state = verbs(replay)[1](state, jax.tree.map(lambda x, t=t: x[t, 0], rows))
    after = verbs(replay)[2](state, index)
    come = {*index.time.tolist()} & {2, 3}
    assert come != {*index.time.tolist()}, "no window was overwritten: the test shows nothing"
    # The first report begins the first epoch, which has all that is there; what was reported has come.
    got = np.asarray(probabilities(replay, after, 2))
    np.testing.assert_allclose(got, [0 if t in come else np.float32(1 / (4 - len(come))) for t in range(2, 6)])


VIEWS = [jb.Items(), jb.Transitions(), jb.Sequences(2, "pad"), jb.Episodes(4)]


@pytest.mark.parametrize(
    "view, kind",
    long_but(
        [(view, "mixed") for view in VIEWS] + [(VIEWS[0], "streams of all ages"), (VIEWS[3], "one-step episodes")],
        quick=[1],
    ),
    ids=show,
)
def test_epochs_hold_while_rows_come_and_go(view, kind):
    """Sample, report and add, again and again: the oracle is told what was drawn, and says what may be drawn next."""
    replay, steps = jb.Replay(21, 3, 2, view, SAMPLER), 30
    rows, mask = inputs(kind, 7, 3, 1, steps, seed=1)
    leaves, state, valid, over = leaves_of(rows), replay.init(ROW), 0, 0

    def step(state, inputs):
        state = replay.add(state, *inputs[:2])
        batch = replay.sample(state, inputs[2])
        return replay.update(state, batch.index), batch

    keys = jax.random.split(jax.random.key(3), steps)
    _, batches = quick_jit(lambda *xs: jax.lax.scan(step, state, xs))(rows, mask, keys)
    index = jax.tree.map(lambda x: np.asarray(x).reshape(steps, 2, -1)[:, :, 0], batches.index)
    oracle, follower = OracleReplay(7, 3), follower_of(SAMPLER, 7, 3, view.required)
    for s in range(steps):
        completed = grow(oracle, view, [[row_at(leaves, s, 0, e) for e in range(3)]], mask[s].tolist())
        follower.legal = places(oracle, view)
        follower.added(completed)
        valid_now = bool(follower.legal)
        windows = list(zip(index.stream[s].tolist(), index.time[s].tolist(), strict=True))
        assert bool(batches.valid[s]) == valid_now
        if valid_now:
            follower.check(windows, np.asarray(batches.probability[s]))
            over += len(follower.to_come) <= 2
            follower.used(windows, None)
            valid += 1
    assert valid > 15
    assert over > 1


@pytest.mark.long  # quick: every order once, above
def test_orders_of_different_epochs_and_keys_are_independent_and_uniform():
    replay = jb.Replay(3, None, 3, jb.Items(), SAMPLER)
    state, _ = verbs(replay)[0](filled(replay, told_apart(3)), jax.random.key(0))
    step = functools.partial(turn, replay)
    run = quick_jit(jax.vmap(lambda key: jax.lax.scan(step, state, jax.random.split(key, 2))[1].index.time))
    times = np.asarray(run(jax.random.split(jax.random.key(1), 20_000)))
    orders = {order: i for i, order in enumerate(itertools.permutations(range(3)))}
    number = np.array([[orders[tuple(epoch)] for epoch in epochs] for epochs in times.tolist()])
    counts, null = np.bincount(number[:, 0] * 6 + number[:, 1], minlength=36), np.full(36, 1 / 36)
    same = 0.95 * null + 0.05 * np.eye(6).reshape(-1) / 6
    fits(counts, null, {"one in 20 epochs repeats the last one's order": same})


@pytest.mark.long  # quick: test_every_sampler.py
def test_an_empty_replay_gives_nothing_and_an_update_of_nothing_changes_no_probability():
    replay = jb.Replay(8, None, 3, jb.Transitions(), SAMPLER)
    state = filled(replay, told_apart(4, first=range(4)))
    batch = drawn(replay, state)
    assert not batch.valid
    assert not batch.probability.any()
    state = verbs(replay)[2](state, batch.index)
    state = filled(replay, told_apart(4))
    want = probabilities(replay, state)
    for _ in range(3):
        state = verbs(replay)[2](state, jax.tree.map(jnp.asarray, batch.index))
        np.testing.assert_array_equal(probabilities(replay, state), want)
