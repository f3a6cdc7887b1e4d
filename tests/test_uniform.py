"""Uniform draws: exact integer arithmetic, and goodness of fit with the power of each test computed and asserted.

Keys are fixed, so every test gives the same answer each time. A chi-square test is only worth its power, so
each one first shows that it would reject the defect it is there for with probability above 0.999.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import Every, fits, quick_jit
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.numerics.random_bits import below, bits64


def flat(cells):
    return np.full(cells, 1 / cells)


def never(cells, which):
    """Uniform, but one window is never drawn."""
    return np.where(np.arange(cells) == which, 0, 1 / (cells - 1))


def doubled(cells):
    """The second half is drawn twice as often as the first, as where a length exceeds the capacity."""
    weights = np.where(np.arange(cells) < cells // 2, 1.0, 2.0)
    return weights / weights.sum()


def one_off(cells):
    """One window takes half of its neighbor's share: an off-by-one at the edge of a range."""
    share = flat(cells)
    share[-1], share[-2] = share[-1] * 1.5, share[-2] * 0.5
    return share


def defects(cells):
    return {
        "the newest window is never drawn": never(cells, cells - 1),
        "the oldest window is never drawn": never(cells, 0),
        "2:1 bias": doubled(cells),
        "a neighbor's share": one_off(cells),
    }


def rows(first):
    """Rows ``[S, E]`` with the given is_first."""
    number = np.arange(first.size, dtype=np.int32).reshape(first.shape)
    return jb.Row(number, number, np.float32(0) * number.astype(np.float32), first, np.zeros_like(first), first)


def draw(replay, state, key, size=None):
    return quick_jit(replay.sample, static_argnums=2)(state, key, size)


def filled(view, length, num_envs, steps, seed=0, mask=0.8):
    """A replay of random episodes and its state."""
    rng = np.random.default_rng(seed)
    replay = jb.Replay(length * num_envs, num_envs, 256, view)
    data = rows(rng.random((steps, num_envs)) < 0.2)
    written = rng.random((steps, num_envs)) < mask
    state = replay.init(jax.tree.map(lambda x: x[0, 0], data))
    add = quick_jit(lambda state: jax.lax.scan(lambda s, x: (replay.add(s, *x), None), state, (data, written))[0])
    return replay, add(state)


def legal_windows(replay, state):
    """The (stream, start) of every legal window, oldest first within each stream."""
    batch = draw(replace(replay, sampler=Every()), state, jax.random.key(0), replay.capacity)
    real = np.asarray(batch.probability) > 0
    return address(batch.index)[real]


def address(index):
    """One number for each window: stream and time of its first row."""
    stream, time = (np.asarray(x).reshape(len(x), -1)[:, 0].astype(np.int64) for x in (index.stream, index.time))
    return stream << 32 | time


@pytest.mark.parametrize(
    "view",
    long_but(
        [jb.Items(), jb.Transitions(3), jb.Sequences(4), jb.Sequences(4, "within"), jb.Sequences(3, "pad")],
        quick=[0, 3],  # windows by their number, and windows in a queue
    ),
    ids=str,
)
@pytest.mark.parametrize("num_envs", long_but([1, 5], quick=[1]))
def test_every_legal_window_is_equally_likely(view, num_envs):
    replay, state = filled(view, 16, num_envs, steps=70, mask=0.8 if num_envs > 1 else 1.0)
    legal = legal_windows(replay, state)
    drawn = address(draw(replay, state, jax.random.key(1), 60_000).index)
    where = np.searchsorted(np.sort(legal), drawn)
    np.testing.assert_array_equal(np.sort(legal)[where], drawn)
    counts = np.bincount(where, minlength=len(legal))
    fits(counts, flat(len(legal)), defects(len(legal)))


def test_a_stream_is_drawn_as_often_as_it_has_windows():
    # Streams of very different sizes: drawing the stream uniformly first would over-weight the short ones.
    replay = jb.Replay(64, 4, 8, jb.Items())
    data = rows(np.zeros((16, 4), bool))
    written = np.arange(16)[:, None] < np.array([1, 16, 0, 7])
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0, 0], data)), data, written)
    stream = np.asarray(draw(replay, state, jax.random.key(2), 100_000).index.stream)
    counts = np.bincount(stream, minlength=4)
    assert counts[2] == 0
    fits(counts[[0, 1, 3]], np.array([1, 16, 7]) / 24, {"each stream alike": flat(3)})


def test_a_step_of_a_short_episode_is_as_likely_as_one_of_a_long_episode():
    # Two pairs in the short episode, 28 in the long one; drawing the episode first gives each half.
    replay = jb.Replay(32, None, 8, jb.Transitions())
    data = jax.tree.map(lambda x: x[:, 0], rows(np.isin(np.arange(32), (0, 3))[:, None]))
    state = quick_jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], data)), data)
    start = np.asarray(draw(replay, state, jax.random.key(3), 50_000).index.time)
    counts = np.array([np.sum(start < 3), np.sum(start >= 3)])
    fits(counts, np.array([2, 28]) / 30, {"episodes first": np.array([0.5, 0.5]), "a quarter": np.array([0.25, 0.75])})


def joint(first, second, cells):
    return np.bincount(first * cells + second, minlength=cells**2)


