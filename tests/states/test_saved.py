"""A saved state says what made it, and is restored into nothing else."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

import jaxbuffers as jb

from .replays import ROW, by_group, hindsight, replay_of, rows
from .test_made_by import FORGETFUL, LIMITER, another_by_group

TWO = replay_of(jb.Sequences(2), jb.Prioritized())


def filled(replay):
    return jax.jit(replay.add)(replay.init(ROW), rows(3))


def test_a_state_comes_back_whole_from_msgpack_and_pickle():
    state = filled(TWO)
    for again in (
        serialization.from_bytes(TWO.init(ROW), serialization.to_bytes(state)),
        serialization.from_bytes(jax.eval_shape(lambda: TWO.init(ROW)), serialization.to_bytes(state)),
        pickle.loads(pickle.dumps(state)),
    ):
        assert jax.tree.structure(again) == jax.tree.structure(state)
        jax.tree.map(np.testing.assert_array_equal, again, state)
        assert TWO.count(again) == 2


def test_stacked_states_come_back_too():
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), filled(TWO))
    target = jax.tree.map(jnp.zeros_like, stacked)
    jax.tree.map(
        np.testing.assert_array_equal, serialization.from_bytes(target, serialization.to_bytes(stacked)), stacked
    )
    with pytest.raises(jb.errors.ShapeError, match=r"leaf 'adds' of shape \(2,\)"):
        serialization.from_bytes(TWO.init(ROW), serialization.to_bytes(stacked))


@pytest.mark.parametrize(
    "maker, target, words",
    [
        (TWO, replay_of(jb.Sequences(4), jb.Prioritized()), "required rows: the saved state has 2, the target has 4"),
        (TWO, replay_of(jb.Sequences(2), jb.Prioritized(0.5)), r"sampler: .*alpha=0\.6.*alpha=0\.5"),
        (TWO, replay_of(jb.Sequences(2)), "sampler: .*the target has one that remembers nothing"),
        (replay_of(), replay_of(jb.FrameStack(jb.Items(), 3)), "rows of history: the saved state has 0"),
        (replay_of(hindsight(jb.Items())), replay_of(), "bounds of episodes: .* the target has none"),
        (replay_of(length=12), replay_of(length=13), "rows of each stream: the saved state has 12, the target has 13"),
    ],
)
def test_another_configuration_is_refused_and_what_differs_is_named(maker, target, words):
    saved = serialization.to_bytes(maker.init(ROW))
    with pytest.raises(jb.errors.ConfigurationError, match=words):
        serialization.from_bytes(target.init(ROW), saved)


def test_other_rows_are_refused():
    saved = serialization.to_bytes(replay_of().init({"x": jnp.float32(0), "y": jnp.int32(0)}))
    with pytest.raises(
        jb.errors.ConfigurationError, match="row: the saved state has x: float32, y: int32, the target has x: "
    ):
        serialization.from_bytes(replay_of().init({"x": jnp.int32(0), "y": jnp.int32(0)}), saved)


def test_samplers_that_remember_nothing_are_restored_into_each_other():
    saved = serialization.to_bytes(replay_of(sampler=FORGETFUL[0]).init(ROW))
    for sampler in FORGETFUL[1:]:
        serialization.from_bytes(replay_of(sampler=sampler).init(ROW), saved)


def test_functions_are_known_by_name():
    """In another process they are other objects."""
    saved = serialization.to_bytes(replay_of(sampler=jb.Clustered(by_group, 2)).init(ROW))
    other = replay_of(sampler=jb.Clustered(another_by_group(), 2))
    assert other.count(serialization.from_bytes(other.init(ROW), saved)) == 0
    with pytest.raises(jb.errors.ConfigurationError, match=r"by=by_group.*by='group'"):
        serialization.from_bytes(replay_of(sampler=jb.Clustered("group", 2)).init(ROW), saved)


def tampered(change):
    saved = serialization.msgpack_restore(serialization.to_bytes(filled(TWO)))
    change(saved)
    return serialization.msgpack_serialize(saved)


@pytest.mark.parametrize(
    "change, error, words",
    [
        (lambda saved: saved.pop("made_by"), jb.errors.StructureError, "no saved ReplayState: it has no 'made_by'"),
        (lambda saved: saved.pop("ring"), jb.errors.StructureError, "'ring'"),
        (lambda saved: saved.update(rows=1), jb.errors.StructureError, "has more: 'rows'"),
        (
            lambda saved: saved.update(made_by=np.zeros(3, np.uint8)),
            jb.errors.StructureError,
            "does not say what made it",
        ),
        (lambda saved: saved.update(made_by="1"), jb.errors.StructureError, "does not say what made it"),
        (
            lambda saved: saved["ring"].update(time=np.zeros(2, np.int32)),
            jb.errors.ShapeError,
            r"leaf 'ring.time' .*\(2,\)",
        ),
        (
            lambda saved: saved.update(dropped=np.zeros((), np.int64)),
            jb.errors.DtypeError,
            "leaf 'dropped' .*int64.*int32",
        ),
        (lambda saved: saved.update(dropped={}), jb.errors.StructureError, "the leaves"),
    ],
)
def test_what_is_no_whole_saved_state_is_refused_by_name(change, error, words):
    with pytest.raises(error, match=words):
        serialization.from_bytes(TWO.init(ROW), tampered(change))


def test_the_entry_is_an_array_that_every_way_to_save_takes():
    words = serialization.to_state_dict(TWO.init(ROW))["made_by"]
    assert (words.dtype, words.ndim) == (np.uint8, 1)
    assert b'"required rows": "2"' in words.tobytes()
    again = serialization.to_state_dict(jax.tree.map(jnp.asarray, TWO.init(ROW)))["made_by"]
    np.testing.assert_array_equal(words, again)


def test_limiters_and_recorders_are_saved_likewise():
    rec, state = jb.Recorder("next_step").init(jnp.zeros(2, jnp.float32)), LIMITER.insert(LIMITER.init())
    for saved, same, other, words in (
        (state, LIMITER.init(), jb.RateLimiter(0.25, 3, 2).init(), "samples_per_insert: the saved state has 1/2"),
        (
            rec,
            jb.Recorder("next_step").init(jnp.ones(2, jnp.float32)),
            jb.Recorder("disabled").init(jnp.zeros(2, jnp.float32)),
            "mode: ",
        ),
    ):
        data = serialization.to_bytes(saved)
        jax.tree.map(np.testing.assert_array_equal, serialization.from_bytes(same, data), saved)
        with pytest.raises(jb.errors.ConfigurationError, match=words):
            serialization.from_bytes(other, data)


def test_a_buffer_takes_back_its_own_state_and_says_why_it_refuses_another():
    fields = {"x": np.float32}
    two, four = (jb.HostReplay(replay_of(jb.Sequences(n), jb.Prioritized()), fields) for n in (2, 4))
    for _ in range(3):
        two.insert(x=1.0)
    with pytest.raises(jb.errors.ConfigurationError, match="required rows: the state has 2, this replay has 4"):
        four.state = two.state
    with pytest.raises(jb.errors.StructureError, match="required rows: 2"):
        four.from_bytes(two.to_bytes())
    restored = serialization.from_bytes(two.state, serialization.to_bytes(two.state))
    two.state = restored
    assert two.count() == 2
