"""Writers of a store in checkpoints: a run that goes on in the middle of episodes stores them whole."""

import chex
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.episodes.open_rows import WRITER
from jaxbuffers.errors import ConfigurationError, StoreError

ROW = {
    "x": np.zeros(2, np.float32),
    "is_first": np.bool_(0),
    "is_last": np.bool_(0),
    "is_terminal": np.bool_(0),
    "said": jb.text,
}
ENVS, STEPS = 3, 24


def rows(t):
    """Episodes of 5, 7 and 11 rows; the third environment says nothing now and then."""
    phase = np.array([t % 5, t % 7, t % 11])
    return {
        "x": np.stack([phase, np.full(ENVS, t)], 1).astype(np.float32),
        "is_first": phase == 0,
        "is_last": phase == np.array([4, 6, 10]),
        "is_terminal": np.array([phase[0] == 4, False, False]),
        "said": [f"step {t}", f"phase {phase[1]} \N{SNOWMAN} \ud800", None if t % 3 else "same"],
    }


def content(store):
    """What the episodes of a store hold, texts in words."""
    found = []
    for episode in store:
        said = store.texts.lookup(episode.rows["said"])
        arrays = {name: episode.rows[name].tolist() for name in ROW if name != "said"}
        found.append((episode.metadata["stream"], said, arrays))
    return found


def go_on(writer, begin, end):
    for t in range(begin, end):
        writer.add(rows(t))


@pytest.fixture(scope="module")
def whole():
    store = jb.EpisodeStore(row=ROW)
    writer = store.writer(ENVS)
    go_on(writer, 0, STEPS)
    writer.close()
    return content(store)


@pytest.mark.parametrize("at", [0, 3, 13])
@pytest.mark.parametrize("more", [0, 9])
def test_a_run_that_goes_on_stores_the_same_episodes(tmp_path, whole, at, more):
    with jb.EpisodeStore(tmp_path / "store", row=ROW) as store:
        writer = store.writer(ENVS)
        go_on(writer, 0, at)
        jb.checkpoint.save(tmp_path / "run", {"writer": writer, "t": np.int32(at)}, store=store)
        go_on(writer, at, at + more)  # lost, as in a run that is killed
        writer.close("drop")
    with jb.EpisodeStore(tmp_path / "store", row=ROW) as store:
        writer = store.writer(ENVS)
        like = {"writer": writer, "t": np.int32(0)}
        run = jb.checkpoint.restore(tmp_path / "run", like, store=store, later="drop").tree
        assert run["writer"] is writer
        go_on(writer, int(run["t"]), STEPS)
        writer.close()
        assert content(store) == whole


def test_what_lies_behind_the_last_row_of_an_episode_is_not_saved():
    writer = jb.EpisodeStore(row=ROW).writer(ENVS)
    go_on(writer, 0, 13)
    before = WRITER.part(writer)
    for leaf in writer._open:
        for e, count in enumerate(writer.open_rows.tolist()):
            leaf[e, count:] = 1
    after = WRITER.part(writer)
    assert before.facts == after.facts
    chex.assert_trees_all_equal(before.tree, after.tree)


def test_another_writer_is_refused_and_keeps_its_rows(tmp_path):
    store = jb.EpisodeStore(row=ROW)
    writer = store.writer(ENVS)
    go_on(writer, 0, 3)
    jb.checkpoint.save(tmp_path / "run", writer)
    other = store.writer(2)
    with pytest.raises(ConfigurationError, match="streams: saved 3, here 2"):
        jb.checkpoint.restore(tmp_path / "run", other)
    assert other.open_rows.tolist() == [0, 0]
    plain = jb.EpisodeStore(row={name: leaf for name, leaf in ROW.items() if name != "said"}).writer(ENVS)
    with pytest.raises(ConfigurationError, match="row: saved"):
        jb.checkpoint.restore(tmp_path / "run", plain)
    writer.close("drop")
    with pytest.raises(StoreError, match="closed"):
        jb.checkpoint.restore(tmp_path / "run", writer)


def test_one_without_an_axis_of_environments(tmp_path):
    store = jb.EpisodeStore(row=ROW)
    writer = store.writer()
    one = {name: value[0] for name, value in rows(0).items()}
    writer.add(one)
    jb.checkpoint.save(tmp_path / "run", writer)
    fresh = jb.EpisodeStore(row=ROW)
    again = fresh.writer()
    jb.checkpoint.restore(tmp_path / "run", again)
    again.add({name: value[0] for name, value in rows(4).items()})
    assert content(fresh)[0][1] == ["step 0", "step 4"]
