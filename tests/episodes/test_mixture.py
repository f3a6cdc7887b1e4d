"""Mixtures: exact fractions, exact probabilities, and the windows of each source where they say."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget

import jaxbuffers as jb
from jaxbuffers.episodes import Mixture, RecentEpisodes
from jaxbuffers.episodes.shares import fractions_of, shares

from .twins import FLAGGED, flagged_store


def ring_of(rows, view=None):
    """A buffer of rows whose numbers begin at 100."""
    buffer = jb.HostReplay(jb.Replay(rows, None, 4, view or jb.Items()), FLAGGED, seed=3)
    for t in range(rows):
        buffer.insert(t=100 + t, is_first=t == 0, is_last=t == rows - 1)
    return buffer


@settings(max_examples=budget(100, 2000), deadline=None)
@given(
    weights=st.lists(st.integers(0, 20), min_size=1, max_size=5).filter(any),
    size=st.integers(1, 40),
    steps=st.integers(1, 50),
)
def test_every_part_is_rounded_up_or_down_and_its_mean_is_exact(weights, size, steps):
    parts = [Fraction(w, sum(weights)) for w in weights]
    totals = [0] * len(parts)
    for i in range(steps):  # offsets that are spread evenly: the mean over them is the mean over all
        counts = shares(parts, size, (2 * i + 1) * 2**64 // (2 * steps))
        assert sum(counts) == size
        for part, count in zip(parts, counts, strict=True):
            assert abs(count - part * size) < 1
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
    for part, total in zip(parts, totals, strict=True):
        assert abs(Fraction(total, steps) - part * size) <= Fraction(2, steps)
    if all((part * size).denominator == 1 for part in parts):
        assert all(shares(parts, size, bits) == [part * size for part in parts] for bits in (0, 2**63, 2**64 - 1))


@given(parts=st.lists(st.integers(0, 10**7), min_size=1, max_size=4).filter(any))
def test_floats_of_fractions_are_these_fractions(parts):
    exact = tuple(Fraction(part, sum(parts)) for part in parts)
    assert fractions_of([float(part) for part in exact]) == exact


def test_fractions_are_what_is_written():
    assert fractions_of([0.1, 0.2, 0.7]) == (Fraction(1, 10), Fraction(1, 5), Fraction(7, 10))
    assert fractions_of([1 / 3, 2 / 3]) == (Fraction(1, 3), Fraction(2, 3))
    assert fractions_of([Fraction(1, 7), Fraction(6, 7)]) == (Fraction(1, 7), Fraction(6, 7))
    assert fractions_of([1, 0]) == (1, 0)
    assert fractions_of([1e-7, 1 - 1e-7]) == (Fraction(1, 10**7), 1 - Fraction(1, 10**7))
    assert fractions_of([0.12345678, 0.87654322]) == (Fraction("0.12345678"), Fraction("0.87654322"))
    assert fractions_of([0.333333333333, 0.666666666667]) == (Fraction("0.333333333333"), Fraction("0.666666666667"))
    assert fractions_of([0.1 + 0.2, 1 - 0.9, 0.6]) == (Fraction(3, 10), Fraction(1, 10), Fraction(6, 10))
    for wrong in (
        [0.5, 0.4],
        [1.5, -0.5],
        [Fraction(3, 2), Fraction(-1, 2)],
        ["half", 0.5],
        [np.nan, 1.0],
        [1e-300, 1.0],
    ):
        with pytest.raises(jb.errors.ConfigurationError):
            fractions_of(wrong)


def test_a_batch_has_the_windows_of_each_source_and_says_which():
    store, other, ring = flagged_store([4, 7]), flagged_store([9]), ring_of(6)
    mixture = Mixture((0.5, ring), (0.25, store.source(jb.Items())), (0.25, other.source(jb.Items())))
    batch = mixture.sample(16, jax.random.key(0))
    assert batch.counts == (8, 4, 4)
    assert batch.source.tolist() == [0] * 8 + [1] * 4 + [2] * 4
    t = np.asarray(batch.data["t"])
    assert (t[:8] >= 100).all()
    assert (t[8:] < 9).all()
    wanted = np.repeat(np.float32([0.5 / 6, 0.25 / 11, 0.25 / 9]), [8, 4, 4])
    np.testing.assert_allclose(batch.probability, wanted, rtol=1e-6)
    assert batch.valid
    assert batch.mask.all()
    np.testing.assert_array_equal(batch.index.time[8:], t[8:])
    np.testing.assert_array_equal(batch.parts[0].index.time, batch.index.time[:8])
    ring.update(batch.parts[0].index, rows={"t": batch.parts[0].data["t"] + 1})  # it can be written back


def test_the_same_key_gives_the_same_batch_and_others_round_otherwise():
    store = flagged_store([4, 7])
    parts = [(Fraction(1, 3), store.source(jb.Items())), (Fraction(2, 3), store.source(jb.Items()))]
    counts = set()
    for seed in range(30):
        one, two = (Mixture(*parts).sample(4, jax.random.key(seed)) for _ in range(2))
        jax.tree.map(np.testing.assert_array_equal, one.batch, two.batch)
        counts.add(one.counts)
    assert counts == {(1, 3), (2, 2)}
    everything = Mixture((0.0, store.source(jb.Items())), (1.0, store.source(jb.Items()))).sample(3, jax.random.key(0))
    assert everything.counts == (0, 3)
    assert everything.parts[0] is None
    assert everything.source.tolist() == [1, 1, 1]


def test_time_major_windows_are_joined_along_their_axis():
    view = jb.Sequences(3, time_major=True)
    store, ring = flagged_store([4, 7]), ring_of(6, view)
    mixture = Mixture((0.25, ring), (0.75, store.source(view)))
    batch = mixture.sample(8, jax.random.key(0))
    assert batch.data["t"].shape == batch.mask.shape == (3, 8)
    assert ((np.asarray(batch.data["t"]) >= 100) == [True] * 2 + [False] * 6).all()


def test_pure_replays_and_laws_mix():
    replay = jb.Replay(8, 2, 4)
    state = replay.add(replay.init(jnp.float32(0)), jnp.arange(8, dtype=jnp.float32).reshape(4, 2))
    store = jb.EpisodeStore()
    for i in range(3):
        store.add_episode(np.full(3, 100 + i, np.float32))
    newest = store.source(jb.Items(), law=RecentEpisodes(episodes=1))
    mixture = Mixture((0.5, lambda size, key: replay.sample(state, key, size)), (0.5, newest))
    batch = mixture.sample(6, jax.random.key(1))
    assert (batch.data[:3] < 8).all()
    assert (batch.data[3:] == 102).all()
    np.testing.assert_allclose(batch.probability, np.repeat(np.float32([1 / 16, 1 / 6]), 3), rtol=1e-6)


def test_a_mixed_batch_goes_into_jitted_functions_as_it_is():
    store = flagged_store([4, 7])
    batch = Mixture((0.5, store.source(jb.Items())), (0.5, ring_of(6))).sample(4, jax.random.key(0))
    total = jax.jit(lambda batch: jnp.sum(batch.data["t"]) + jnp.sum(batch.source))(batch)
    assert int(total) == int(batch.data["t"].sum()) + 2


def test_what_cannot_be_mixed_is_refused():
    store = flagged_store([4])
    with pytest.raises(jb.errors.ConfigurationError, match="pairs"):
        Mixture()
    with pytest.raises(jb.errors.ConfigurationError, match="pairs"):
        Mixture(store.source(jb.Items()))
    with pytest.raises(jb.errors.ConfigurationError, match="a source is"):
        Mixture((1.0, store))
    with pytest.raises(jb.errors.ConfigurationError, match="add up to 1"):
        Mixture((0.5, store.source(jb.Items())))
    parts = (0.5, store.source(jb.Items())), (0.5, store.source(jb.Episodes(4)))
    with pytest.raises(jb.errors.StructureError, match="same view"):
        Mixture(*parts).sample(4, jax.random.key(0))
    empty = jb.EpisodeStore(row=FLAGGED)
    with pytest.raises(jb.errors.EmptyReplayError):
        Mixture((1.0, empty.source(jb.Items()))).sample(4, jax.random.key(0))
