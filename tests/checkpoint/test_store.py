"""A run with a store of episodes: killed after a save, and resumed with the store as it was."""

import numpy as np
import pytest

import jaxbuffers as jb

from .test_buffers import buffer_of


def play(store, run, episodes):
    """Episodes that depend on all that came before."""
    for _ in range(episodes):
        length = 2 + run["step"] % 5
        store.add_episode({"obs": np.full(length, run["step"] + len(store), np.float32)}, {"step": run["step"]})
        run = {"step": run["step"] + 1}
    return run


def contents(store):
    return [(int(step), store[int(i)].rows["obs"].tolist()) for i, step in zip(*columns(store), strict=True)]


def columns(store):
    return store.metadata["id"], store.metadata["step"]


def test_a_resumed_run_finds_the_store_as_it_was(tmp_path):
    with jb.EpisodeStore(tmp_path / "whole") as store:
        play(store, {"step": 0}, 9)
        whole = contents(store)
    with jb.EpisodeStore(tmp_path / "cut") as store:
        run = play(store, {"step": 0}, 4)
        jb.checkpoint.save(tmp_path / "run", run, store=store, metadata="four")
        play(store, run, 3)  # lost: killed here
    with jb.EpisodeStore(tmp_path / "cut") as store:
        with pytest.raises(jb.errors.CheckpointError, match="3 from id 4 on"):
            jb.checkpoint.restore(tmp_path / "run", run, store=store)
        run = jb.checkpoint.restore(tmp_path / "run", run, store=store, later="drop").tree
        assert len(store) == 4
        play(store, run, 5)
        assert contents(store) == whole
        store.evict(1)
        with pytest.raises(jb.errors.CheckpointError, match=r"has lost episodes since .* 1 of 4"):
            jb.checkpoint.restore(tmp_path / "run", run, store=store, later="drop")
        jb.checkpoint.restore(tmp_path / "run", run, store=store, later="keep")
    with jb.EpisodeStore() as other:
        play(other, {"step": 0}, 9)
        with pytest.raises(jb.errors.CheckpointError, match="with another store"):
            jb.checkpoint.restore(tmp_path / "run", run, store=other, later="keep")


def test_texts_of_a_store_are_its_own(tmp_path):
    """They are in its file already, and a checkpoint that has them too brings nothing new."""
    with jb.EpisodeStore(tmp_path / "store") as store:
        ids = store.texts.intern(["a", "b"])
        jb.checkpoint.save(tmp_path / "run", 1, tables=store.texts, store=store)
        jb.checkpoint.restore(tmp_path / "run", 0, tables={"texts": store.texts}, store=store)
        assert store.texts.lookup(ids) == ["a", "b"]


def test_a_buffer_is_saved_and_loaded_beside_an_iterator_over_a_store(tmp_path):
    with jb.EpisodeStore() as store:
        store.add_episode({"obs": np.zeros(4, np.float32)})
        batches = store.batches(jb.Items(), 2)
        next(batches)
        buffer = buffer_of(rows=3)
        buffer.save(tmp_path / "run")
        fresh = buffer_of()
        fresh.load(tmp_path / "run")
        assert len(fresh) == 3
        next(batches)
