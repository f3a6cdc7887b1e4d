"""Windows that lie within their episode in part: their rows are where they belong, and the rest is zero."""

import numpy as np
import pytest

import jaxbuffers as jb

LENGTHS = (3, 1, 7, 4)


@pytest.mark.parametrize("width", [1, 40, 3000])  # rows that are taken together, windows that are copied one by one
@pytest.mark.parametrize("disk", [False, True])
def test_rows_beyond_the_ends_are_zero(width, disk, tmp_path):
    random = np.random.default_rng(0)
    episodes = [random.integers(1, 256, (n, width), np.uint8) for n in LENGTHS]
    store = jb.EpisodeStore(tmp_path / "store" if disk else None, segment_bytes=4 * width)  # several segments
    ids = np.array([store.add_episode({"x": rows, "t": np.arange(len(rows), dtype=np.int16)}) for rows in episodes])
    assert len(set(store.metadata["segment"].tolist())) > 1
    for length in (1, 2, 5, 9):
        places = [(e, s) for e, n in enumerate(LENGTHS) for s in range(1 - length, n)]
        wanted = np.zeros((len(places), length, width), np.uint8)
        count = np.zeros((len(places), length), np.int16)
        for i, (e, s) in enumerate(places):
            for k in range(length):
                if 0 <= s + k < LENGTHS[e]:
                    wanted[i, k], count[i, k] = episodes[e][s + k], s + k
        starts = np.array([s for _, s in places])
        found = store.read(ids[[e for e, _ in places]], starts, length, pad=True)
        np.testing.assert_array_equal(found["x"], wanted)
        np.testing.assert_array_equal(found["t"], count)
    for start in (-2, 3):  # no row of the episode
        with pytest.raises(jb.errors.ShapeError, match="which has 3 rows"):
            store.read(ids[:1], [start], 2, pad=True)
    with pytest.raises(jb.errors.ShapeError, match="which has 3 rows"):
        store.read(ids[:1], [2], 2)
