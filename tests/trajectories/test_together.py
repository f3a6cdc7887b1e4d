"""Trajectories that come together are one transaction, and one search for their texts."""

import pytest

from jaxbuffers.texts.file import TextFile
from jaxbuffers.trajectories import TrajectoryPool
from trajectories.made import trajectory


def test_the_oldest_leave_in_the_transaction_in_which_new_ones_come(tmp_path):
    with TrajectoryPool(tmp_path / "pool", max_trajectories=2) as pool:
        pool.extend([trajectory(0), trajectory(1)])
        with TrajectoryPool.open(tmp_path / "pool") as reader:
            before = reader.stores[0].table().revision
            pool.extend([trajectory(2), trajectory(3)])
            assert reader.refresh()
            assert reader.stores[0].table().revision == before + 1, "one transaction"
            assert reader.metadata["id"].tolist() == [2, 3]


@pytest.mark.parametrize("stored", [False, True])
def test_trajectories_that_come_together_ask_the_file_for_their_texts_together(tmp_path, monkeypatch, stored):
    asked = []
    query = TextFile.query
    monkeypatch.setattr(TextFile, "query", lambda self, *given: (asked.append(given), query(self, *given))[1])
    many = [trajectory(i, 10) for i in range(20)]
    with TrajectoryPool(tmp_path / "pool") as pool:
        if stored:
            pool.extend(many)
        asked.clear()
        pool.extend(many)
        assert list(pool)[-20:] == many_as_stored(many)
        texts = len(pool.texts)
    assert len([given for given in asked if "digest IN" in given[0]]) <= texts // 500 + 1


def many_as_stored(many):
    with TrajectoryPool() as memory:
        memory.extend(many)
        return list(memory)
