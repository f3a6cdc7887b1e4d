"""Which episodes are drawn when the store changes, and what chooses none."""

import gc

import jax
import numpy as np
import pytest

import jaxbuffers as jb

from .twins import FLAGGED, flagged_store

KEY, VIEW = jax.random.key(0), jb.Items()


def full_store():
    """A store with four episodes of four rows, 3 to 6, and no room for more."""
    store = jb.EpisodeStore(row=FLAGGED, capacity=16)
    store.delete([store.add_episode(rows(1)) for _ in range(3)])
    for number in range(4):
        store.add_episode(rows(4), {"good": number % 2 == 1})
    return store


def rows(length):
    t = np.arange(length, dtype=np.int32)
    return {"t": t, "is_first": t == 0, "is_last": t == length - 1}


def drawn(*batches):
    return {episode for batch in batches for episode in np.asarray(batch.index.stream).tolist()}


def test_an_array_stays_with_its_episodes_however_the_store_changes():
    store = full_store()
    good = store.metadata["good"]  # 4 and 6
    batches = store.batches(VIEW, 40, where=good, prefetch=0)
    source = store.source(VIEW, where=good)
    assert drawn(next(batches)) == drawn(source(40, KEY)) == {4, 6}
    store.add_episode(rows(4), {"good": False})  # 3 leaves: as many as before, others
    assert drawn(next(batches)) == drawn(source(40, KEY)) == {4, 6}
    store.add_episode(rows(4), {"good": True})  # 4 leaves
    assert drawn(next(batches)) == drawn(source(40, KEY)) == {6}
    store.evict(3)
    for draw in (lambda: next(batches), lambda: source(40, KEY)):
        with pytest.raises(jb.errors.EmptyReplayError, match="where= leaves"):
            draw()
    assert drawn(store.batches(VIEW, 40, where=np.array([True]), prefetch=0).__next__()) == {8}


def test_a_function_finds_what_comes():
    store = full_store()
    batches = store.batches(VIEW, 40, where=lambda columns: columns["good"], prefetch=0)
    assert drawn(next(batches)) == {4, 6}
    store.add_episode(rows(4), {"good": True})
    assert drawn(next(batches)) == {4, 6, 7}


def test_an_array_that_was_given_before_episodes_came_or_went_is_refused():
    store = full_store()
    good = store.metadata["good"]
    for _ in range(2):
        assert drawn(store.sample(VIEW, 40, KEY, where=good)) == {4, 6}
    store.set(3, good=True)
    assert drawn(store.sample(VIEW, 40, KEY, where=good)) == {4, 6}  # the same episodes
    store.add_episode(rows(4), {"good": False})
    calls = (
        lambda where: store.sample(VIEW, 40, KEY, where=where),
        lambda where: store.count(VIEW, where),
        lambda where: store.batches(VIEW, 2, where=where),
        lambda where: store.source(VIEW, where=where),
        lambda where: store.refill(jb.Replay(16, None), where),
        lambda where: list(store.episodes(where)),
    )
    for call in calls:
        with pytest.raises(jb.errors.StaleIndexError, match="earlier state"):
            call(good)
        call(good.copy())  # what was made of it now is believed
    assert drawn(store.sample(VIEW, 40, KEY, where=store.metadata["good"])) == {4, 6}


def test_an_array_that_is_written_to_is_another_one():
    store = full_store()
    where = np.array([True, False, False, False])
    assert drawn(store.sample(VIEW, 9, KEY, where=where)) == {3}
    where[:] = [False, True, False, False]
    assert drawn(store.sample(VIEW, 9, KEY, where=where)) == {4}
    store.add_episode(rows(4))
    where[:] = [False, False, False, True]
    assert drawn(store.sample(VIEW, 9, KEY, where=where)) == {7}


def test_arrays_are_forgotten_with_their_owner():
    store = full_store()
    for _ in range(20):
        store.count(VIEW, np.ones(4, np.bool_))
    gc.collect()
    assert not store._sampling._arrays._seen


@pytest.mark.parametrize(
    "wrong",
    [
        [True, False],
        np.array([1, 0]),
        np.array([1.0, 0.0]),
        np.ma.MaskedArray([True, False], [False, False]),
        jax.numpy.array([True, False]),
        "a",
    ],
)
def test_only_bool_arrays_choose_whatever_was_given_before(wrong):
    store = flagged_store([4, 7])
    for before in (None, np.array([True, False])):
        if before is not None:
            store.count(VIEW, before)
        for call in (store.count, lambda view, where: store.batches(view, 2, where=where)):
            with pytest.raises(jb.errors.DtypeError):
                call(VIEW, wrong)
    with pytest.raises(jb.errors.ShapeError, match="2 episodes"):
        store.count(VIEW, np.ones(3, np.bool_))


def test_a_function_need_not_be_hashable():
    class Long(list):
        def __call__(self, columns):
            return columns["length"] > self[0]

    store = flagged_store([4, 7])
    assert store.count(VIEW, Long([5])) == 7
    assert store.count(VIEW, Long([3])) == 11


def test_a_column_that_is_missing_is_named_with_those_that_are_there():
    store = jb.EpisodeStore()
    store.add_episode({"x": np.zeros(3, np.float32)}, {"level": 1})

    def wrong(columns):
        return columns["levle"] * 1.0 > 0

    law = jb.episodes.WeightedEpisodes(wrong)
    for options in ({"where": wrong}, {"law": law}):
        with pytest.raises(KeyError, match="levle") as found:
            store.sample(jb.Items(), 2, jax.random.key(0), **options)
        (note,) = found.value.__notes__
        assert note == f"The columns of the store are {', '.join(store.metadata)}."
