"""Recent: a horizon in rows, exactly; and weights that fall by half, exactly too, for millions of windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import drawn, filled, fits, likely, quick_jit, told_apart
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.samplers import recent

from .catalog import assert_lives_agree, replay_of, show


@pytest.mark.parametrize(
    "view, length, sampler",
    long_but(
        [
            (jb.Sequences(2, "within", period=2), 5, jb.Recent(horizon=3)),
            (jb.Transitions(), 4, jb.Recent(horizon=2)),
            (jb.FrameStack(jb.Items(), 3), 6, jb.Recent(horizon=5)),  # of six rows the view reads four
            (jb.Sequences(3), 8, jb.Recent(half_life=0.5)),
        ],
        quick=[2],
    ),
    ids=show,
)
def test_lives_with_other_sizes_agree_with_the_oracle(view, length, sampler):
    compared = assert_lives_agree(replay_of(view, [sampler], length, streams=2), block=length, steps=10)
    assert compared[sampler] > 15


def probability(replay, state, stream, time):
    return likely(replay, state, time, np.asarray(stream, np.int32))


@pytest.mark.parametrize("horizon", long_but([2, 3, 5, 7, 8, 10**9], quick=[2]))
def test_a_horizon_counts_the_rows_of_each_stream(horizon):
    # Pairs of two streams of ages 13 and 5 in rings of 8; episodes end at 7 and at 3, so no pair begins there.
    replay = jb.Replay(16, 2, 64, jb.Transitions(), jb.Recent(horizon=horizon))
    mask = np.arange(13)[:, None] < np.array([13, 5])
    state = filled(replay, told_apart(13, 2, first=[0, 4, 8]), mask)
    legal = [(0, t) for t in (5, 6, 8, 9, 10, 11)] + [(1, t) for t in (0, 1, 2)]
    inside = [(e, t) for e, t in legal if (13, 5)[e] - t <= horizon]
    batch = drawn(replay, state, size=512)
    assert batch.valid == bool(inside)
    if inside:
        assert {*zip(batch.index.stream.tolist(), batch.index.time.tolist(), strict=True)} == {*inside}
        np.testing.assert_array_equal(batch.probability, np.full(512, np.float32(1) / np.float32(len(inside))))
    else:
        assert not batch.probability.any()
    got = probability(replay, state, *zip(*legal, strict=True))
    np.testing.assert_allclose(got, [((e, t) in inside) / max(len(inside), 1) for e, t in legal], rtol=1e-6)


@pytest.mark.long  # quick: test_every_sampler.py
def test_a_horizon_as_long_as_the_ring_is_uniform_bit_for_bit():
    mask = np.random.default_rng(0).random((40, 3)) < 0.7
    rows = told_apart(40, 3, first=range(0, 40, 6))
    batches = []
    for sampler in (jb.Recent(horizon=16), jb.Uniform()):
        replay = jb.Replay(48, 3, 4000, jb.Transitions(), sampler)
        batches.append(drawn(replay, filled(replay, rows, mask)))
    np.testing.assert_array_equal(*(batch.probability for batch in batches))
    counts = [np.bincount(b.index.stream * 100 + b.index.time, minlength=300) for b in batches]
    np.testing.assert_array_equal(counts[0] > 0, counts[1] > 0)


def geometric(count, half_life):
    """How likely the k-th window back is, of ``count``: float64."""
    weight = 2.0 ** (-np.arange(count) / half_life)
    return weight / weight.sum()


def back(half_life, count, high, low):
    draw = quick_jit(jb.Recent(half_life=half_life)._back)
    return np.asarray(draw(jnp.full(high.shape, count, jnp.int32), jnp.asarray(high), jnp.asarray(low)))


def grid(size):
    """An even grid over all bits."""
    return ((2 * np.arange(size, dtype=np.uint64) + 1) * (2**31 // size)).astype(np.uint32)


LIVES = [0.1, 1, 37.5, 1000, 1e5, 1e7, 1e9]


@pytest.mark.parametrize("half_life", long_but(LIVES, quick=[6]))
@pytest.mark.parametrize("count", long_but([1, 2, 100, 4096, 4097, 10_000_000], quick=[4, 5]))
def test_every_window_of_millions_has_its_place_on_the_line(count, half_life):
    """Bits on an even grid: each window, or block of 4,096, gets as many as its share says, give or take one or two."""
    points = 2**18
    some, share = np.zeros(points, np.uint32) + np.uint32(2**31), geometric(count, half_life)
    found = back(half_life, count, grid(points), some)
    assert found.min() >= 0
    assert found.max() < count
    blocks = np.add.reduceat(share, np.arange(0, count, 4096))
    got = np.bincount(found // 4096, minlength=len(blocks))
    assert np.abs(got - points * blocks).max() < 2
    last = found.max() // 4096
    # Within the newest block, and within the oldest that can be reached, which may be cut short.
    for bits in (0, 2**32 - 1):
        found = back(half_life, count, np.full(points, bits, np.uint32), grid(points))
        block = int(found[0]) // 4096
        assert (found // 4096 == block).all()
        assert block == 0 if bits == 0 else block >= last
        inside = geometric(min(count - block * 4096, 4096), half_life)
        got = np.bincount(found - block * 4096, minlength=len(inside))
        assert np.abs(got - points * inside).max() < 2


@pytest.mark.parametrize("half_life", long_but(LIVES, quick=[0]))
def test_extreme_bits_stay_inside(half_life):
    edges = np.array([0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1], np.uint32)
    high, low = (x.reshape(-1) for x in np.meshgrid(edges, edges))
    for count in (1, 4095, 4096, 4097, 8192, 3_000_000, 2**28):
        found = back(half_life, count, high, low)
        assert found.min() >= 0
        assert found.max() < count


@pytest.mark.parametrize("half_life", long_but(LIVES, quick=[2]))
def test_the_weight_of_a_stream_is_the_sum_of_its_windows(half_life):
    counts = np.array([0, 1, 2, 50, 4097, 10_000_000], np.int32)
    weight = 2.0 ** (-np.arange(counts[-1]) / half_life)
    want = [weight[:count].sum() for count in counts]
    np.testing.assert_allclose(quick_jit(jb.Recent(half_life=half_life)._weight)(counts), want, rtol=2e-6)


def test_of_two_windows_one_half_life_apart_the_newer_weighs_twice_as_much():
    replay = jb.Replay(64, None, 8, jb.Transitions(), jb.Recent(half_life=3))
    state = filled(replay, told_apart(40, first=range(0, 40, 5)))
    times = [t for t in range(39) if t % 5 != 4]  # rows that end an episode begin no pair and do not count
    got = probability(replay, state, np.zeros(len(times), int), times)
    np.testing.assert_allclose(got[3:] / got[:-3], 2, rtol=1e-5)
    np.testing.assert_allclose(got.sum(dtype=np.float64), 1, rtol=1e-6)


def test_streams_are_drawn_by_weight_and_blocks_by_recency():
    # More than one block of 4,096 windows in one stream, few in another, none in two.
    lengths, size = np.array([9000, 0, 3, 0]), 60_000
    replay = jb.Replay(9000 * 4, 4, size, jb.Items(), jb.Recent(half_life=4000))
    rows, mask = np.zeros((9000, 4), np.float32), np.arange(9000)[:, None] < lengths
    state = quick_jit(replay.add)(replay.init(np.float32(0)), rows, mask)
    batch = drawn(replay, state)
    stream, rank = batch.index.stream, batch.index.time
    weight = 2.0 ** (-np.arange(9000) / 4000)
    fine = np.add.reduceat(weight, np.arange(0, 9000, 500))  # the newest 500 first
    cells = np.where(stream == 2, 18, (8999 - rank) // 500)
    null = np.append(fine, weight[:3].sum())
    assert set(stream.tolist()) <= {0, 2}
    pooled = np.append(null[:17], null[17] + null[18])
    counts = np.bincount(np.minimum(cells, 17), minlength=18)
    longer = np.add.reduceat(2.0 ** (-np.arange(9000) / 5000), np.arange(0, 9000, 500))
    fits(counts, pooled / pooled.sum(), {"a longer half-life": longer / longer.sum(), "uniform": np.full(18, 1 / 18)})
    want = 2.0 ** (-np.where(stream == 2, 2 - rank, 8999 - rank) / 4000) / null.sum()
    np.testing.assert_allclose(batch.probability, want, rtol=1e-5)


@pytest.mark.parametrize("half_life", long_but([1, 1e9], quick=[1]))
def test_streams_without_a_window_have_no_room_on_the_line(half_life, monkeypatch):
    # Rounded running sums of a thousand streams move where nothing is added: a target may fall in between.
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(1000) < 0.4, rng.integers(1, 17, 1000), 0)
    replay = jb.Replay(16_000, 1000, 1, jb.Items(), jb.Recent(half_life=half_life))
    rows, mask = np.zeros((16, 1000), np.float32), np.arange(16)[:, None] < lengths
    state = quick_jit(replay.add)(replay.init(np.float32(0)), rows, mask)
    weight = np.array([np.sum(2.0 ** (-np.arange(n) / half_life)) for n in lengths])
    ends = np.cumsum(weight) / weight.sum() * 2.0**64
    near = ends[:, None] + np.array([-(2.0**41), -(2.0**40), -(2.0**17), 0, 2.0**17, 2.0**40, 2.0**41])
    bits = np.clip(near.reshape(-1), 0, 2.0**64 - 2**12).astype(np.uint64)
    bits = np.concatenate([bits, ((2 * np.arange(2**16, dtype=np.uint64) + 1) << np.uint64(47))])
    words = np.concatenate([bits, np.full(len(bits), 2**63, np.uint64)])
    halves = (words >> np.uint64(32)).astype(np.uint32), words.astype(np.uint32)
    monkeypatch.setattr(recent, "bits64", lambda key, count: tuple(map(jnp.asarray, halves)))
    draw = quick_jit(lambda s: replay.sampler.draw(s.sampler, replay.legal(s), jax.random.key(0), len(bits)))(state)
    stream, start = np.asarray(draw.stream), np.asarray(draw.start)
    assert (start < lengths[stream]).all()
    counts = np.bincount(stream[-(2**16) :], minlength=1000)
    assert np.abs(counts - 2**16 * weight / weight.sum()).max() < 2


@pytest.mark.long  # quick: test_every_sampler.py
def test_an_empty_replay_gives_no_window_and_no_nan():
    for sampler in (jb.Recent(horizon=3), jb.Recent(half_life=3)):
        replay = jb.Replay(40, 2, 8, jb.Transitions(), sampler)
        batch = drawn(replay, filled(replay, told_apart(9, 2, first=range(9))))
        assert not batch.valid
        assert not batch.mask.any()
        assert not batch.probability.any()


def test_a_horizon_in_which_no_window_can_begin_is_refused():
    replay = jb.Replay(32, None, 8, jb.Sequences(8), jb.Recent(horizon=7))
    with pytest.raises(jb.errors.ConfigurationError, match=r"8 rows.*horizon=7"):
        jax.eval_shape(replay.init, np.float32(0))
    replay = jb.Replay(32, None, 8, jb.Sequences(8), jb.Recent(horizon=8))
    batch = drawn(replay, filled(replay, told_apart(40)))
    np.testing.assert_array_equal(batch.index.time[:, 0], np.full(8, 32))


@pytest.mark.parametrize(
    "options",
    [{}, {"horizon": 3, "half_life": 2.0}]
    + [{"horizon": bad} for bad in (0, -1, 2.5, "3", True)]
    + [{"half_life": bad} for bad in (0, 0.05, -1, 2e9, np.nan, np.inf, "3", True)],
    ids=str,
)
def test_impossible_configurations_are_refused_by_name(options):
    with pytest.raises(jb.errors.ConfigurationError, match="|".join(options) or "horizon= or half_life="):
        jb.Recent(**options)
