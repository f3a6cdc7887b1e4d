"""Mistakes that are easily made: the message says what to do instead."""

import numpy as np
import pytest

import jaxbuffers as jb

REPLAY = jb.Replay(capacity=8, num_envs=None, batch_size=2, view=jb.Items())
FLAGS = {"x": np.float32, "is_first": np.bool_, "is_last": np.bool_, "is_terminal": np.bool_}


def empty():
    return jb.HostReplay(REPLAY, {"x": np.float32, "page": jb.text})


MISTAKES = {
    "a table by its path": (lambda: jb.HostReplay(REPLAY, {"x": np.float32}, table="a.db"), "TextTable\\(path\\)"),
    "a key as seed": (lambda: jb.HostReplay(REPLAY, {"x": np.float32}, seed=None), "seed must be an int"),
    "a 64-bit field": (lambda: jb.HostReplay(REPLAY, {"x": float}), "declare it numpy.float32"),
    "an unknown field": (lambda: empty().insert(x=0.0, page="a", y=1), "unknown fields: y"),
    "a missing field": (lambda: empty().insert(x=0.0), "missing fields: page"),
    "no number": (lambda: empty().insert(x=[0.1], page="a"), "give a number"),
    "a key for sample": (lambda: empty().sample(0.5), "batch_size"),
    "a dtype in init": (lambda: REPLAY.init({"x": np.float32}), "is a dtype; give jax.ShapeDtypeStruct"),
    "a str in a row": (lambda: REPLAY.init({"m": "go"}), "table.intern"),
    "a call of jb.text": (lambda: jb.text(8), "jb.text\\[8\\]"),
    "one bucket": (lambda: jb.Tokens(jb.TextTable(), str.split, 8, buckets=4), "\\(4,\\)"),
    "a name as tokenizer": (lambda: jb.Tokens(jb.TextTable(), "gpt2", 8), "tokenizer must be"),
    "a path to merge": (lambda: jb.TextTable().merge("a.db"), "TextTable\\(path\\)"),
    "a folder that is not there": (lambda: jb.TextTable("/nowhere/at/all.db"), "make it first"),
    "chat messages": (lambda: jb.intern_messages(jb.TextTable(), [[{"role": "user"}]], 2), "json.dumps"),
    "a sweep of rows": (lambda: jb.TextTable().sweep(filled().sample().data), "as pins"),
    "an id of a remap": (lambda: jb.TextTable().lookup(-2), "Remap"),
    "one batch as dataset": (lambda: jb.BatchDataset(filled().sample()), "\\[batch\\]"),
    "a float as index": (lambda: jb.WindowDataset(filled())[1.0], "int"),
    "one trajectory for extend": (lambda: demos().extend([{"observation": "a"}]), "list of trajectories"),
    "terminal, not last": (
        lambda: jb.HostReplay(REPLAY, FLAGS).insert(x=0, is_first=False, is_last=False, is_terminal=True),
        "terminal row is the last",
    ),
}


def filled():
    one = empty()
    one.insert(x=0.5, page="a")
    return one


def demos():
    return jb.Demonstrations(capacity=8, image_features=np.zeros(2, np.float32))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_helps(mistake):
    call, words = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError, LookupError, RuntimeError), match=words):
        call()


def test_a_masked_row_may_hold_any_flags():
    one = jb.HostReplay(jb.Replay(8, 2, 2, jb.Items()), FLAGS)
    flags = {name: np.array([name == "is_terminal", False]) for name in FLAGS if name != "x"}
    one.add({"x": np.zeros(2, np.float32)} | flags, mask=np.array([False, True]))
    assert len(one) == 1


def test_batches_of_an_iterator_make_a_dataset():
    assert len(jb.BatchDataset(filled().batches(3))) == 3


def test_a_dataset_of_demonstrations_has_the_names_of_what_was_inserted():
    one, screens = demos(), np.eye(2, dtype=np.float32)
    step = {"observation": "a", "action": "go", "image_features": screens[0], "reward": 1.0, "done": True}
    step |= {"next_observation": "b", "next_image_features": screens[1]}
    one.insert(**step)
    item = one.dataset()[0]
    assert set(item) == {*step, "mc_return"}
    assert (item["observation"], item["action"], item["next_observation"]) == ("a", "go", "b")
    assert bool(item["done"])
    assert next(one.batches(1)).text("next_observation") == ["b", "b"]


def test_float64_probabilities_are_refused():
    with pytest.raises(jb.errors.DtypeError, match="probability"):
        jb.importance_weights(np.ones(3), 5, beta=0.4)
    with pytest.raises(jb.errors.DtypeError, match="float"):
        jb.importance_weights(np.ones(3, np.int32), 5, beta=0.4)
