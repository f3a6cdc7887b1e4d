"""OnlineFirst: each new window that overlaps no other once, oldest first; what is missed is counted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import OracleReplay, drawn, filled, leaves_of, quick_jit, row_at, told_apart
from oracle.lives import ROW, grow, inputs, places
from oracle.samplers import follower_of
from tier import long_but

import jaxbuffers as jb

from .catalog import show


def name(value):
    return value if isinstance(value, str) else show(value)


VIEWS = [jb.Items(), jb.Transitions(), jb.Sequences(3), jb.Sequences(2, "within", period=3), jb.Episodes(4)]


def turn(replay, reported, state, inputs):
    """Add, sample, and report the batch if it is time to."""
    rows, mask, key, report = inputs
    state = replay.add(state, rows, mask)
    batch = replay.sample(state, key)
    if reported:
        state = jax.lax.cond(report, lambda: replay.update(state, batch.index), lambda: state)
    return state, (batch, {"missed": state.sampler.missed, "queued": state.sampler.queued})


def play(replay, kind, block, steps, report):
    """A life whose batches are those drawn; yield what the oracle expects and what was there."""
    length, streams = replay.length, replay.num_streams
    rows, mask = inputs(kind, length, streams, block, steps, seed=2)
    keys = jax.random.split(jax.random.key(0), steps)
    run = quick_jit(lambda *xs: jax.lax.scan(functools.partial(turn, replay, True), replay.init(ROW), xs)[1])
    batches, facts = jax.tree.map(np.asarray, run(rows, mask, keys, report))
    leaves, oracle, follower = (
        leaves_of(rows),
        OracleReplay(length, streams),
        follower_of(replay.sampler, length, streams, replay.view.required),
    )
    for s in range(steps):
        block_of = [[row_at(leaves, s, n, e) for e in range(streams)] for n in range(block)]
        completed = grow(oracle, replay.view, block_of, mask[s].tolist())
        follower.legal = follower.parts[0].legal = places(oracle, replay.view)
        follower.added(completed)
        index = jax.tree.map(lambda x, s=s: x[s].reshape(replay.batch_size, -1)[:, 0], batches.index)
        windows = list(zip(index.stream.tolist(), index.time.tolist(), strict=True))
        yield s, follower, windows, batches, {name: fact[s] for name, fact in facts.items()}


KINDS = ["mixed", "one endless episode", "streams of all ages", "one-step episodes"]
EVERY = [(view, kind) for view in VIEWS for kind in KINDS]


# Other views and lives: test_every_sampler.py, and the tests below.
@pytest.mark.parametrize("view, kind", long_but(EVERY, quick=[5]), ids=name)
def test_every_new_window_comes_once_oldest_first_while_rows_come_and_go(view, kind):
    replay = jb.Replay(27, 3, 4, view, jb.OnlineFirst())
    steps, online, seen = 40, 0, []
    for s, follower, windows, batches, facts in play(replay, kind, 2, steps, np.ones(steps, bool)):
        assert batches.valid[s] == follower.can_draw(4)
        if batches.valid[s]:
            follower.check(windows, batches.probability[s])
            seen += follower.front(4)
            online += len(follower.front(4))
            follower.used(windows, None)
        else:
            follower.used([None] * 4, None)
        assert facts == {"missed": follower.missed, "queued": len(follower.queue)}
    assert len(set(seen)) == len(seen), "a window came from the queue twice"
    starts = {e: [t for stream, t in seen if stream == e] for e in range(3)}
    for times in starts.values():
        assert (np.diff(times) >= view.required).all(), "windows overlap, or come out of order"
    assert online > 20 or (kind == "one-step episodes" and view in VIEWS[1:4]) or isinstance(view, jb.Episodes)


@pytest.mark.parametrize("view", long_but(VIEWS[:3], quick=[1]), ids=show)
def test_what_was_not_reported_comes_again_and_what_was_overwritten_is_missed(view):
    replay = jb.Replay(18, 2, 3, view, jb.OnlineFirst())
    steps, missed = 50, []
    report = np.random.default_rng(1).random(steps) < 0.3
    for s, follower, windows, batches, facts in play(replay, "streams of all ages", 3, steps, report):
        if batches.valid[s]:
            follower.check(windows, batches.probability[s])
        if report[s]:
            follower.used(windows if batches.valid[s] else [None] * 3, None)
        assert facts == {"missed": follower.missed, "queued": len(follower.queue)}
        missed.append(follower.missed)
    assert missed[-1] > 5


def triples(rows, size, then=None, capacity=12):
    replay = jb.Replay(capacity, None, size, jb.Sequences(3), jb.OnlineFirst(then or jb.Uniform()))
    return replay, filled(replay, told_apart(rows))


def test_the_queue_comes_first_and_the_other_sampler_fills_the_batch():
    replay, state = triples(12, 9)
    batch = drawn(replay, state)
    np.testing.assert_array_equal(batch.index.time[:4, 0], [0, 3, 6, 9])
    np.testing.assert_array_equal(batch.probability, np.float32([1] * 4 + [0.1] * 5))
    rest = [drawn(replay, state, seed).index.time[4:, 0] for seed in range(60)]
    assert {*np.concatenate(rest).tolist()} == {*range(10)}
    state = quick_jit(replay.update)(state, batch.index)
    np.testing.assert_array_equal(drawn(replay, state).probability, np.full(9, np.float32(0.1)))
    assert int(state.sampler.queued) == 0
    assert int(state.sampler.missed) == 0


@pytest.mark.long  # quick: the lives above, and those of test_every_sampler.py
def test_a_batch_takes_as_many_as_it_has_places_and_the_next_goes_on():
    replay, state = triples(12, 1)
    for want in (0, 3, 6, 9):
        batch = drawn(replay, state)
        assert batch.index.time[0].tolist() == [want, want + 1, want + 2]
        again = drawn(replay, state, seed=5)
        np.testing.assert_array_equal(again.index.time, batch.index.time)
        state = quick_jit(replay.update)(state, batch.index)
    np.testing.assert_array_equal(drawn(replay, state).probability, [np.float32(0.1)])


@pytest.mark.long  # quick: the lives above, and those of test_every_sampler.py
def test_a_report_of_one_batch_twice_lets_go_of_it_once():
    replay, state = triples(12, 2)
    index = jax.tree.map(jnp.asarray, drawn(replay, state).index)
    state = quick_jit(replay.update)(quick_jit(replay.update)(state, index), index)
    np.testing.assert_array_equal(drawn(replay, state).index.time[:, 0], [6, 9])


def test_windows_that_were_overwritten_unseen_are_counted_once():
    replay, state = triples(12, 2)
    add, update = quick_jit(replay.add), quick_jit(replay.update)
    row = jax.tree.map(lambda x: x[0, 0], told_apart(1))
    for _ in range(5):
        state = add(state, row)
    # The windows at 0 and 3 are gone, those at 6 and 9 are not, and 12 has been completed since.
    np.testing.assert_array_equal(drawn(replay, state, size=5).index.time[:3, 0], [6, 9, 12])
    # With two places the two that are gone stand in front; a report of anything lets go of them.
    state = update(state, jax.tree.map(jnp.asarray, drawn(replay, state).index))
    assert int(state.sampler.missed) == 2
    np.testing.assert_array_equal(drawn(replay, state).index.time[:, 0], [6, 9])
    state = update(state, jax.tree.map(jnp.asarray, drawn(replay, state).index))
    assert int(state.sampler.missed) == 2
    assert int(state.sampler.queued) == 1


def test_a_queue_that_is_full_lets_go_of_the_oldest_and_counts_them():
    # One stream stands still, with windows that stay legal; the other goes round for ever, and nobody samples.
    replay = jb.Replay(12, 2, 1, jb.Sequences(3), jb.OnlineFirst())
    state, rows = replay.init(jax.tree.map(lambda x: x[0, 0], told_apart(1))), told_apart(6, 2)
    state, places = quick_jit(replay.add)(state, rows), len(state.sampler.stream)
    add = quick_jit(lambda s: replay.add(s, rows, jnp.broadcast_to(jnp.array([False, True]), (6, 2))))
    for _ in range(10):
        state = add(state)
    assert int(state.sampler.queued) == places == 6
    assert int(state.sampler.missed) == 4 + 20 - 6
    np.testing.assert_array_equal(drawn(replay, state, size=6).index.time[:2, 0], [60, 63])


@pytest.mark.long  # quick: test_every_sampler.py
def test_priorities_and_writes_reach_the_other_sampler():
    then = jb.Prioritized(alpha=1.0, eps=1e-9)
    replay, state = triples(12, 4, then)
    assert replay.sampler.takes_priority
    alone = jb.Replay(12, None, 4, jb.Sequences(3), then)
    plain = filled(alone, told_apart(12))
    jax.tree.map(np.testing.assert_array_equal, state.sampler.inner, plain.sampler)
    index, priority = drawn(replay, state).index, np.float32([1, 2, 3, 4])
    state, plain = (
        quick_jit(lambda s, r=r: r.update(s, index, priority=priority))(s) for r, s in ((replay, state), (alone, plain))
    )
    jax.tree.map(np.testing.assert_array_equal, state.sampler.inner, plain.sampler)
    batch = drawn(replay, state, size=32)
    weight = np.array([1, 1, 1, 2, 1, 1, 3, 1, 1, 4])
    np.testing.assert_allclose(batch.probability, weight[batch.index.time[:, 0]] / 16, rtol=1e-6)
    grouped = jb.Replay(4, None, 4, jb.Items(), jb.OnlineFirst(jb.Clustered("group", groups=2)))
    state = filled(grouped, {"group": np.int32([[0], [0], [0], [1]])})
    index = jb.Index(jnp.zeros(1, jnp.int32), jnp.array([1], jnp.int32))
    state = quick_jit(lambda s: grouped.update(s, index, rows={"group": jnp.ones(1, jnp.int32)}))(state)
    assert state.sampler.inner.tree.group[:4].tolist() == [0, 1, 0, 1]


@pytest.mark.long  # quick: test_can_sample.py has one around others
def test_a_batch_is_valid_if_the_queue_fills_it_or_the_other_sampler_can():
    # The other sampler has nothing: no pair begins among the newest two rows.
    replay = jb.Replay(12, None, 4, jb.Transitions(), jb.OnlineFirst(jb.Recent(horizon=2)))
    state = filled(replay, told_apart(10, first=[0, 4, 8, 9]))
    assert drawn(replay, state, size=3).valid
    np.testing.assert_array_equal(drawn(replay, state, size=4).index.time, [0, 2, 4, 6])
    batch = drawn(replay, state, size=5)
    assert not batch.valid
    empty = filled(replay, told_apart(3, first=range(3)))
    assert not drawn(replay, empty).valid
    assert not drawn(replay, empty).probability.any()


def test_the_batch_may_be_larger_than_the_queue_has_places():
    replay, state = triples(6, 40, capacity=6)
    assert len(state.sampler.stream) < 40
    batch = drawn(replay, state)
    np.testing.assert_array_equal(batch.index.time[:2, 0], [0, 3])
    state = quick_jit(replay.update)(state, batch.index)
    assert int(state.sampler.queued) == 0
    assert int(state.sampler.missed) == 0


def test_it_takes_a_sampler_and_asks_of_the_row_what_that_asks():
    for wrong in (None, jb.Uniform, "uniform"):
        with pytest.raises(jb.errors.ConfigurationError, match="OnlineFirst"):
            jb.OnlineFirst(wrong)
    with pytest.raises(jb.errors.MissingFieldError, match="is_first"):
        jb.Replay(8, None, 4, sampler=jb.OnlineFirst(jb.ByEpisode())).init({"x": np.float32(0)})
    assert not jb.OnlineFirst().takes_priority
    assert jb.OnlineFirst() == jb.OnlineFirst(jb.Uniform())
