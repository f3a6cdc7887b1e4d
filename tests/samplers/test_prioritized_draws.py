"""How often prioritized draws give each window, and what new windows start with."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, drawn, example, filled, fits, likely, quick_jit, told_apart
from tier import budget, long_but

import jaxbuffers as jb

TIMES = np.array([3, 4, 5, 6, 7, 8, 10, 11, 12])  # where legal pairs of `kept` begin
PRIORITY = np.array([1.0, 0.0, 4.0, 0.5, 0.5, 2.0, 0.25, 8.0, 1.0], np.float32)


def at(time, stream=0):
    time = jnp.atleast_1d(jnp.asarray(time, jnp.int32))
    return jb.Index(jnp.full_like(time, stream), time)


def kept(sampler, size=8):
    """Fourteen rows in a ring of eleven, an episode ending at time 9, with the given priorities for their pairs."""
    replay = jb.Replay(11, None, size, jb.Transitions(), sampler)
    state = filled(replay, told_apart(14, first=[0, 10], last=[9]))
    update = quick_jit(lambda state: replay.update(state, at(TIMES), priority=jnp.asarray(PRIORITY)))
    return replay, update(state)


def share(sampler, priority=PRIORITY):
    weight = (priority.astype(np.float64) + sampler.eps) ** sampler.alpha
    return weight / weight.sum()


def wrong(sampler, null):
    """What other samplers do, or this one with a mistake, would draw."""
    never = np.where(np.arange(len(null)) == 3, 0, null)
    return {
        "uniform": np.full(len(null), 1 / len(null)),
        "no exponent": share(replace(sampler, alpha=2 * sampler.alpha)),
        "another eps": share(replace(sampler, eps=sampler.eps + 0.05)),
        "a window never drawn": never / never.sum(),
        "each window's neighbor's share": np.roll(null, 1),
        "one priority missed": share(sampler, np.where(np.arange(len(null)) == 2, np.float32(2.5), PRIORITY)),
    }


def counts_of(time):
    place = np.searchsorted(TIMES, time)
    np.testing.assert_array_equal(TIMES[place], time)
    return np.bincount(place, minlength=len(TIMES))


@pytest.mark.parametrize("alpha", long_but([0.6, 1.0, 1.5], quick=[0]))
def test_independent_draws_are_in_proportion_to_the_weights(alpha):
    sampler = jb.Prioritized(alpha=alpha, eps=0.05, stratified=False)
    replay, state = kept(sampler)
    null = share(sampler)
    time = drawn(replay, state, seed=int(10 * alpha), size=60_000).index.time
    fits(counts_of(time), null, wrong(sampler, null))


@pytest.mark.parametrize("alpha", long_but([0.6, 1.5], quick=[1]))
def test_a_stratified_batch_is_in_proportion_as_a_whole(alpha):
    # The draws of one batch depend on each other, so one of each of many batches is counted, at a random place.
    sampler = jb.Prioritized(alpha=alpha, eps=0.05)
    replay, state = kept(sampler)
    keys = jax.random.split(jax.random.key(1), 60_000)
    time = np.asarray(quick_jit(jax.vmap(lambda key: replay.sample(state, key).index.time))(keys))
    null = share(sampler)
    place = np.random.default_rng(0).integers(0, time.shape[1], len(time))
    fits(counts_of(time[np.arange(len(time)), place]), null, wrong(sampler, null))
    # And every batch has of each window as many as its share says, but for the strata that its edges cut.
    expected, held = time.shape[1] * null, (time[:, :, None] == TIMES).sum(axis=1)
    assert (held > expected - 2).all()
    assert (held < expected + 2).all()
    assert (np.diff(time % 11, axis=1) >= 0).all()  # in the order of the ring


def test_independent_draws_of_one_batch_are_independent():
    sampler = jb.Prioritized(alpha=1.0, eps=0.05, stratified=False)
    replay, state = kept(sampler)
    keys = jax.random.split(jax.random.key(2), 20_000)
    time = np.asarray(quick_jit(jax.vmap(lambda key: replay.sample(state, key).index.time))(keys))
    one, null = share(sampler), np.outer(share(sampler), share(sampler)).reshape(-1)
    again = 0.95 * null + 0.05 * np.diag(one).reshape(-1)
    for lag in (1, 4):
        first, second = (np.searchsorted(TIMES, x.reshape(-1)) for x in (time[:, :lag], time[:, lag : 2 * lag]))
        fits(np.bincount(first * len(one) + second, minlength=len(null)), null, {"one in 20 repeats": again})


@pytest.mark.parametrize("stratified", long_but([False, True], quick=[1]))
def test_probability_is_the_share_of_the_total_weight(stratified):
    sampler = jb.Prioritized(alpha=0.7, eps=0.01, stratified=stratified)
    replay, state = kept(sampler)
    batch = drawn(replay, state, size=500)
    want = share(sampler)[np.searchsorted(TIMES, batch.index.time)]
    np.testing.assert_allclose(batch.probability, want, rtol=1e-6)
    assert batch.probability.dtype == np.float32
    assert batch.valid


@pytest.mark.long  # quick: the test above, and test_every_sampler.py, where all are compared
def test_the_probability_of_every_window_adds_up_to_one():
    replay, state = kept(jb.Prioritized(alpha=0.7, eps=0.01))
    other = replace(replay, sampler=Every())
    every = drawn(other, replace(state, sampler=(), made_by=other.init(example(told_apart(1))).made_by), size=11)
    time = every.index.time[every.probability > 0]
    np.testing.assert_array_equal(time, TIMES)
    got = likely(replay, state, time)
    np.testing.assert_allclose(got, share(replay.sampler), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(got, np.float64).sum(), 1, rtol=1e-6)


@pytest.mark.long  # quick: another alpha, above
def test_alpha_zero_is_uniform_whatever_the_priorities():
    replay, state = kept(jb.Prioritized(alpha=0.0, stratified=False))
    batch = drawn(replay, state, seed=3, size=40_000)
    np.testing.assert_array_equal(batch.probability, np.full(40_000, np.float32(1) / np.float32(len(TIMES))))
    flat = np.full(len(TIMES), 1 / len(TIMES))
    proportional = {"alpha 0.05": share(jb.Prioritized(alpha=0.05, eps=1e-6))}
    fits(counts_of(batch.index.time), flat, proportional)


def weights(state, times):
    """The weight of each window over that of the first."""
    got = np.asarray(state.sampler.tree[0], np.float64)[[*times]]
    return got / got[0]


def one_at_a_time(sampler, sent):
    """Add a row, send a priority for it (None: send nothing), and so on; the last row gets none."""
    replay = jb.Replay(16, None, 1, jb.Items(), sampler)
    state, add = replay.init(np.float32(0)), quick_jit(replay.add)
    update = quick_jit(lambda state, time, priority: replay.update(state, at(time), priority=priority[None]))
    for time, priority in enumerate([*sent, None]):
        state = add(state, np.float32(time))
        if priority is not None:
            state = update(state, np.int32(time), np.float32(priority))
    return state


def test_a_new_window_gets_the_highest_priority_so_far_and_one_at_first():
    state = one_at_a_time(jb.Prioritized(alpha=1.0, eps=1e-9), [None, 0.5, None, 7.0, None, 3.0])
    np.testing.assert_allclose(weights(state, range(7)), [1, 0.5, 1, 7, 7, 3, 7], rtol=1e-6)


@pytest.mark.parametrize("initial", long_but([2.0, 3, 0], quick=[1, 2]))
def test_a_new_window_gets_the_configured_priority_whatever_was_sent(initial):
    sampler = jb.Prioritized(alpha=1.0, eps=0.5, initial=initial)
    state = one_at_a_time(sampler, [None, 0.5, None, 7.0])
    first = initial + 0.5
    np.testing.assert_allclose(weights(state, range(5)), [1, 1 / first, 1, 7.5 / first, 1], rtol=1e-6)


def test_the_highest_priority_decays_at_each_update():
    state = one_at_a_time(jb.Prioritized(alpha=1.0, eps=1e-9, decay=0.5), [16.0, 0.0, None, 1.0, 3.5])
    # 16 for the second row; halved by the update of the second, not by the third row; then 4; 3.5 beats 2.
    np.testing.assert_allclose(weights(state, [0, 2, 3, 5]), np.array([16, 8, 1, 3.5]) / 16, rtol=1e-6)
    np.testing.assert_allclose(state.sampler.highest, 3.5)


def test_a_batch_of_any_size_may_be_drawn_and_sent_back():
    replay, state = kept(jb.Prioritized())
    for size in budget((40,), (1, 3, 40)):
        batch = quick_jit(replay.sample, static_argnums=2)(state, jax.random.key(4), size)
        after = quick_jit(replay.update)(state, batch.index, priority=jnp.ones(size, jnp.float32))
        assert batch.probability.shape == (size,)
        assert int(after.sampler.stale) == int(after.sampler.refused) == 0


@pytest.mark.long  # quick: test_every_sampler.py
def test_an_empty_replay_gives_no_window_and_no_nan():
    for sampler in (jb.Prioritized(), jb.Prioritized(stratified=False, alpha=0.0)):
        replay = jb.Replay(40, 2, 8, jb.Transitions(), sampler)
        state = filled(replay, told_apart(9, 2, first=range(9)))  # episodes of one row: no pair at all
        batch = drawn(replay, state)
        assert not batch.valid
        assert not batch.mask.any()
        assert not batch.probability.any()
        assert not batch.data.obs.any()
        after = quick_jit(replay.update)(state, batch.index, priority=jnp.ones(8, jnp.float32))
        assert not any(np.any(level) for level in after.sampler.tree)
        assert int(after.sampler.stale) == int(after.sampler.refused) == 0


@pytest.mark.parametrize("beta", long_but([0.0, 0.4, 1.0, 1], quick=[1, 3]))
@pytest.mark.parametrize("normalize", [True, False])
def test_importance_weights_are_the_formula_of_the_paper(beta, normalize):
    probability = np.float32([0.5, 0.125, 1e-6, 0.03, 0.03])
    want = (4096 * probability.astype(np.float64)) ** -float(beta)
    want = want / want.max() if normalize else want
    for size in (4096, jnp.int32(4096)):
        for power in (beta, jnp.float32(beta)):
            got = quick_jit(jb.importance_weights, static_argnames="normalize")(
                jnp.asarray(probability), size, power, normalize=normalize
            )
            np.testing.assert_allclose(got, want, rtol=2e-6)
            assert got.dtype == np.float32


def test_importance_weights_make_a_weighted_mean_of_draws_the_plain_mean():
    sampler = jb.Prioritized(alpha=1.0, eps=0.05)
    replay, state = kept(sampler)
    batch = drawn(replay, state, seed=5, size=200_000)
    assert int(replay.count(state)) == len(TIMES)
    weight = np.asarray(jb.importance_weights(jnp.asarray(batch.probability), replay.count(state), 1.0, False), float)
    counts = [weight[batch.index.time == time].sum() for time in TIMES]
    # Each window's weight times its share is 1 / n; stratified, a count is off by two at most.
    np.testing.assert_allclose(counts, 200_000 / len(TIMES), rtol=0, atol=2.01 * weight.max())


def test_importance_weights_of_nothing_are_zero_and_never_nan():
    for normalize in (True, False):
        some = jb.importance_weights(jnp.float32([0, 0.5, 0.25]), 4, 1.0, normalize)
        np.testing.assert_allclose(some, [0, 0.5, 1], rtol=1e-6)
        for size in (0, 4):
            none = jb.importance_weights(jnp.zeros(3, jnp.float32), size, 0.5, normalize)
            np.testing.assert_array_equal(none, np.zeros(3))


def test_importance_weights_keep_their_dtype():
    for dtype in budget((jnp.bfloat16,), (jnp.bfloat16, jnp.float16, jnp.float32)):
        got = jb.importance_weights(jnp.asarray([0.5, 0.25], dtype), jnp.int32(4), jnp.float32(1.0))
        assert got.dtype == dtype
        np.testing.assert_array_equal(got.astype(jnp.float32), [0.5, 1])
