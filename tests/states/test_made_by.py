"""A state is used by the configuration that made it, and by no other, in every verb."""

import copy
import pickle
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.states.made_by import MadeBy

from .replays import ROW, VERBS, by_group, favour_new, hindsight, replay_of, rows


def another_by_group():
    def by_group(rows):
        return 1 - rows["group"] % 2

    by_group.__qualname__ = "by_group"
    return by_group


MIXED = jb.Mix((0.5, jb.Uniform()), (0.5, jb.Prioritized()))
OTHERS = [
    (replay_of(), replay_of(length=24), ["rows of each stream: the state has 12, this replay has 24"]),
    (replay_of(streams=2), replay_of(streams=3), ["12 rows of each of 2 streams; this replay has 12 of each of 3"]),
    *(
        (replay_of(jb.Sequences(2), sampler), replay_of(jb.Sequences(4), sampler), ["required rows: the state has 2"])
        for sampler in (jb.Uniform(), jb.Prioritized(), jb.RankBased(), jb.WithoutReplacement(), jb.OnlineFirst())
    ),
    (
        replay_of(jb.FrameStack(jb.Items(), 1)),
        replay_of(jb.FrameStack(jb.Items(), 4)),
        ["rows of history: the state has 0, this replay has 3"],
    ),
    (replay_of(jb.Sequences(2)), replay_of(jb.Transitions()), ["kind of windows: the state has Contiguous", "Queued"]),
    (replay_of(jb.Transitions()), replay_of(jb.Sequences(2, "within", period=3)), ["period: the state has 1", "has 3"]),
    (replay_of(jb.Episodes(3)), replay_of(jb.Episodes(4)), ["longest episode: the state has 3, this replay has 4"]),
    (replay_of(), replay_of(hindsight(jb.Items())), ["bounds of episodes: the state has none"]),
    (
        replay_of(hindsight(jb.Sequences(2))),
        replay_of(hindsight(jb.Sequences(4))),
        ["required rows: the state has 2, this replay has 4"],
    ),
    (
        replay_of(sampler=jb.Prioritized()),
        replay_of(),
        ["sampler: the state has Prioritized(alpha=0.6, ", "this replay has Uniform()"],
    ),
    (replay_of(), replay_of(sampler=jb.Prioritized()), ["sampler: the state has one that remembers nothing"]),
    (replay_of(sampler=jb.Prioritized(0.6)), replay_of(sampler=jb.Prioritized(0.7)), ["alpha=0.6", "alpha=0.7"]),
    (replay_of(sampler=jb.Counted(jb.Uniform())), replay_of(sampler=jb.Counted(jb.RankBased())), ["Counted(", "0.7"]),
    (replay_of(sampler=jb.OnlineFirst()), replay_of(sampler=jb.OnlineFirst(jb.ByEpisode())), ["OnlineFirst(ByEpisode"]),
    (replay_of(sampler=MIXED), replay_of(sampler=jb.Mix(*MIXED.parts[::-1])), ["Mix(one that remembers nothing, Prio"]),
    (
        replay_of(sampler=jb.Clustered(by_group, 2)),
        replay_of(sampler=jb.Clustered(another_by_group(), 2)),
        ["sampler: two functions of one name; define it once"],
    ),
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("maker, other, words", OTHERS, ids=range(len(OTHERS)))
def test_every_verb_refuses_a_state_of_another_configuration_and_says_what_differs(maker, other, words, verb):
    with pytest.raises(jb.errors.ConfigurationError) as caught:
        VERBS[verb](other, maker.init(ROW))
    for part in words:
        assert part in str(caught.value)
    with pytest.raises(jb.errors.ConfigurationError, match="comes from another configuration"):
        VERBS[verb](maker, other.init(ROW))


@pytest.mark.parametrize("sampler", [jb.Prioritized(), jb.RankBased(), jb.OnlineFirst()], ids=repr)
def test_a_filled_state_of_another_window_is_refused_under_jit(sampler):
    """It read rows that were never added, with a full mask."""
    two, four = (jb.Replay(10, None, 4, jb.Sequences(n), sampler) for n in (2, 4))
    state = two.init(jnp.float32(0))
    with pytest.raises(jb.errors.ConfigurationError, match="required rows"):
        jax.eval_shape(four.sample, state, jax.random.key(0))


FORGETFUL = [
    jb.Uniform(),
    jb.Recent(horizon=3),
    jb.Recent(half_life=2.0),
    jb.Weighted(favour_new, replace=True),
    jb.Mix((0.5, jb.Uniform()), (0.5, jb.Recent(horizon=2))),
    jb.Mix((0.5, jb.Mix((1.0, jb.Uniform()))), (0.5, jb.Uniform())),
]


@pytest.mark.parametrize("sampler", long_but(FORGETFUL, quick=[0, 3]), ids=lambda sampler: type(sampler).__name__)
def test_samplers_that_remember_nothing_take_each_others_place(sampler):
    first, then = replay_of(sampler=FORGETFUL[0]), replay_of(sampler=sampler)
    values = rows(5) | {"obs": jnp.arange(5, dtype=jnp.float32)}
    state, own = (jax.jit(replay.add)(replay.init(ROW), values) for replay in (first, then))
    assert jax.tree.structure(state) == jax.tree.structure(own)
    sample, key = jax.jit(then.sample), jax.random.key(1)
    batch = sample(state, key)
    assert batch.valid
    jax.tree.map(np.testing.assert_array_equal, batch, sample(own, key))
    jax.eval_shape(first.sample, jax.eval_shape(then.add, state, values), jax.random.key(0))


@pytest.mark.parametrize(
    "one, other",
    [
        (replay_of(jb.Transitions()), replay_of(jb.Transitions(n_step=3, gamma=0.5))),
        (replay_of(), replace(replay_of(), batch_size=7)),
        (replay_of(jb.Sequences(3)), replay_of(jb.Sequences(3, burn_in=2, time_major=True))),
        (replay_of(), replay_of(streams=1)),
        (replay_of(sampler=MIXED), replay_of(sampler=jb.Mix((0.2, jb.Recent(horizon=2)), (0.8, jb.Prioritized())))),
        (replay_of(hindsight(jb.Items())), replay_of(hindsight(jb.FrameStack(jb.Items(), 1)))),
        (replay_of(layout="flat"), replay_of(layout="tiled")),
    ],
)
def test_what_changes_only_how_windows_are_read_may_change(one, other):
    for maker, user in ((one, other), (other, one)):
        jax.eval_shape(user.sample, maker.init(ROW), jax.random.key(0))


def test_a_sampler_that_remembers_and_says_it_does_not_is_refused():
    class Wrong(jb.Uniform):
        memory = None

        def init(self, windows):
            return jnp.zeros(2, jnp.float32)

    class Right(jb.Uniform):
        def init(self, windows):
            return jnp.zeros(2, jnp.float32)

    with pytest.raises(jb.errors.ConfigurationError, match="memory None"):
        replay_of(sampler=Wrong()).init(ROW)
    with pytest.raises(jb.errors.ConfigurationError, match="sampler"):
        replay_of().count(replay_of(sampler=Right()).init(ROW))


def test_a_state_whose_rows_lack_what_the_view_needs_is_refused():
    state = replay_of(jb.Sequences(2, "within")).init({"is_first": jnp.bool_(False)})
    with pytest.raises(jb.errors.MissingFieldError, match="Transitions"):
        replay_of(jb.Transitions()).sample(state, jax.random.key(0))


def test_equal_configurations_made_anew_are_traced_once():
    traced = []

    @jax.jit
    def size(state):
        traced.append(state)
        return jnp.sum(state.ring.size)

    for _ in range(3):
        size(copy.deepcopy(replay_of(jb.Transitions(), jb.Prioritized())).init(ROW))
    assert len(traced) == 1


def test_stacked_abstract_and_mapped_states_keep_their_maker():
    replay = replay_of(jb.Transitions(), jb.Prioritized(), length=4)
    state = replay.init(ROW)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), state, replay.init(ROW))
    assert stacked.made_by == state.made_by
    assert not jax.vmap(replay.can_sample)(stacked).any()
    abstract = jax.eval_shape(lambda: replay.init(ROW))
    assert jax.eval_shape(replay.add, abstract, rows()).made_by == state.made_by
    with pytest.raises(
        jb.errors.ShapeError, match=r"stacked, \(2, 4, 1\) instead of \(4, 1\): it goes through jax.vmap"
    ):
        replay.count(stacked)


