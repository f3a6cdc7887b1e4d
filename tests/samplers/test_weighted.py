"""Weighted: what the function is shown, and draws with and without replacement in proportion to its weights."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import drawn, filled, fits, leaves_of, likely, quick_jit, told_apart
from oracle.lives import ROW, life
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.samplers import weighted

WEIGHTS = np.array([8.0, 1.0, 4.0, 3.0])


def by_obs(windows):
    """The weights above, by the row's number."""
    return jnp.log(jnp.asarray(WEIGHTS, jnp.float32))[windows.rows.obs - 1]


def four(sampler, size):
    replay = jb.Replay(4, None, size, jb.Items(), sampler)
    return replay, filled(replay, told_apart(4))


def many(replay, state, batches, seed=0):
    """The times of many batches."""
    keys = jax.random.split(jax.random.key(seed), batches)
    return np.asarray(quick_jit(jax.vmap(lambda key: replay.sample(state, key).index.time))(keys))


def in_order(weights, order):
    """The probability that draws without replacement come in this order."""
    left, chance = weights.sum(), 1.0
    for i in order:
        chance, left = chance * weights[i] / left, left - weights[i]
    return chance


def test_ties_do_not_favor_the_older_of_a_million_windows():
    equal = jax.jit(lambda key: jax.lax.top_k(weighted.noise(key, jnp.zeros(10**6)), 100)[0])
    draws = [np.asarray(equal(jax.random.key(i))) for i in range(budget(4, 40))]
    assert sum(100 - len(np.unique(best)) for best in draws) <= len(draws) / 2  # about 5 each with 23 random bits


@pytest.mark.parametrize("size", long_but([1, 2, 3], quick=[1]))
def test_without_replacement_every_order_is_as_likely_as_one_draw_after_the_other(size):
    replay, state = four(jb.Weighted(by_obs), size)
    orders = [*itertools.permutations(range(4), size)]
    null = np.array([in_order(WEIGHTS, order) for order in orders])
    times = many(replay, state, 60_000)
    code = times @ 4 ** np.arange(size)
    cells = {sum(place * 4**i for i, place in enumerate(order)): n for n, order in enumerate(orders)}
    counts = np.bincount([cells[c] for c in code.tolist()], minlength=len(orders))
    flat = np.array([in_order(np.ones(4), order) for order in orders])
    root = np.array([in_order(np.sqrt(WEIGHTS), order) for order in orders])
    # The power of noise of another scale, and of drawing with replacement until all are different.
    again = np.array([np.prod(WEIGHTS[[*order]]) for order in orders])
    wrong = {"uniform": flat, "half the log-weights": root}
    fits(counts, null, wrong | ({"rejection": again / again.sum()} if size > 1 else {}))
    included = np.array([null[[i in order for order in orders]].sum() for i in range(4)])
    np.testing.assert_allclose((times[:, :, None] == np.arange(4)).any(axis=1).mean(axis=0), included, atol=0.01)


def test_probability_is_that_of_the_first_draw():
    for sampler in (jb.Weighted(by_obs), jb.Weighted(by_obs, replace=True)):
        replay, state = four(sampler, 4)
        batch = drawn(replay, state)
        np.testing.assert_allclose(batch.probability, WEIGHTS[batch.index.time] / 16, rtol=1e-6)
        np.testing.assert_allclose(likely(replay, state, np.arange(4)), WEIGHTS / 16, rtol=1e-6)


def test_with_replacement_draws_are_independent_and_in_proportion():
    replay, state = four(jb.Weighted(by_obs, replace=True), 2)
    times, share = many(replay, state, 60_000), WEIGHTS / 16
    null = np.outer(share, share).reshape(-1)
    again = 0.95 * null + 0.05 * np.diag(share).reshape(-1)
    fits(np.bincount(times[:, 0] * 4 + times[:, 1], minlength=16), null, {"one in 20 repeats": again})


