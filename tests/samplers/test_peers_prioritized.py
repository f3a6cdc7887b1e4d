"""Defects of other prioritized replays: each test fails where one of them returns."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization
from oracle import drawn, example, filled, quick_jit, told_apart
from oracle.tree import sums

import jaxbuffers as jb

SAMPLER = jb.Prioritized(alpha=1.0, eps=1e-6)


def constant(x, number):
    return jnp.full(number, x, jnp.float32)


@functools.cache
def verbs(replay):
    """Add, sample and update, each compiled once for a configuration."""
    update = quick_jit(lambda state, index, priority: replay.update(state, index, priority=priority))
    return quick_jit(replay.add), quick_jit(replay.sample), update


def add_one_by_one(replay, state, rows, begin, end):
    add, _, _ = verbs(replay)
    for time in range(begin, end):
        state = add(state, jax.tree.map(lambda x, t=time: x[t, 0], rows))
    return state


# flashbax


@functools.cache
def after_many_updates():
    """3,000 batches of 256 priorities over ten decades for 3,000 of 4,096 places; a draw after each."""
    replay = jb.Replay(4096, None, 256, jb.Items(), SAMPLER)
    state = verbs(replay)[0](replay.init(np.float32(0)), np.zeros(3000, np.float32))

    def step(state, key):
        batch = replay.sample(state, key)
        priority = jnp.exp(4 * jax.random.normal(key, (256,), jnp.float32))
        return replay.update(state, batch.index, priority=priority), (batch.index.time, batch.valid)

    run = quick_jit(lambda state, keys: jax.lax.scan(step, state, keys))
    state, (time, valid) = run(state, jax.random.split(jax.random.key(0), 3000))
    return state, np.asarray(time), np.asarray(valid)


@pytest.mark.long  # quick: test_sum_tree.py
def test_the_total_does_not_drift_however_many_updates_there_were():
    # Theirs adjusts parents by differences: after as many updates the root was off by up to 2.0; "use x64".
    tree = [np.asarray(level) for level in after_many_updates()[0].sampler.tree]
    above, root = sums(tree[0])
    for level, want in zip(tree[1:], above, strict=True):
        np.testing.assert_array_equal(level[: len(want)], want)
    assert abs(root - tree[0].sum(dtype=np.float64)) < 1e-6 * root


@pytest.mark.long  # quick: test_sum_tree.py
def test_a_place_that_was_never_filled_is_never_drawn():
    # Where the root is more than its leaves, a draw runs into places that hold nothing.
    state, time, valid = after_many_updates()
    assert time.size == 768_000
    assert valid.all()
    assert time.min() >= 0
    assert time.max() < 3000
    assert not state.sampler.tree[0][3000:].any()


@pytest.mark.long  # quick: test_prioritized_update.py
@pytest.mark.parametrize("view", [jb.Sequences(3), jb.Sequences(3, "within", time_major=True)], ids=str)
def test_late_priorities_revive_no_window_across_the_write_head(view):
    # Sample, add, then set: 47% of their windows then crossed the head.
    replay = jb.Replay(12, None, 64, view, SAMPLER)
    rows = told_apart(40)
    state = add_one_by_one(replay, replay.init(example(rows)), rows, 0, 12)
    _, sample, update = verbs(replay)
    crossings = stale = 0
    for time in range(12, 40, 4):
        index = sample(state, jax.random.key(time)).index
        state = update(add_one_by_one(replay, state, rows, time, time + 4), index, constant(1000, 64))
        first = np.asarray(index.time if not view.time_major else index.time.T)[:, 0]
        stale += np.sum(first < time + 4 - 12)
        obs = np.asarray(sample(state, jax.random.key(time + 1)).data.obs)
        crossings += np.sum(np.diff(obs, axis=0 if view.time_major else 1) != 1)
    assert stale > 50
    assert int(state.sampler.stale) == stale
    assert crossings == 0


@pytest.mark.long  # quick: test_prioritized_update.py
@pytest.mark.parametrize("poison", [np.nan, -1, np.inf])
def test_a_bad_priority_does_not_poison_the_total(poison):
    # Theirs are accepted, and the root is NaN or wrong for good.
    replay = jb.Replay(32, None, 8, jb.Items(), SAMPLER)
    state = filled(replay, told_apart(40))
    _, _, update = verbs(replay)
    index = jb.Index(jnp.zeros(8, jnp.int32), jnp.arange(10, 18, dtype=jnp.int32))
    after = update(state, index, constant(poison, 8))
    jax.tree.map(np.testing.assert_array_equal, after.sampler.tree, state.sampler.tree)
    assert int(after.sampler.refused) == 8
    healed = update(after, index, constant(3, 8))
    np.testing.assert_allclose(healed.sampler.tree[-1].sum(), 24 + 8 * 3, rtol=1e-5)


@pytest.mark.long  # quick: test_prioritized_draws.py
def test_one_outlier_does_not_rule_for_ever():
    # Their maximum never decays: one outlier decides what every later row starts with.
    for decay, ruled in ((1.0, 1e6), (0.9, 1e6 * 0.9**200)):
        replay = jb.Replay(32, None, 8, jb.Items(), replace(SAMPLER, decay=decay))
        state = filled(replay, told_apart(40))
        index = jb.Index(jnp.zeros(1, jnp.int32), jnp.full(1, 39, jnp.int32))
        state = verbs(replay)[2](state, index, constant(1e6, 1))
        for _ in range(200):
            state = verbs(replay)[2](state, index, constant(0.5, 1))
        state = add_one_by_one(replay, state, told_apart(1), 0, 1)
        np.testing.assert_allclose(state.sampler.tree[0][40 % 32], max(ruled, 0.5), rtol=1e-4)


@pytest.mark.long  # quick: test_every_sampler.py
@pytest.mark.parametrize("stratified", [False, True])
def test_an_empty_prioritized_replay_gives_no_nan(stratified):
    replay = jb.Replay(16, 2, 8, jb.Transitions(), replace(SAMPLER, stratified=stratified))
    state = replay.init(example(told_apart(1)))
    batch = drawn(replay, state)
    assert not batch.valid
    assert not batch.mask.any()
    for leaf in jax.tree.leaves((batch.data, batch.probability)):
        assert not leaf.any()
    np.testing.assert_array_equal(jb.importance_weights(jnp.asarray(batch.probability), 0, 0.5), np.zeros(8))


@pytest.mark.long  # quick: test_prioritized.py
@pytest.mark.parametrize("block", [1, 3])
def test_prioritized_windows_are_contiguous_at_every_ratio_of_capacity_to_block(block):
    # Theirs returned non-contiguous data for 16 months.
    replay = jb.Replay(7, None, 64, jb.Sequences(3), SAMPLER)
    rows = jax.tree.map(lambda x: x[:, 0].reshape(42 // block, block), told_apart(42))

    def step(state, inputs):
        block, key = inputs
        state = replay.add(state, block)
        batch = replay.sample(state, key)
        state = replay.update(state, batch.index, priority=jnp.exp(jax.random.normal(key, (64,), jnp.float32)))
        return state, (batch.data.obs, batch.mask, batch.valid)

    keys = jax.random.split(jax.random.key(0), 42 // block)
    run = quick_jit(lambda *xs: jax.lax.scan(step, replay.init(jax.tree.map(lambda x: x[0, 0], rows)), xs)[1])
    obs, mask, valid = map(np.asarray, run(rows, keys))
    assert valid[2:].all()
    assert mask[valid].all()
    assert (np.diff(obs[valid], axis=2) == 1).all()


# torchrl


@pytest.mark.long  # quick: test_sum_tree.py
@pytest.mark.parametrize("rows", [1, 7, 15, 16, 17, 255, 257])
def test_no_draw_lies_past_the_last_row(rows):
    # Their sum tree returned an index past the end, where a target rounded up to the total.
    replay = jb.Replay(rows, None, 512, jb.Items(), SAMPLER)
    state = verbs(replay)[0](replay.init(np.float32(0)), np.zeros(rows, np.float32))
    _, sample, update = verbs(replay)
    for seed in range(20):
        batch = sample(state, jax.random.key(seed))
        time = np.asarray(batch.index.time)
        assert batch.valid
        assert time.min() >= 0
        assert time.max() < rows
        # A third of them, and so sums that no float32 holds exactly.
        state = update(state, batch.index, jnp.asarray(np.float32(1 / 3) * (1 + time % 5).astype(np.float32)))


@pytest.mark.long  # quick: how many levels are walked, in test_sum_tree.py
@pytest.mark.usefixtures("readable")
def test_work_grows_with_the_logarithm_of_the_capacity():
    # The time of their draws grows with the storage: 4.8 ms at 5 million steps, 1.65 s at 346 million.
    work = []
    for capacity in (2**16, 2**24):  # trees of four levels and of six
        replay = jb.Replay(capacity, None, 64, jb.Items(), SAMPLER)
        state = jax.eval_shape(replay.init, np.float32(0))
        index = jb.Index(jax.ShapeDtypeStruct((64,), jnp.int32), jax.ShapeDtypeStruct((64,), jnp.int32))
        priority = jax.ShapeDtypeStruct((64,), jnp.float32)
        for verb, donate, *inputs in (
            (replay.sample, (), jax.eval_shape(jax.random.key, 0)),
            (lambda s, i, p, r=replay: r.update(s, i, priority=p), (0,), index, priority),
            (replay.add, (0,), jax.ShapeDtypeStruct((), jnp.float32)),
        ):
            compiled = quick_jit(verb, donate_argnums=donate).lower(state, *inputs).compile()
            work.append(compiled.cost_analysis()["flops"])
            assert compiled.memory_analysis().temp_size_in_bytes < 200_000
    for few, many in zip(work[:3], work[3:], strict=True):
        assert many < 2 * few


# cpprb, Tianshou, DreamerV3, Reverb


@pytest.mark.long  # quick: test_prioritized.py
def test_rows_of_an_unfinished_episode_have_their_priority_without_a_call_at_its_end():
    # cpprb must be told by on_episode_end(), or windows run from one episode into the next.
    replay = jb.Replay(16, None, 400, jb.Transitions(2, gamma=0.5), replace(SAMPLER, stratified=False))
    data = drawn(replay, filled(replay, told_apart(9, first=[0, 6]))).data  # the first was abandoned
    pairs = set(zip(data.obs.tolist(), data.next_obs.tolist(), strict=True))
    assert pairs == {(1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (7, 9), (8, 9)}


@pytest.mark.long  # quick: tests/checkpoint/test_round_trip.py
def test_a_saved_replay_keeps_its_priorities():
    # Tianshou's prioritized HDF5 lost them; DreamerV3 saves no priorities at all.
    replay = jb.Replay(32, 2, 16, jb.Transitions(), replace(SAMPLER, decay=0.9))
    state = filled(replay, told_apart(30, 2, first=[0, 11], last=[20]))
    _, sample, update = verbs(replay)
    state = update(state, sample(state, jax.random.key(0)).index, jnp.arange(16, dtype=jnp.float32))
    saved = serialization.msgpack_serialize(jax.tree.map(np.asarray, serialization.to_state_dict(state)))
    restored = serialization.from_state_dict(replay.init(example(told_apart(1))), serialization.msgpack_restore(saved))
    restored = jax.tree.map(jnp.asarray, restored)
    one, other = (sample(each, jax.random.key(1)) for each in (state, restored))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    index = one.index
    one, other = (update(each, index, constant(2, 16)).sampler for each in (state, restored))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.long  # quick: test_prioritized_draws.py
def test_every_window_is_drawn_about_as_often_as_it_should_be():
    # Reverb's own tests of its distributions accept a frequency of zero.
    replay = jb.Replay(64, None, 64 * 100, jb.Items(), SAMPLER)
    state = verbs(replay)[0](replay.init(np.float32(0)), np.zeros(64, np.float32))
    time = drawn(replay, state).index.time
    np.testing.assert_array_equal(np.bincount(time), np.full(64, 100))  # one of each stratum: exactly