@pytest.mark.parametrize(
    "wrong, words",
    [(jax.random.key(0), "got a PRNGKeyArray"), ({}, "got a dict"), (None, "got a NoneType")],
)
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_state_is_refused(verb, wrong, words):
    with pytest.raises(jb.errors.StructureError, match=f"must be a jb.ReplayState, {words}"):
        VERBS[verb](replay_of(), wrong)


def test_a_buffer_where_its_state_belongs_is_refused_by_name():
    buffer = jb.HostReplay(replay_of(), {"x": np.float32})
    with pytest.raises(jb.errors.StructureError, match=r"got a HostReplay. Give its state, buffer.state"):
        replay_of().size(buffer)


def test_the_facts_are_a_value_whose_hash_no_other_process_gets():
    made_by = replay_of(sampler=jb.Clustered(by_group, 2)).init(ROW).made_by
    assert isinstance(hash(made_by), int)
    for again in (pickle.loads(pickle.dumps(made_by)), copy.deepcopy(made_by)):
        assert "_hash" not in vars(again)
        assert (again, hash(again)) == (made_by, hash(made_by))
    assert made_by != MadeBy(made_by.facts[1:])
    assert made_by != "made_by"


LIMITER = jb.RateLimiter(0.5, 3, 2)
LIMITS = {
    "can_insert": lambda limiter, state: limiter.can_insert(state),
    "can_sample": lambda limiter, state: limiter.can_sample(state),
    "due": lambda limiter, state: limiter.due(state),
    "insert": lambda limiter, state: limiter.insert(state),
    "sample": lambda limiter, state: limiter.sample(state),
}


