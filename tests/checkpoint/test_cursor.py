"""A store beside a checkpoint: where it was is noted, and what came later is reported, dropped or kept, as asked."""

import pytest

import jaxbuffers as jb


class Store:
    """As much of a store as a checkpoint sees."""

    def __init__(self, name="a"):
        self.name, self.ids = name, []

    def checkpoint(self):
        return {"store": self.name, "last": self.ids[-1] if self.ids else -1}

    def restore_check(self, cursor):
        if cursor["store"] != self.name:
            raise jb.errors.CheckpointError(
                f"the store is {self.name}, the checkpoint was saved with {cursor['store']}"
            )
        return [i for i in self.ids if i > cursor["last"]]

    def delete(self, ids):
        self.ids = [i for i in self.ids if i not in ids]


@pytest.fixture
def saved(tmp_path):
    store = Store()
    store.ids = [0, 1, 2]
    jb.checkpoint.save(tmp_path / "run", {"x": 1}, store=store)
    return tmp_path / "run", store


def test_a_store_as_it_was_is_content(saved):
    path, store = saved
    found = jb.checkpoint.restore(path, {"x": 0}, store=store)
    assert found.store == {"store": "a", "last": 2}
    assert isinstance(store, jb.checkpoint.Durable)


@pytest.mark.parametrize("later, left", [("drop", [0, 1, 2]), ("keep", [0, 1, 2, 3, 7])])
def test_later_episodes_are_reported_dropped_or_kept(saved, later, left):
    path, store = saved
    store.ids += [3, 7]
    with pytest.raises(jb.errors.CheckpointError, match=r'2 episodes were committed .* from 3 on: .*later="drop"'):
        jb.checkpoint.restore(path, {"x": 0}, store=store)
    with pytest.raises(jb.errors.StructureError):  # nothing is dropped where something else does not fit
        jb.checkpoint.restore(path, {"y": 0}, store=store, later=later)
    assert store.ids == [0, 1, 2, 3, 7]
    jb.checkpoint.restore(path, {"x": 0}, store=store, later=later)
    assert store.ids == left


def test_another_store_or_none_is_refused_by_name(saved, tmp_path):
    path, _ = saved
    with pytest.raises(jb.errors.CheckpointError, match="the store is b, the checkpoint was saved with a"):
        jb.checkpoint.restore(path, {"x": 0}, store=Store("b"))
    jb.checkpoint.save(tmp_path / "bare", {"x": 1})
    with pytest.raises(jb.errors.CheckpointError, match="was saved without a store; leave store out"):
        jb.checkpoint.restore(tmp_path / "bare", {"x": 0}, store=Store())
    for call in (
        lambda: jb.checkpoint.save(tmp_path / "no", 1, store=3),
        lambda: jb.checkpoint.restore(path, {"x": 0}, store=3),
    ):
        with pytest.raises(jb.errors.ConfigurationError, match="store must be"):
            call()
    with pytest.raises(jb.errors.ConfigurationError, match="later must be one of"):
        jb.checkpoint.restore(path, {"x": 0}, store=Store(), later="no")
