"""Batches drawn ahead: what is drawn when, what is taken back, and what a sweep spares."""

import gc

import jax.numpy as jnp
import pytest

import jaxbuffers as jb
from host.shells import shell
from jaxbuffers.errors import ConfigurationError, EmptyReplayError


def fill(buffer, numbers):
    for i in numbers:
        buffer.insert(mission=f"m{i}", notes=[], reward=i)


def draws(batches, number):
    return [next(batches).data["reward"].tolist() for _ in range(number)]


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_an_iterator_waits_for_rows_without_using_up_draws_or_steps(prefetch):
    buffer, plain = shell(), shell()
    batches = buffer.batches(5, prefetch=prefetch)
    for _ in range(3):
        with pytest.raises(EmptyReplayError, match="among 0 rows"):
            next(batches)
    for each in (buffer, plain):
        fill(each, range(4))
    expected = [plain.sample().data["reward"].tolist() for _ in range(5)]
    assert draws(batches, 2) == expected[:2]
    full, buffer.state = buffer.state, shell().state
    for _ in range(min(prefetch, 3)):  # these were drawn before
        next(batches)
    with pytest.raises(EmptyReplayError) if prefetch < 3 else pytest.raises(StopIteration):
        next(batches)
    buffer.state = full
    assert len(list(batches)) == 3 - min(prefetch, 3)


def test_draws_of_others_are_not_taken_back():
    buffer = shell()
    fill(buffer, range(4))
    batches, full = buffer.batches(batch_size=16, prefetch=1), buffer.state
    next(batches)
    buffer.state = shell().state
    next(batches)  # and draws one where there is nothing
    buffer.state = full
    seen = [buffer.sample(16).data["reward"].tolist()]
    with pytest.raises(EmptyReplayError):
        next(batches)
    seen += draws(batches, 3)
    assert len(set(map(tuple, seen))) == 4


@pytest.mark.parametrize("prefetch", [0, 2, 5])
def test_a_sweep_inside_the_loop_spares_what_was_drawn_ahead(prefetch):
    table = jb.TextTable()
    buffer, other = shell(table=table), shell(table=table)
    for each in (buffer, other):
        fill(each, range(4))
    beside = other.batches(20, prefetch=prefetch)
    freed = 0
    for step, batch in enumerate(buffer.batches(20, prefetch=prefetch)):
        for found in (batch, next(beside)):
            assert found.text("mission") == [f"m{reward:.0f}" for reward in found.data["reward"].tolist()]
        for each in (buffer, other):
            fill(each, range(4 * step + 4, 4 * step + 8))
        freed += buffer.sweep(states=[other.state]) + other.sweep(states=[buffer.state])
    assert freed == 4 * 20
    assert len(table) == 4


def test_an_iterator_that_was_given_up_keeps_nothing():
    buffer = shell()
    fill(buffer, range(4))
    batches = buffer.batches(batch_size=64, prefetch=1)
    next(batches)
    fill(buffer, range(4, 8))
    assert buffer.sweep() == 0
    assert set(buffer.text_ids().tolist()) >= set(buffer.table.intern([f"m{i}" for i in range(8)]).tolist())
    del batches
    gc.collect()
    assert buffer.sweep() == 4
    assert set(buffer.text_ids().tolist()) - {-1} == set(buffer.table.ids().tolist())


@pytest.mark.parametrize("size", [0, True, 1.5, "2"])
def test_the_size_of_a_batch_is_checked_at_once(size):
    buffer = shell()
    for draw in (buffer.sample, buffer.batches):
        with pytest.raises(ConfigurationError, match="batch_size"):
            draw(batch_size=size)


def even(windows):
    return jnp.zeros(windows.age.shape, jnp.float32)


@pytest.mark.parametrize("smaller_first", [False, True])
def test_a_batch_of_more_windows_than_there_are_is_refused_whatever_was_drawn_before(smaller_first):
    buffer, fresh = (shell(capacity=16, sampler=jb.Weighted(even)) for _ in range(2))
    for each in (buffer, fresh):
        fill(each, range(3))
    if smaller_first:
        assert buffer.sample(2).valid
        assert fresh.sample(2).valid
    for draw in (lambda: buffer.sample(8), lambda: next(buffer.batches(batch_size=8))):
        with pytest.raises(EmptyReplayError, match=r"Weighted\(.*no batch of 8 among 3 legal windows .* in 3 rows"):
            draw()
    assert sorted(buffer.sample(3).data["reward"].tolist()) == [0, 1, 2]
    fresh.sample(3)
    for each in (buffer, fresh):
        fill(each, range(3, 8))
    assert sorted(buffer.sample(8).data["reward"].tolist()) == list(range(8))
    fresh.sample(8)
    assert buffer.sample(2).data["reward"].tolist() == fresh.sample(2).data["reward"].tolist()