@pytest.mark.parametrize("verb", LIMITS)
def test_the_state_of_a_limiter_of_another_ratio_is_refused_and_another_tolerance_is_not(verb):
    for other, words in (
        (jb.RateLimiter(0.25, 3, 2), "samples_per_insert: the state has 1/4, this limiter has 1/2"),
        (jb.RateLimiter(0.5, 4, 2), "min_size: the state has 4, this limiter has 3"),
    ):
        with pytest.raises(jb.errors.ConfigurationError, match=words):
            LIMITS[verb](LIMITER, other.init())
    LIMITS[verb](LIMITER, jb.RateLimiter(0.5, 3, 10).init())


OBS, NO = jnp.zeros(2, jnp.float32), jnp.zeros(2, bool)
STEPS = {
    "row": lambda recorder, rec: recorder.row(rec, OBS),
    "step": lambda recorder, rec: recorder.step(rec, action=OBS, obs=OBS, reward=OBS, terminated=NO, truncated=NO),
    "finish": lambda recorder, rec: recorder.finish(rec, OBS),
    "reset": lambda recorder, rec: recorder.reset(rec, OBS),
}


@pytest.mark.parametrize("verb", STEPS)
def test_the_state_of_a_recorder_of_another_mode_is_refused(verb):
    rec = jb.Recorder("next_step").init(OBS)
    with pytest.raises(
        jb.errors.ConfigurationError, match="mode: the state has next_step, this recorder has same_step"
    ):
        STEPS[verb](jb.Recorder("same_step"), rec)
    with pytest.raises(jb.errors.StructureError, match=r"jb\.RecorderState"):
        STEPS[verb](jb.Recorder("same_step"), replay_of().init(ROW))


@pytest.mark.parametrize("verb", ["complete", "missing", "reset", "register"])
def test_the_state_of_a_rollout_of_another_size_is_refused_by_every_verb(verb):
    state = jb.Rollout(4, 2).init(x=jax.ShapeDtypeStruct((), jnp.float32))
    with pytest.raises(jb.errors.ShapeError, match="'x'"):
        getattr(jb.Rollout(4, 3), verb)(state, *(["y"] if verb == "register" else []))
