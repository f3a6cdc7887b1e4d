"""How many episodes a store keeps, beside how many rows."""

import numpy as np
import pytest

import jaxbuffers as jb


def test_no_more_episodes_are_kept_than_asked_the_newest_of_all():
    store, lengths = jb.EpisodeStore(capacity=20), [3, 5, 2, 4, 4, 1, 2, 2, 6, 1, 1]
    rows = [{"x": np.full((length, 1), i, np.float32)} for i, length in enumerate(lengths)]
    there, end = [], 0
    for count, most in ((2, 3), (1, 1), (3, None), (1, 2), (4, 3)):
        new = list(range(end, end + count))
        assert store.add_episodes([rows[i] for i in new], max_episodes=most).tolist() == new
        there, end = there + new, end + count
        while sum(lengths[i] for i in there) > 20 or (most is not None and len(there) > most):
            there = there[1:]
        assert store.metadata["id"].tolist() == there
        for i in there:
            assert store[i].rows["x"].tolist() == rows[i]["x"].tolist()
    with pytest.raises(jb.errors.ConfigurationError, match="max_episodes"):
        store.add_episodes(rows, max_episodes=0)