@pytest.mark.long  # quick: every order of other weights, above
def test_equal_weights_give_every_subset_equally_often():
    replay = jb.Replay(6, None, 3, jb.Items(), jb.Weighted(lambda windows: jnp.zeros(6, jnp.float32)))
    times = np.sort(many(replay, filled(replay, told_apart(6)), 40_000), axis=1)
    counts = np.unique(times @ 6 ** np.arange(3), return_counts=True)[1]
    assert len(counts) == 20
    shares = 1 + np.linspace(-0.2, 0.2, 20)
    fits(counts, np.full(20, 1 / 20), {"ties to the first": shares / shares.sum()})


ODD = {"-inf": -np.inf, "nan": np.nan, "+inf": np.inf}


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("odd", long_but([*ODD], quick=[1]))  # the catalog's function has all three
def test_a_weight_that_is_no_number_keeps_a_window_from_being_drawn(odd, replace):
    table = jnp.array([0.0, ODD[odd], 1.0, ODD[odd]], jnp.float32)
    sampler = jb.Weighted(lambda windows: table[windows.rows.obs - 1], replace)
    for size, wanted in budget(((2, True), (3, replace)), ((1, True), (2, True), (3, replace), (4, replace))):
        replay, state = four(sampler, size)
        batch = drawn(replay, state)
        assert batch.valid == wanted, "not enough windows of positive weight"
        assert batch.mask.all() == batch.mask.any() == wanted
        if wanted:
            assert {*batch.index.time.tolist()} <= {0, 2}
            want = np.exp([0, np.nan, 1])[batch.index.time] / (1 + np.e)
            np.testing.assert_allclose(batch.probability, want, rtol=1e-6)
            assert replace or len({*batch.index.time.tolist()}) == size
        else:
            assert not batch.probability.any()
            assert not batch.data.obs.any()


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("odd", long_but([*ODD], quick=[0]))
def test_if_no_window_has_a_weight_the_batch_is_not_valid(odd, replace):
    replay, state = four(jb.Weighted(lambda windows: jnp.full(4, ODD[odd], jnp.float32), replace), 1)
    batch = drawn(replay, state)
    assert not batch.valid
    assert not batch.mask.any()
    assert batch.probability.tolist() == [0]
    assert likely(replay, state, np.arange(4)).tolist() == [0] * 4


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("shift", long_but([-3e38, -1e30, 0, 1e30, 3e38], quick=[4]))
def test_only_differences_of_log_weights_count_however_large_they_are(shift, replace):
    near = np.float32(shift) * np.float32([1, 1, 0.5, 1])  # the third is as far from the others as can be
    replay, state = four(jb.Weighted(lambda windows: jnp.asarray(near), replace), 3)
    want = [1 / 4] * 4 if shift == 0 else [0, 0, 1, 0] if shift < 0 else [1 / 3, 1 / 3, 0, 1 / 3]
    np.testing.assert_allclose(likely(replay, state, np.arange(4)), want, rtol=1e-6)
    batch = drawn(replay, state)
    assert batch.valid
    if replace and shift:
        assert all(want[t] > 0 for t in batch.index.time)


@pytest.mark.parametrize("kind", ["mixed", "streams of all ages", "empty"])
@pytest.mark.parametrize(
    "view",
    long_but([jb.Items(), jb.Transitions(2), jb.FrameStack(jb.Transitions(), 3), jb.Episodes(4)], quick=[3]),
    ids=str,
)
def test_the_function_is_shown_the_rows_ages_ranks_and_counts_of_the_legal_windows(view, kind):
    shown = []

    def spy(windows):
        shown.append(windows)
        return jnp.zeros(windows.rank.shape, jnp.float32)

    replay = jb.Replay(21, 3, 4, view, jb.Weighted(spy, replace=True))
    one, state = life(view, kind), replay.init(ROW)
    add = quick_jit(replay.add)
    for s in range(len(one.steps)):
        state = add(state, *jax.tree.map(lambda x, s=s: x[s], (one.rows, one.mask)))

    @quick_jit
    def ask(state):
        replay.can_sample(state)
        return shown.pop()

    seen, legal = jax.tree.map(np.asarray, ask(state)), one.steps[-1].added
    leaves = leaves_of(seen.rows)
    stream = np.tile(np.arange(3), 7)
    real = np.flatnonzero(np.asarray(seen.rank) < np.asarray(seen.count))
    got = {(int(stream[i]), int(seen.rank[i])): i for i in real}
    assert got.keys() == {(place.window[0], place.rank) for place in legal}
    history = history_of(one)
    for place in legal:
        i = got[place.window[0], place.rank]
        assert (int(seen.age[i]), int(seen.count[i])) == (place.age, place.count)
        row = history[place.window[0]][place.window[1]]
        for path in ("obs", "action", "reward"):
            np.testing.assert_array_equal(leaves[path][i], row[path])
    blank = np.setdiff1d(np.arange(21), real)
    assert not leaves["obs"][blank].any()
    assert not np.asarray(seen.age)[blank].any()


