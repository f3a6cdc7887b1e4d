"""The arrays of a state are its own: no verb returns one that it was given, and those of NumPy are copied in."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb

from .replays import INDEX, ROW, VERBS, by_group, replay_of, rows

# The contract suite looks at every sampler.
SAMPLERS = [
    jb.Uniform(),
    jb.OnlineFirst(jb.Mix((0.5, jb.Prioritized()), (0.5, jb.Counted(jb.Clustered(by_group, 2))))),
    jb.Counted(jb.Prioritized()),
]
NUMBERED = rows(3) | {"obs": jnp.arange(3, dtype=jnp.float32)}


def buffers(tree):
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array) and leaf.size]


def assert_apart(new, *old):
    """No buffer of ``new`` comes twice in it, or is in ``old``."""
    mine, theirs = buffers(new), buffers(old)
    assert mine
    assert len(set(mine)) == len(mine)
    assert not set(mine) & set(theirs)


def writes(replay):
    priority = jnp.ones(2, jnp.float32) if replay.sampler.takes_priority else None
    return {
        "add": lambda state: replay.add(state, NUMBERED),
        "add nothing": lambda state: replay.add(state, rows(0)),
        "add under a mask": lambda state: replay.add(state, rows(), jnp.bool_(False)),
        "use": lambda state: replay.update(state, INDEX, priority=priority),
        "rewrite": lambda state: replay.update(state, INDEX, rows={"obs": jnp.ones(2, jnp.float32)}),
        "fence": lambda state: jb.fence(state, replay.sample(state, jax.random.key(0))),
    }


@pytest.mark.parametrize("sampler", long_but(SAMPLERS, quick=[0]), ids=lambda sampler: type(sampler).__name__)
def test_eager_verbs_return_no_array_that_they_were_given(sampler):
    replay = replay_of(jb.Transitions(), sampler)
    state = jax.jit(replay.add)(replay.init(ROW), NUMBERED)
    for write in writes(replay).values():
        assert_apart(write(state), state)
    assert_apart(replay.sample(state, jax.random.key(0)), state)
    assert_apart(jb.stats(state), state)


@pytest.mark.parametrize("sampler", long_but(SAMPLERS[:2], quick=[0]), ids=lambda sampler: type(sampler).__name__)
def test_compiled_verbs_return_none_either(sampler):
    replay = replay_of(jb.Transitions(), sampler)
    state = jax.jit(replay.add)(replay.init(ROW), NUMBERED)
    for name in ("add nothing", "use"):
        assert_apart(jax.jit(writes(replay)[name])(state), state)


def test_donating_what_an_eager_verb_returned_leaves_the_first_state_alive():
    replay = replay_of(sampler=jb.Prioritized())
    first = replay.add(replay.init(ROW), NUMBERED)
    second = replay.update(first, INDEX, priority=jnp.ones(2, jnp.float32))
    third = jax.jit(lambda state: jax.tree.map(jnp.copy, state), donate_argnums=0)(second)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(second))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((first, third)))
    assert int(replay.size(first)) == 3


@pytest.mark.long  # quick: eager verbs, above
def test_an_eager_vmap_of_a_verb_returns_none_that_it_was_given():
    replay = replay_of(sampler=jb.Prioritized(), length=4)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), replay.init(ROW))
    index, priority = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), (INDEX, jnp.ones(2, jnp.float32)))
    update = jax.vmap(lambda state, index, priority: replay.update(state, index, priority=priority))
    assert_apart(update(stacked, index, priority), stacked)


@pytest.mark.parametrize("sampler", SAMPLERS[:2], ids=lambda sampler: type(sampler).__name__)
def test_no_array_comes_twice_in_a_fresh_state(sampler):
    for view in (jb.Items(), jb.Episodes(3)):
        replay = replay_of(view, sampler)
        for init in (replay.init, jax.jit(lambda row, replay=replay: replay.init(row))):
            state = init(ROW)
            assert_apart(state)
            jax.jit(lambda state: state, donate_argnums=0)(state)


def test_arrays_that_a_sampler_gives_twice_are_told_apart():
    class Twice(jb.Uniform):
        def init(self, windows):
            zeros = jnp.zeros(3, jnp.float32)
            return zeros, zeros

    assert_apart(replay_of(sampler=Twice()).init(ROW))


def test_rollouts_share_nothing_with_what_they_were_given():
    rollout, data = jb.Rollout(4, 2), jnp.ones((4, 2), jnp.float32)
    state = rollout.init(x=jax.ShapeDtypeStruct((), jnp.float32), y=jax.ShapeDtypeStruct((3,), jnp.int32))
    assert_apart(state)
    for new in (
        rollout.register(state, "z"),
        rollout.update(state, "x", 1, data[0]),
        rollout.batch_update(state, "x", data),
        rollout.reset(state),
        rollout.flatten(rollout.batch_update(rollout.init(x=data[0, 0]), "x", data)),
    ):
        assert_apart(new, state, data)


def test_limiters_share_nothing_with_what_they_were_given():
    limiter = jb.RateLimiter(1, 1, 2)
    state = limiter.init()
    assert_apart(state)
    for new in (limiter.insert(state), limiter.sample(state), limiter.insert(state, 0)):
        assert_apart(new, state)


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
def test_recorders_share_nothing_with_what_they_were_given(mode):
    recorder, obs, no = jb.Recorder(mode), jnp.zeros((2, 3), jnp.float32), jnp.zeros(2, bool)
    rec = recorder.init(obs)
    out = {"action": obs + 1, "obs": obs + 2, "reward": jnp.ones(2, jnp.float32), "terminated": no, "truncated": no}
    given = (rec, obs, out)
    assert_apart(rec, obs)
    for extras in ((), obs + 3):
        assert_apart(recorder.step(rec, **out, extras=extras), given, extras)
    assert_apart(recorder.finish(rec, obs), given)
    assert_apart(recorder.reset(rec, obs, jnp.ones(2, bool)), given)


def test_remapped_states_share_nothing_with_what_they_were_made_of():
    here, there = jb.TextTable(), jb.TextTable()
    replay = replay_of()
    state = replay.init({"x": jb.text})
    ids = there.intern(["a"])
    state = replay.add(state, {"x": ids[0]})
    remap = here.merge(there)
    new = remap.rows(state)
    assert_apart(new, state)
    restored = jax.tree.map(np.asarray, state)
    jax.tree.map(np.testing.assert_array_equal, remap.rows(restored), new)


def as_numpy(tree):
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


@pytest.mark.parametrize("sampler", long_but(SAMPLERS, quick=[0]), ids=lambda sampler: type(sampler).__name__)
def test_a_state_of_numpy_arrays_does_what_its_own_does(sampler):
    replay = replay_of(jb.Transitions(), sampler)
    state = jax.jit(replay.add)(replay.init(ROW), NUMBERED)
    for verb in itertools.chain(writes(replay).values(), (lambda state, v=v: v(replay, state) for v in VERBS.values())):
        jax.tree.map(np.testing.assert_array_equal, verb(as_numpy(state)), verb(state))
    jax.tree.map(np.testing.assert_array_equal, jb.stats(as_numpy(state)), jb.stats(state))


def test_what_its_owner_writes_into_a_numpy_array_later_changes_no_state():
    replay = replay_of()
    state = jax.jit(replay.add)(replay.init(ROW), NUMBERED)
    given = as_numpy(state)
    index = as_numpy(INDEX)
    new = replay.update(given, index)
    jax.tree.map(lambda leaf: leaf.fill(1), (given, index))
    jax.tree.map(np.testing.assert_array_equal, new, state)


def test_an_index_and_a_priority_of_numpy_are_taken_too():
    replay = replay_of(sampler=jb.Prioritized())
    state = jax.jit(replay.add)(replay.init(ROW), NUMBERED)
    for verb in (
        lambda index, priority: replay.update(state, index, priority=priority),
        lambda index, _: replay.get(state, index),
        lambda index, _: replay.age(state, index),
    ):
        jax.tree.map(
            np.testing.assert_array_equal,
            verb(as_numpy(INDEX), np.ones(2, np.float32)),
            verb(INDEX, jnp.ones(2, jnp.float32)),
        )


def test_rollouts_limiters_and_recorders_take_numpy_arrays_too():
    rollout, limiter, recorder = jb.Rollout(2, 2), jb.RateLimiter(1, 1, 2), jb.Recorder("next_step")
    obs, no = jnp.zeros(2, jnp.float32), jnp.zeros(2, bool)
    out = {"action": obs, "obs": obs, "reward": obs, "terminated": no, "truncated": no}
    for state, verbs in (
        (rollout.init(x=obs[0]), (lambda s: rollout.update(s, "x", 0, obs), rollout.reset, rollout.complete)),
        (limiter.init(), (limiter.insert, limiter.sample, limiter.due)),
        (recorder.init(obs), (lambda s: recorder.step(s, **out), lambda s: recorder.reset(s, obs))),
    ):
        for verb in verbs:
            jax.tree.map(np.testing.assert_array_equal, verb(as_numpy(state)), verb(state))


@pytest.mark.parametrize(
    "leaf, error, words",
    [
        (np.array(1, ">i4"), jb.errors.DtypeError, "leaf 'dropped' has dtype >i4"),
        (np.array("1"), jb.errors.DtypeError, "leaf 'dropped'"),
        (1, jb.errors.DtypeError, "leaf 'dropped' is 1 of type int"),
    ],
)
def test_leaves_that_jax_cannot_hold_as_they_are_are_refused_by_name(leaf, error, words):
    replay = replay_of()
    with pytest.raises(error, match=words):
        replay.size(replay.init(ROW).replace(dropped=leaf))