def test_draws_of_one_batch_are_independent():
    cells, batches, size = 8, 4000, 64
    replay = jb.Replay(cells, None, size)
    state = quick_jit(replay.add)(replay.init(jnp.float32(0)), jnp.arange(8, dtype=jnp.float32))
    keys = jax.random.split(jax.random.key(4), batches)
    drawn = np.asarray(quick_jit(jax.vmap(lambda key: replay.sample(state, key).index.time))(keys))
    null, same = flat(cells**2), np.eye(cells).reshape(-1) / cells
    wrong = {
        "no two alike in a batch": (1 - np.eye(cells)).reshape(-1) / (cells * (cells - 1)),
        "one in 20 draws repeats another": 0.95 * null + 0.05 * same,
    }
    for lag in (1, 2, size // 2):  # neighbors, and the two halves of a batch
        halves = drawn.reshape(batches, -1, 2, lag)
        fits(joint(halves[:, :, 0].reshape(-1), halves[:, :, 1].reshape(-1), cells), null, wrong)


def test_draws_of_different_keys_are_independent():
    cells, size = 8, 100_000
    replay = jb.Replay(cells, None, size)
    state = quick_jit(replay.add)(replay.init(jnp.float32(0)), jnp.arange(8, dtype=jnp.float32))
    one, other = (np.asarray(draw(replay, state, key).index.time) for key in jax.random.split(jax.random.key(5)))
    same = 0.95 * flat(cells**2) + 0.05 * np.eye(cells).reshape(-1) / cells
    fits(joint(one, other, cells), flat(cells**2), {"one in 20 draws is the other key's": same})


@pytest.mark.long  # quick: tests/contract/test_contract.py
def test_equal_keys_give_equal_batches():
    replay, state = filled(jb.Transitions(), 16, 2, steps=40)
    one, other = (draw(replay, state, jax.random.key(6)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_probability_is_one_over_the_number_of_legal_windows():
    for view in budget((jb.Sequences(3, "within"),), (jb.Items(), jb.Transitions(2), jb.Sequences(3, "within"))):
        replay, state = filled(view, 16, 3, steps=50)
        batch = draw(replay, state, jax.random.key(7))
        want = np.float32(1) / np.float32(len(legal_windows(replay, state)))
        np.testing.assert_array_equal(batch.probability, np.full(256, want))
        assert batch.probability.dtype == np.float32


TOTALS = [1, 2, 3, 5, 7, 2**15 + 1, 2**16, 2**16 - 1, 2**16 + 1, 10**6, 2**24 + 1, 2**28 + 12345, 2**29 - 1, 2**29]
TOTALS = long_but(TOTALS, quick=[0, 3, 6, 8, 11, 13])


@pytest.mark.parametrize("total", TOTALS)
def test_below_is_the_floor_of_64_random_bits_times_the_total(total):
    count = 5_000
    key = jax.random.key(total)
    got = np.asarray(quick_jit(below, static_argnums=2)(key, jnp.int32(total), count))
    high, low = (np.asarray(x).tolist() for x in bits64(key, count))
    want = [(upper << 32 | lower) * total >> 64 for upper, lower in zip(high, low, strict=True)]
    np.testing.assert_array_equal(got, want)
    assert got.dtype == np.int32


EDGES = sorted(
    {
        (base + step) % 2**32
        for base in (0, 2**15, 2**16, 2**17, 2**31, 0xFFFF0000, 2**32 // 3)
        for step in (-2, -1, 0, 1)
    }
)


@pytest.mark.parametrize("total", TOTALS)
def test_below_carries_exactly_at_the_edges_of_its_words(total, monkeypatch):
    # Bits chosen so that products and carries sit right at their limits; random ones never do.
    limits = [-(-(rank << 64) // total) % 2**64 for rank in {1, 2, total // 2, total - 1}]
    wide = [upper << 32 | lower for upper in EDGES for lower in EDGES]
    wide += [(limit + step) % 2**64 for limit in limits for step in (-1, 0, 1)]
    words = jnp.array([[u >> 32 for u in wide], [u & 0xFFFFFFFF for u in wide]], jnp.uint32)
    monkeypatch.setattr("jaxbuffers.numerics.random_bits.bits64", lambda key, count: tuple(words))
    got = np.asarray(below(jax.random.key(0), jnp.int32(total), len(wide)))
    np.testing.assert_array_equal(got, [u * total >> 64 for u in wide])


def test_below_nothing_is_zero():
    np.testing.assert_array_equal(below(jax.random.key(0), jnp.int32(0), 100), np.zeros(100))


def test_an_empty_replay_gives_probability_zero_and_says_that_it_is_not_valid():
    replay = jb.Replay(8, 2, 4, jb.Transitions())
    state = replay.init(jax.tree.map(lambda x: x[0, 0], rows(np.zeros((1, 1), bool))))
    batch = draw(replay, state, jax.random.key(0))
    assert not batch.valid
    assert not batch.mask.any()
    np.testing.assert_array_equal(batch.probability, np.zeros(4))


def test_many_streams_are_searched_as_exactly_as_few():
    # More than 64 streams take another search; empty streams in between must never be drawn.
    streams = 100
    replay = jb.Replay(streams * 4, streams, 8)
    data = rows(np.zeros((4, streams), bool))
    size = np.random.default_rng(8).integers(0, 5, streams)
    state = quick_jit(replay.add)(
        replay.init(jax.tree.map(lambda x: x[0, 0], data)), data, np.arange(4)[:, None] < size
    )
    drawn = draw(replay, state, jax.random.key(8), 100_000)
    stream, time = np.asarray(drawn.index.stream), np.asarray(drawn.index.time)
    assert (time < size[stream]).all()
    cells = np.flatnonzero(np.arange(4) < size[:, None])
    counts = np.bincount(stream * 4 + time, minlength=streams * 4)
    assert counts.sum() == counts[cells].sum()
    fits(counts[cells], flat(len(cells)), defects(len(cells)))
