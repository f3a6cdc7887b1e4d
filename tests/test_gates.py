"""state.adds counts calls, stays one number under vmap whatever is added, and keeps a lax.cond on it a branch."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.testing import assert_gated, assert_in_place

SEEDS, ENVS, STEPS = 8, 4, 12
KEYS = jax.random.split(jax.random.key(0), SEEDS)
ROW = {"x": jnp.zeros(3), "group": jnp.int32(0), **dict.fromkeys(("is_first", "is_last"), jnp.bool_(False))}
WITHIN = jb.Sequences(3, "within")
PARTS = [
    pytest.param(jb.Items(), jb.Uniform(), marks=pytest.mark.long),
    (WITHIN, jb.Prioritized()),
    pytest.param(WITHIN, jb.ByEpisode(), marks=pytest.mark.long),
    pytest.param(jb.Sequences(3, "pad"), jb.OnlineFirst(jb.RankBased()), marks=pytest.mark.long),
    pytest.param(jb.Episodes(4), jb.Counted(jb.WithoutReplacement()), marks=pytest.mark.long),
    pytest.param(
        jb.Sequences(3, "within", period=2),
        jb.Mix((0.5, jb.Recent(horizon=9)), (0.5, jb.Clustered("group", groups=2))),
        marks=pytest.mark.long,
    ),
]


def replay_of(view=WITHIN, sampler=None, length=16):
    return jb.Replay(ENVS * length, ENVS, 8, view, sampler or jb.Uniform())


def random_rows(key, *lead):
    keys = jax.random.split(key, 4)
    first, last = (jax.random.bernoulli(key, 0.3, (*lead, ENVS)) for key in keys[:2])
    group = jax.random.randint(keys[2], (*lead, ENVS), 0, 2, jnp.int32)
    return {"x": jax.random.normal(keys[3], (*lead, ENVS, 3)), "group": group, "is_first": first, "is_last": last}


def random_mask(key, *lead):
    return jax.random.bernoulli(key, 0.5, (*lead, ENVS))


def test_adds_counts_the_calls_whatever_their_masks_and_nothing_else():
    replay, key = replay_of(), jax.random.key(0)

    @jax.jit
    def run(state):
        found = [state.adds]
        for lead, mask in [((), None), ((), False), ((3,), True), ((5,), None)]:
            mask = None if mask is None else jnp.full((*lead, ENVS), mask)
            state = replay.add(state, random_rows(key, *lead), mask)
            found.append(state.adds)
        batch = replay.sample(state, key)
        state = replay.update(state, batch.index, rows={"x": batch.data["x"]})
        state = jb.fence(replay.add(state, random_rows(key, 0)), batch)  # no rows: nothing was added
        return [*found, state.adds, jb.stats(state)["adds"]]

    found = run(replay.init(ROW))
    assert {(adds.shape, adds.dtype.name) for adds in found} == {((), "int32")}
    assert list(map(int, found)) == [0, 1, 2, 3, 4, 4, 4]


def test_adds_stays_at_the_largest_number_instead_of_going_round():
    replay = replay_of(jb.Items())
    state = replace(replay.init(ROW), adds=jnp.int32(2**31 - 3))
    found = []
    for _ in range(4):
        state = jax.jit(replay.add)(state, random_rows(jax.random.key(0)))
        found.append(int(state.adds))
    assert found == [2**31 - 2, 2**31 - 1, 2**31 - 1, 2**31 - 1]


def loop(replay, masked=True, gate=None, learn=None, steps=STEPS):
    """Use every verb in a scan, for one seed."""

    def step(state, key):
        rows, mask = random_rows(key, 2), random_mask(key, 2) if masked else None
        state = replay.add(state, rows, mask)
        if gate is not None:
            return lax.cond(gate(state), learn, lambda state, key: state, state, key), None
        batch = replay.sample(state, key)
        priority = jnp.abs(batch.probability) if replay.sampler.takes_priority else None
        state = replay.update(state, batch.index, priority=priority, rows={"x": jnp.ones((*batch.mask.shape, 3))})
        return jb.fence(state, batch), None

    return lambda key: lax.scan(step, replay.init(ROW), jax.random.split(key, steps))[0]


def shared(fn):
    """Whether what a function of a key returns is the same for all keys, by what vmap knows."""
    try:
        jax.eval_shape(jax.vmap(fn, out_axes=None), KEYS)
    except ValueError as error:
        if "out_axes" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("view, sampler", PARTS, ids=lambda part: type(part).__name__)
def test_adds_is_one_number_for_all_seeds_whatever_is_added_read_and_written(view, sampler):
    run = loop(replay_of(view, sampler))
    states = jax.eval_shape(jax.vmap(run), KEYS)
    axes = replace(jax.tree.map(lambda _: 0, states), adds=None)
    assert jax.eval_shape(jax.vmap(run, out_axes=axes), KEYS).adds.shape == ()
    with pytest.raises(ValueError, match="out_axes"):
        jax.eval_shape(jax.vmap(run, out_axes=replace(axes, ring=replace(axes.ring, size=None))), KEYS)


def test_without_masks_sizes_are_one_for_all_seeds_too_and_what_episodes_decide_is_not():
    """docs/vmap.md says which gates survive."""
    for view, counts in ((jb.Sequences(3), True), (WITHIN, False)):
        replay = replay_of(view)
        run = loop(replay, masked=False)
        assert shared(lambda key, replay=replay, run=run: replay.size(run(key)))
        for verb in (replay.count, replay.can_sample):
            assert shared(lambda key, verb=verb, run=run: verb(run(key))) == counts


def test_a_rollout_in_step_with_the_loop_is_complete_for_all_seeds_at_once():
    rollout = jb.Rollout(num_steps=3, num_envs=2)

    def run(key):
        def step(state, t):
            return rollout.update(state, "x", t, jax.random.normal(key, (2,))), None

        return lax.scan(step, rollout.init(x=jax.ShapeDtypeStruct((), jnp.float32)), jnp.arange(3, dtype=jnp.int32))[0]

    assert shared(lambda key: rollout.complete(run(key)))
    assert not shared(lambda key: run(key).data["x"])


def test_what_a_recorder_writes_in_next_step_mode_is_masked_alike_for_all_seeds():
    def run(mode, key):
        recorder = jb.Recorder(mode)
        rec = recorder.init(jax.random.normal(key, (ENVS, 2)))
        ends = {"terminated": jax.random.bernoulli(key, shape=(ENVS,)), "truncated": jnp.zeros(ENVS, jnp.bool_)}
        for _ in range(3):
            out = {"action": jnp.zeros(ENVS, jnp.int32), "obs": rec.obs, "reward": jnp.zeros(ENVS)}
            rec, _, mask = recorder.step(rec, **out, **ends)
        return mask

    assert shared(lambda key: run("next_step", key))
    assert not shared(lambda key: run("same_step", key))


def training(gate):
    """Loops of 8 seeds, with rings of 1 MB, that write back what was sampled as soon as a gate says so."""
    replay = replay_of(length=2048)

    def learn(state, key):
        batch = replay.sample(state, key)
        return replay.update(state, batch.index, rows={"x": jnp.sin(batch.data["x"])})

    return jax.vmap(loop(replay, gate=lambda state: gate(replay, state), learn=learn))


def by_adds(replay, state):
    return state.adds >= STEPS // 2


def by_can_sample(replay, state):
    return replay.can_sample(state)


def by_size(replay, state):
    return replay.size(state) >= STEPS // 2 * ENVS


def test_a_vmapped_loop_gated_by_adds_keeps_its_conditional():
    assert_gated(training(by_adds), KEYS)


@pytest.mark.parametrize("gate", [by_can_sample, by_size])
def test_gated_by_what_depends_on_a_mask_it_loses_it(gate):
    with pytest.raises(AssertionError, match=r"test_gates.py:\d+ in step"):
        assert_gated(training(gate), KEYS)


@pytest.mark.long  # a promise of JAX; quick: that the gate is kept, above and below
def test_a_vmapped_loop_learns_the_same_with_either_gate():
    """A gate that opens at the same step for all seeds, once as one number and once as one of each."""

    def apart(replay, state):
        return by_adds(replay, state) & (state.ring.size.sum() >= 0)

    kept, lost = (jax.jit(training(gate))(KEYS) for gate in (by_adds, apart))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), kept, lost)


def chunk(replay):
    """A loop that is entered again and again; its gate may be open from the first step."""

    def learn(state, key):
        batch = replay.sample(state, key)
        priority = jnp.abs(batch.data["x"].sum((-2, -1))) if replay.sampler.takes_priority else None
        return replay.update(state, batch.index, priority=priority, rows={"x": jnp.sin(batch.data["x"])})

    def step(state, key):
        state = replay.add(state, random_rows(key), random_mask(key))
        return lax.cond(state.adds >= STEPS, learn, lambda state, key: state, state, key), None

    return lambda state, key: lax.scan(step, state, jax.random.split(key, STEPS))[0]


@pytest.mark.parametrize("apart", [True, False])
def test_states_that_go_from_call_to_call_keep_the_gate_if_adds_has_no_axis(apart):
    replay = replay_of(sampler=budget(jb.Uniform(), jb.Prioritized()), length=2048)
    axes = jax.tree.map(lambda _: 0, jax.eval_shape(replay.init, ROW))
    axes = replace(axes, adds=None) if apart else axes
    states = jax.vmap(lambda key: replay.init(ROW), out_axes=axes)(KEYS)
    chunks = jax.vmap(chunk(replay), in_axes=(axes, 0), out_axes=axes)
    if apart:
        assert_gated(chunks, states, KEYS)
        assert_in_place(chunks, states, KEYS, large=4096)
    else:
        with pytest.raises(AssertionError, match="made a select"):
            assert_gated(chunks, states, KEYS)


SAMPLERS = [
    jb.Prioritized(),
    jb.Uniform(),
    jb.RankBased(),
    jb.Recent(half_life=100),
    jb.ByEpisode(),
    jb.WithoutReplacement(),
    jb.Counted(jb.Prioritized()),
    jb.OnlineFirst(jb.Prioritized()),
]


@pytest.mark.parametrize("sampler", long_but(SAMPLERS, quick=[0]), ids=lambda sampler: repr(sampler).replace(" ", ""))
def test_learning_behind_a_gate_copies_neither_the_ring_nor_what_a_sampler_remembers(sampler):
    replay = replay_of(sampler=sampler, length=2048)
    assert_in_place(chunk(replay), replay.init(ROW), KEYS[0], large=2048)
