"""Batches read ahead: in order, the same as without, ended as they should be, and with errors that come through."""

import gc
import threading
import time
import weakref
from dataclasses import dataclass

import jax
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.episodes import ShuffledEpochs
from jaxbuffers.episodes.prefetch import Prefetched

from .twins import flagged_store

VIEW = jb.Sequences(2)


def arrays(batches):
    return [(batch.data["t"].tolist(), batch.index.stream.tolist(), batch.probability.tolist()) for batch in batches]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "jaxbuffers-prefetch"]


def wait_for(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in ten seconds")


@pytest.mark.parametrize("law", [None, ShuffledEpochs(3)])
def test_the_same_seed_gives_the_same_batches_read_ahead_or_not_and_resumed_anywhere(law):
    store = flagged_store([4, 7, 3])
    plain = arrays(store.batches(VIEW, 5, 8, seed=2, law=law, prefetch=0))
    assert len(plain) == 8
    assert len({str(batch) for batch in plain}) > 4  # they differ
    for ahead in (1, 3, 20):
        assert arrays(store.batches(VIEW, 5, 8, seed=2, law=law, prefetch=ahead)) == plain
    first = store.batches(VIEW, 5, seed=2, law=law)
    assert arrays(next(first) for _ in range(3)) == plain[:3]
    place = first.place  # although more have been read ahead
    first.close()
    assert place.step == 3
    assert arrays(store.batches(VIEW, 5, 5, place=place)) == plain[3:]
    with pytest.raises(jb.errors.ConfigurationError, match="place="):
        store.batches(VIEW, 5, place=place, seed=2)
    if law is not None:  # 11 windows: 40 drawn are three epochs and seven windows
        seen = [(e[0], t[0]) for t_, e_, _ in plain for t, e in zip(t_, e_, strict=True)]
        assert all(len(set(seen[i : i + 11])) == 11 for i in (0, 11, 22))
        assert place.law == ShuffledEpochs(3, 1, 4, 11)


def test_errors_come_through_in_their_place_and_again():
    store = flagged_store([4])
    batches = store.batches(jb.Sequences(5), 2)
    for _ in range(2):
        with pytest.raises(jb.errors.EmptyReplayError, match="no legal window"):
            next(batches)
    wait_for(lambda: not threads())

    def make(step):
        if step == 2:
            raise KeyError("third")
        return step

    results = Prefetched(make, None, 5)
    wait_for(lambda: not threads())  # the error is there before anything is taken
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError, match="third"):
        next(results)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_ends_the_iteration_made_ahead_or_not(prefetch, monkeypatch):
    store = flagged_store([4])
    sample, asked = store.sample, []

    def failing(*args, **options):
        asked.append(1)
        if len(asked) == 2:
            raise OSError("the second")
        return sample(*args, **options)

    monkeypatch.setattr(store, "sample", failing)
    batches = store.batches(VIEW, 2, 5, prefetch=prefetch)
    next(batches)
    for _ in range(3):
        with pytest.raises(OSError, match="the second"):
            next(batches)
    assert len(asked) == 2
    assert batches.place.step == 1
    batches.close()
    assert list(batches) == []


def test_ctrl_c_costs_no_batch(monkeypatch):
    store = flagged_store([4])
    sample, asked = store.sample, []

    def interrupted(*args, **options):
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return sample(*args, **options)

    monkeypatch.setattr(store, "sample", interrupted)
    batches = store.batches(VIEW, 2, 3, prefetch=0)
    next(batches)
    with pytest.raises(KeyboardInterrupt):
        next(batches)
    assert len(list(batches)) == 2


def test_a_closed_or_forgotten_iterator_leaves_no_thread():
    store = flagged_store([4, 7])
    with store.batches(VIEW, 2) as batches:
        next(batches)
        assert len(threads()) == 1
    assert not threads()
    assert list(batches) == []
    batches = store.batches(VIEW, 2)
    next(batches)
    batches.close()
    batches.close()
    assert not threads()
    batches = store.batches(VIEW, 2)
    gone = weakref.ref(batches)
    next(batches)
    del batches
    gc.collect()
    assert gone() is None
    wait_for(lambda: not threads())
    assert len(list(store.batches(VIEW, 2, steps=0))) == 0


def test_no_more_is_read_ahead_than_asked_for():
    made = []
    results = Prefetched(lambda step: made.append(step) or step, None, 3)
    wait_for(lambda: len(made) >= 3)
    time.sleep(0.05)
    assert made == [0, 1, 2]
    next(results)
    wait_for(lambda: len(made) == 4)
    results.close()


def test_threads_share_an_iterator():
    store = flagged_store([4, 7])
    batches, taken = store.batches(VIEW, 2, 40), []

    def take():
        for batch in batches:
            taken.append(str(arrays([batch])))

    several = [threading.Thread(target=take) for _ in range(3)]
    [thread.start() for thread in several]
    [thread.join() for thread in several]
    assert sorted(taken) == sorted(str([each]) for each in arrays(store.batches(VIEW, 2, 40, prefetch=0)))


def test_the_device_of_the_caller_is_that_of_the_batches():
    store = flagged_store([4, 7])
    device = jax.devices()[3]
    with jax.default_device(device), store.batches(VIEW, 2, 2) as batches:
        for batch in batches:
            assert {x.devices() == {device} for x in jax.tree.leaves(batch.batch)} == {True}


def test_texts_of_batches_that_wait_are_kept():
    store = jb.EpisodeStore(row={"mission": jb.text})
    store.add_episode({"mission": ["go", "left"]})
    with store.batches(jb.Items(), 2, prefetch=2) as batches:
        wait_for(lambda: len(batches.waiting()) == 2)
        assert all(set(batch.text("mission")) <= {"go", "left"} for batch in batches.waiting())


def test_batches_of_other_sizes_and_seeds_are_refused():
    store = flagged_store([4])
    for given in ({"batch_size": 0}, {"batch_size": 2, "seed": -1}, {"batch_size": 2, "prefetch": -1}):
        with pytest.raises(jb.errors.ConfigurationError):
            store.batches(VIEW, **given)
    with pytest.raises(jb.errors.ConfigurationError, match="law must be a Law"):
        store.batches(VIEW, 2, law="uniform")


def test_episodes_that_leave_between_the_draw_and_the_reading_are_drawn_anew():
    store = flagged_store([4, 7, 5])

    @dataclass(frozen=True)
    class Leaving(jb.Items):
        pass

    view, read = Leaving(), store._sampling.read

    def leaving(view, draw, key):
        if len(store) == 3:
            store.evict(2)
        return read(view, draw, key)

    store._sampling.read = leaving
    batch = store.sample(view, 20, jax.random.key(0))
    assert set(np.asarray(batch.index.stream).tolist()) == {5}