def history_of(one):
    """The rows of each stream as they were added."""
    leaves, steps = leaves_of(one.rows), itertools.product(range(one.mask.shape[0]), range(one.mask.shape[1]))
    steps = [*steps]
    return [
        [{path: leaf[s, n, e] for path, leaf in leaves.items()} for s, n in steps if one.mask[s, n, e]]
        for e in range(3)
    ]


def test_small_weights_keep_their_place_on_the_line_and_zeros_have_none(monkeypatch):
    # Running sums in float32 would give windows of weight 1e-5 lumps, and rounding errors to those of none.
    size, points = 40_000, 2**20
    table = np.where(np.arange(size) % 3 == 0, -np.inf, np.log(1 + np.arange(size) % 7)).astype(np.float32)
    replay = jb.Replay(size, None, 1, jb.Items(), jb.Weighted(lambda windows: jnp.asarray(table), replace=True))
    state = quick_jit(replay.add)(replay.init(np.float32(0)), np.zeros(size, np.float32))
    high = ((2 * np.arange(points, dtype=np.uint64) + 1) << np.uint64(11)).astype(np.uint32)
    monkeypatch.setattr(weighted, "bits64", lambda key, count: (jnp.asarray(high), jnp.zeros(points, jnp.uint32)))
    draw = quick_jit(lambda s: replay.sampler.draw((), replay.legal(s), jax.random.key(0), points))(state)
    share = np.exp(table.astype(np.float64))
    counts = np.bincount(draw.start, minlength=size)
    assert not counts[share == 0].any()
    assert np.abs(counts - points * share / share.sum()).max() < 2


def test_more_windows_than_rows_cannot_be_different():
    replay = jb.Replay(4, None, 5, jb.Items(), jb.Weighted(by_obs))
    state = filled(replay, told_apart(4))
    with pytest.raises(jb.errors.ShapeError, match="5 different windows cannot be drawn from a ring of 4 rows"):
        jax.eval_shape(replay.sample, state, jax.random.key(0))
    assert drawn(jb.Replay(4, None, 5, jb.Items(), jb.Weighted(by_obs, replace=True)), state).valid


@pytest.mark.parametrize(
    "fn, error",
    [
        (lambda w: jnp.zeros(3, jnp.float32), jb.errors.ShapeError),
        (lambda w: jnp.float32(0), jb.errors.ShapeError),
        (lambda w: jnp.zeros((4, 1), jnp.float32), jb.errors.ShapeError),
        (lambda w: 0.0, jb.errors.ShapeError),
        (lambda w: None, jb.errors.ShapeError),
        (lambda w: w.age, jb.errors.DtypeError),
        (lambda w: w.age.astype(jnp.bfloat16), jb.errors.DtypeError),
    ],
)
def test_what_is_no_float32_for_each_window_is_refused(fn, error):
    replay = jb.Replay(4, None, 2, jb.Items(), jb.Weighted(fn))
    state = jax.eval_shape(replay.init, np.float32(0))
    with pytest.raises(error, match="Weighted"):
        jax.eval_shape(replay.sample, state, jax.random.key(0))


def test_configurations_are_values_and_others_are_refused():
    assert jb.Weighted(by_obs) == jb.Weighted(by_obs)
    assert hash(jb.Weighted(by_obs)) == hash(jb.Weighted(by_obs, False))
    assert jb.Weighted(by_obs) != jb.Weighted(by_obs, replace=True)
    for options in ({"fn": 3}, {"fn": None}, {"fn": by_obs, "replace": 1}):
        with pytest.raises(jb.errors.ConfigurationError, match="replace" if "replace" in options else "fn"):
            jb.Weighted(**options)
