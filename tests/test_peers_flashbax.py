"""Defects and unmet requests of flashbax and other replay buffers: each test fails where one of them returns.

Only what concerns uniform replay, sequences, boundaries, adding, sizes and shapes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from oracle import Every, drawn, example, filled, quick_jit, told_apart

import jaxbuffers as jb

# flashbax: windows and episodes


@pytest.mark.long  # quick: test_exhaustive.py
@pytest.mark.parametrize(
    "view", [jb.Sequences(4), jb.Sequences(4, "within", burn_in=2), jb.Sequences(4, "pad")], ids=str
)
@pytest.mark.parametrize("block", [1, 3, 7])
def test_no_window_holds_rows_from_both_sides_of_the_write_head(view, block):
    # Theirs returned non-contiguous data for 16 months, at some ratios of capacity to rows an add.
    length, steps = 7, 42
    replay = jb.Replay(length, None, 64, view)
    rows = jax.tree.map(lambda x: x[:, 0].reshape(steps // block, block), told_apart(steps))

    def step(state, block):
        state = replay.add(state, block)
        return state, replay.sample(state, jax.random.key(0))

    run = quick_jit(lambda rows: jax.lax.scan(step, replay.init(jax.tree.map(lambda x: x[0, 0], rows)), rows)[1])
    batch = jax.tree.map(np.asarray, run(rows))
    assert batch.valid[-1]
    both = batch.mask[:, :, 1:] & batch.mask[:, :, :-1]
    assert both.any()
    assert (np.diff(batch.data.obs, axis=2)[both] == 1).all()
    assert (np.diff(batch.index.time, axis=2)[both] == 1).all()


@pytest.mark.long  # quick: test_exhaustive.py
@pytest.mark.parametrize("view", [jb.Sequences(3, "within"), jb.Sequences(3, "pad", burn_in=2)], ids=str)
@pytest.mark.parametrize("flags", ["first", "last"])
def test_no_window_spans_episodes_unless_asked(view, flags):
    # Asked for three times in their tracker: boundaries are not handled at all.
    starts = np.array([0, 3, 4, 9, 14, 15, 20])
    replay = jb.Replay(16, None, 600, view)
    rows = told_apart(24, first=starts) if flags == "first" else told_apart(24, first=(), last=starts[1:] - 1)
    batch = drawn(replay, filled(replay, rows))
    episode = np.searchsorted(starts, batch.index.time, side="right")
    for window, mask in zip(episode, batch.mask, strict=True):
        assert len(set(window[mask])) == 1


LIMIT = np.array([3, 4, 1])  # steps after which the episodes of each stream are cut


def counting_environment(recorder, final_obs, steps=40, envs=3):
    """Rows of environments whose observation is 10000 * stream + 100 * episode + step, cut as in `LIMIT` and reset."""
    count, episode = np.zeros(envs, int), np.zeros(envs, int)

    def obs():
        return (10_000 * np.arange(envs) + 100 * episode + count).astype(np.float32)

    rec = recorder.init(jnp.asarray(obs()))
    step = quick_jit(recorder.step)
    for _ in range(steps):
        count += 1
        final, cut = obs(), count == LIMIT
        episode, count = np.where(cut, episode + 1, episode), np.where(cut, 0, count)
        rec, rows, mask = step(
            rec,
            action=jnp.zeros(envs, jnp.int32),
            obs=jnp.asarray(obs()),
            reward=jnp.ones(envs, jnp.float32),
            terminated=jnp.zeros(envs, bool),
            truncated=jnp.asarray(cut),
            final_obs=jnp.asarray(final) if final_obs else None,
        )
        yield rows, mask


@pytest.mark.parametrize("final_obs", [True, False], ids=["final observation kept", "final observation lost"])
def test_truncation_followed_by_auto_reset_never_bootstraps_from_the_reset_observation(final_obs):
    replay = jb.Replay(3 * 60, 3, 3000, jb.Transitions(2, gamma=0.5))
    add, state = quick_jit(replay.add), None
    for rows, mask in counting_environment(jb.Recorder("same_step"), final_obs):
        state = replay.init(example(rows)) if state is None else state
        state = add(state, rows, mask)
    data = drawn(replay, state).data
    folded = data.next_obs - data.obs
    assert set(folded.tolist()) == {1, 2}  # of one episode, where observations count steps
    np.testing.assert_array_equal(data.discount, 0.5**folded)
    stream = (data.obs // 10_000).astype(int)
    assert np.any(data.next_obs % 100 == LIMIT[stream]) == final_obs
    assert set(stream.tolist()) == ({0, 1, 2} if final_obs else {0, 1})


@pytest.mark.long  # quick: test_exhaustive.py
def test_sequences_cross_the_head_in_no_stream_when_streams_are_of_different_age():
    # One write head for all streams makes their masked adds impossible.
    length, streams, steps = 6, 4, 50
    replay = jb.Replay(length * streams, streams, 2000, jb.Sequences(3))
    mask = np.random.default_rng(0).random((steps, streams)) < np.array([0.1, 0.5, 0.9, 1.0])
    rows = told_apart(steps, streams)
    batch = drawn(replay, filled(replay, rows, mask))
    for stream in range(streams):
        kept = rows.obs[mask[:, stream], stream][-length:]
        want = {tuple(kept[i : i + 3]) for i in range(len(kept) - 2)}
        assert {tuple(obs) for obs in batch.data.obs[batch.index.stream[:, 0] == stream].tolist()} == want


@pytest.mark.long  # quick: test_exhaustive.py
@pytest.mark.parametrize("length, period, window", [(7, 2, 2), (7, 3, 3), (8, 3, 2), (10, 4, 3), (5, 5, 1)])
def test_the_newest_rows_are_reachable_if_the_capacity_is_no_multiple_of_the_period(length, period, window):
    replay = jb.Replay(length, None, length, jb.Sequences(window, period=period), Every())

    def step(state, row):
        state = replay.add(state, row)
        batch = replay.sample(state, jax.random.key(0))
        return state, (batch.data.obs[:, 0], batch.probability)

    rows = jax.tree.map(lambda x: x[:, 0], told_apart(5 * length))
    run = quick_jit(lambda rows: jax.lax.scan(step, replay.init(jax.tree.map(lambda x: x[0], rows)), rows)[1])
    for newest, (starts, real) in enumerate(zip(*jax.tree.map(np.asarray, run(rows)), strict=True)):
        oldest = max(newest - length + 1, 0)
        want = [t for t in range(oldest, newest - window + 2) if t % period == 0]
        np.testing.assert_array_equal(starts[real > 0] - 1, want)


# flashbax: adding, shapes, sizes


@pytest.mark.long  # quick: errors/test_add.py
@pytest.mark.parametrize("shape", [(), (1,), (2,), (4,), (3, 1), (1, 3, 3)])
def test_a_trailing_shape_is_never_broadcast(shape):
    replay = jb.Replay(8, 2, 4)
    state = replay.init({"x": np.zeros(3, np.float32), "y": np.float32(0)})
    rows = {"x": np.zeros((2, *shape), np.float32), "y": np.zeros(2, np.float32)}
    with pytest.raises(jb.errors.ShapeError, match=r"'x'|leading axes"):
        replay.add(state, rows)


@pytest.mark.long  # quick: errors/test_add.py
@pytest.mark.parametrize("streams", [1, 3])
def test_a_wrong_number_of_environments_is_never_broadcast(streams):
    replay = jb.Replay(8, 2, 4)
    state = replay.init(np.zeros(3, np.float32))
    with pytest.raises(jb.errors.ShapeError):
        replay.add(state, np.zeros((streams, 3), np.float32))
    with pytest.raises(jb.errors.ShapeError, match="mask"):
        replay.add(state, np.zeros((2, 3), np.float32), np.ones(streams, bool))


def test_arguments_by_keyword_do_what_they_do_by_position():
    # Theirs donates by position: by keyword the buffer is corrupted.
    replay = jb.Replay(6, 2, 4)
    rows = told_apart(9, 2)
    add = jax.jit(replay.add, donate_argnames="state")
    by_position, by_keyword = replay.init(example(rows)), replay.init(example(rows))
    for time in range(9):
        row, mask = jax.tree.map(lambda x, t=time: x[t], rows), np.array([True, time % 2 == 0])
        before = jax.tree.map(np.array, by_keyword)
        by_position = add(by_position, row, mask)
        by_keyword = add(rows=row, mask=mask, state=jax.tree.map(jnp.array, before))
        jax.tree.map(np.testing.assert_array_equal, by_position, by_keyword)
    obs = np.unique(drawn(replay, by_keyword, size=400).data.obs)
    np.testing.assert_array_equal(obs, [7, 8, 9, 1005, 1007, 1009])


@pytest.mark.long  # quick: errors/test_sample_update.py
def test_sampling_before_it_is_possible_says_so():
    # Theirs returned zeros in silence.
    replay = jb.Replay(8, 2, 4, jb.Transitions())
    state = filled(replay, told_apart(1, 2))
    assert not bool(replay.can_sample(state))
    batch = drawn(replay, state)
    assert not batch.valid
    assert not batch.mask.any()
    with jb.debug_checks():
        error, _ = jax.jit(checkify.checkify(lambda state, key: replay.sample(state, key)))(state, jax.random.key(0))
    with pytest.raises(checkify.JaxRuntimeError, match="no legal window"):
        error.throw()


@pytest.mark.parametrize("capacity, near", [(10, "9 or 12"), (2, "3"), (11, "9 or 12")])
def test_a_capacity_that_does_not_divide_is_refused_and_never_rounded(capacity, near):
    with pytest.raises(jb.errors.ConfigurationError, match=f"nearest sizes are {near}"):
        jb.Replay(capacity, 3)


@pytest.mark.long  # quick: test_exhaustive.py
def test_every_row_of_the_capacity_holds_data():
    replay = jb.Replay(12, 3, 600)
    state = filled(replay, told_apart(9, 3))
    assert int(replay.size(state)) == 12
    want = [1000 * stream + time for stream in range(3) for time in range(6, 10)]
    np.testing.assert_array_equal(np.unique(drawn(replay, state).data.obs), want)


def test_size_and_get_say_what_is_stored():
    # Asked for twice in their tracker.
    replay = jb.Replay(8, 2, 4)
    rows = told_apart(6, 2)
    mask = np.array([[True, time < 3] for time in range(6)])
    state = filled(replay, rows, mask)
    assert int(replay.size(state)) == 4 + 3
    stream, time = np.repeat(np.arange(2, dtype=np.int32), 7), np.tile(np.arange(-1, 6, dtype=np.int32), 2)
    got, present = quick_jit(replay.get)(state, jb.Index(jnp.asarray(stream), jnp.asarray(time)))
    np.testing.assert_array_equal(
        present, [t in range(2, 6) if e == 0 else t in range(3) for e, t in zip(stream, time, strict=True)]
    )
    np.testing.assert_array_equal(got.obs, np.where(present, rows.obs[np.maximum(time, 0), stream], 0))


@pytest.mark.long  # quick: test_exhaustive.py
def test_each_environment_may_write_or_not():
    replay = jb.Replay(9, 3, 600)
    mask = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 1]], bool)
    state = filled(replay, told_apart(4, 3), mask)
    np.testing.assert_array_equal(np.unique(drawn(replay, state).data.obs), [2, 3, 4, 2001, 2004])


@pytest.mark.long  # quick: test_writeback.py
def test_a_stale_write_back_leaves_newer_rows_alone_and_is_counted():
    # Sample, add, then write: their late priorities revived dead entries and windows crossed the head.
    replay = jb.Replay(4, None, 4, jb.Sequences(2), Every())
    rows = told_apart(10)
    state = filled(replay, jax.tree.map(lambda x: x[:4], rows))
    index = quick_jit(replay.sample)(state, jax.random.key(0)).index  # windows 0-1, 1-2, 2-3 and padding
    index = jax.tree.map(lambda x: x[:3], index)
    add, update = quick_jit(replay.add), quick_jit(lambda s, i, rows: replay.update(s, i, rows=rows))
    for time in range(4, 7):
        state = add(state, jax.tree.map(lambda x, t=time: x[t, 0], rows))
    get, last = quick_jit(replay.get), jb.Index(jnp.zeros(4, jnp.int32), jnp.arange(3, 7, dtype=jnp.int32))
    before = jax.tree.map(np.asarray, get(state, last)[0])
    state = update(state, index, {"reward": np.full((3, 2), -1, np.float32)})
    after = jax.tree.map(np.asarray, get(state, last)[0])
    np.testing.assert_array_equal(after.reward, [-1, *before.reward[1:]])  # row 3 was still there
    np.testing.assert_array_equal(after.obs, before.obs)
    assert int(state.dropped) == 5
    assert quick_jit(replay.sample)(state, jax.random.key(0)).probability.sum() == 3


@pytest.mark.long  # quick: views/test_transitions.py
def test_n_step_returns_are_folded():
    # Asked for, never delivered.
    replay = jb.Replay(16, None, 600, jb.Transitions(3, gamma=0.5))
    data = drawn(replay, filled(replay, told_apart(9, first=[0, 5], last=[4]))).data
    for obs, reward, discount, after in zip(data.obs, data.reward, data.discount, data.next_obs, strict=True):
        time, end = obs - 1, (4 if obs <= 5 else 8)
        steps = min(3, end - time)
        assert after - obs == steps
        assert discount == 0.5**steps
        assert reward == sum(0.5**i * (time + 1 + i) / 4 for i in range(steps))


@pytest.mark.long  # quick: views/test_sequences.py
def test_padding_is_marked_by_a_mask():
    # Asked for, never delivered.
    replay = jb.Replay(16, None, 600, jb.Sequences(4, "pad"))
    batch = drawn(replay, filled(replay, told_apart(9, first=[0, 6])))
    length = np.where(batch.data.obs[:, 0] <= 6, 7, 10) - batch.data.obs[:, 0]
    np.testing.assert_array_equal(batch.mask, np.arange(4) < np.minimum(length, 4)[:, None])


def test_an_add_to_a_donated_state_moves_no_buffer():
    # Theirs copied the whole buffer at each add.
    replay = jb.Replay(64, 2, 4, jb.Transitions())
    rows = {**vars(told_apart(3, 2)), "image": np.ones((3, 2, 40, 40), np.uint8)}
    del rows["extras"]
    state = jax.tree.map(jnp.array, replay.init(example(rows)))
    add = jax.jit(replay.add, donate_argnums=0)
    where = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    for _ in range(3):
        state = add(state, rows)
    assert {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)} == set(where)
