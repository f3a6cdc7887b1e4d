"""A store beside a checkpoint: where it was is noted, and what came later is reported, dropped or kept, as asked."""

import numpy as np
import pytest

import jaxbuffers as jb


class Store:
    """As much of a store as a checkpoint sees."""

    def __init__(self, ids, born=0.0):
        self.ids, self.born = np.array(ids, np.int64), born

    @property
    def metadata(self):
        return {"id": self.ids, "length": self.ids + 5, "time": self.ids + self.born, "mine": self.ids * 0}

    def delete(self, ids):
        self.ids = np.setdiff1d(self.ids, ids)


@pytest.fixture
def path(tmp_path):
    jb.checkpoint.save(tmp_path / "run", {"x": 1}, store=Store([0, 1, 4]))
    return tmp_path / "run"


def restored(path, store, **options):
    return jb.checkpoint.restore(path, {"x": 0}, store=store, **options)


def test_a_store_as_it_was_is_content(path):
    found = restored(path, Store([0, 1, 4]))
    assert (found.store["episodes"], found.store["last"]) == (3, 4)
    assert isinstance(Store([]), jb.checkpoint.Durable)
    jb.checkpoint.save(f"{path}-empty", {"x": 1}, store=Store([]))
    restored(f"{path}-empty", Store([]))


@pytest.mark.parametrize("later, left", [("drop", [0, 1, 4]), ("keep", [0, 1, 4, 5, 7])])
def test_later_episodes_are_reported_dropped_or_kept(path, later, left):
    store = Store([0, 1, 4, 5, 7])
    with pytest.raises(
        jb.errors.CheckpointError, match=r'committed after .* was saved, 2 from id 5 on: .*later="drop"'
    ):
        restored(path, store)
    with pytest.raises(jb.errors.StructureError):  # nothing is dropped where something else does not fit
        jb.checkpoint.restore(path, {"y": 0}, store=store, later=later)
    assert store.ids.tolist() == [0, 1, 4, 5, 7]
    restored(path, store, later=later)
    assert store.ids.tolist() == left


def test_episodes_that_have_left_are_reported_unless_that_is_known(path):
    for later in ("error", "drop"):
        store = Store([1, 4, 5])
        with pytest.raises(jb.errors.CheckpointError, match=r"has lost episodes since .* was saved, 1 of 3"):
            restored(path, store, later=later)
        assert store.ids.tolist() == [1, 4, 5]
    restored(path, Store([1, 4, 5]), later="keep")


def test_another_store_or_none_is_refused_by_name(path):
    for later in ("error", "drop", "keep"):
        with pytest.raises(jb.errors.CheckpointError, match="was saved with another store"):
            restored(path, Store([0, 1, 4, 5], born=0.5), later=later)
    jb.checkpoint.save(f"{path}-bare", {"x": 1})
    with pytest.raises(jb.errors.CheckpointError, match="was saved without a store; leave store out"):
        restored(f"{path}-bare", Store([]))
    for call in (lambda: jb.checkpoint.save(f"{path}-no", 1, store=3), lambda: restored(path, 3)):
        with pytest.raises(jb.errors.ConfigurationError, match=r"store must be a jb\.EpisodeStore"):
            call()
    with pytest.raises(jb.errors.ConfigurationError, match="later must be one of"):
        restored(path, Store([]), later="no")
