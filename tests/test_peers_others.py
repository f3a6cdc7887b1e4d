"""Where dejax, brax, QDax, RTRRL, FastTD3, torchrl, Stable-Baselines3, Tianshou and SheepRL fail: here it holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import drawn, example, filled, quick_jit, told_apart

import jaxbuffers as jb

# dejax, brax, QDax, RTRRL, FastTD3


@pytest.mark.long  # quick: test_dtypes.py
def test_images_stay_uint8_and_large_integers_exact():
    # brax flattens all to one float32 vector: images take four times the memory and 16777217 becomes 16777216.
    row = {
        "image": np.zeros((4, 4), np.uint8),
        "id": np.int32(0),
        "half": np.float16(0),
        "yes": np.False_,
        "word": np.zeros(2, np.uint32),
        "tiny": np.float32(0),
    }
    value = {
        "image": np.arange(240, 256, dtype=np.uint8).reshape(4, 4),
        "id": np.int32(16_777_217),
        "half": np.float16(65504),
        "yes": np.True_,
        "word": np.array([2**32 - 1, 2**24 + 1], np.uint32),
        "tiny": np.float32(1e-45),
    }
    replay = jb.Replay(4, None, 3)
    state = quick_jit(replay.add)(replay.init(row), value)
    for path, leaf in drawn(replay, state).data.items():
        assert leaf.dtype == value[path].dtype
        np.testing.assert_array_equal(leaf.view(np.uint8), np.stack([value[path]] * 3).view(np.uint8), err_msg=path)
    assert replay.nbytes({"image": np.zeros((256, 256), np.uint8)}) < 4 * 256 * 256 * 2


@pytest.mark.long  # quick: test_in_place.py
@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("view", [jb.Items(), jb.Transitions(2), jb.Sequences(3, "within")], ids=str)
def test_an_add_does_the_same_work_at_any_capacity(view):
    # A full brax buffer rolls itself at each insert.
    rows = told_apart(1, 2)
    work = []
    for capacity in (64, 4096):
        replay = jb.Replay(capacity, 2, 4, view)
        state = jax.eval_shape(replay.init, example(rows))
        compiled = jax.jit(replay.add, donate_argnums=0).lower(state, rows).compile()
        work.append((compiled.cost_analysis()["flops"], compiled.memory_analysis().temp_size_in_bytes))
    assert work[0] == work[1]


@pytest.mark.long  # quick: test_in_place.py
@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("view", [jb.Items(), jb.Transitions(2), jb.Sequences(3, "within")], ids=str)
def test_a_sample_does_the_same_work_at_any_capacity(view):
    # The cost of torchrl's slices grows with the storage: 4.8 ms at 5 million steps, 1.65 s at 346 million.
    rows = told_apart(1, 2)
    work = []
    for capacity in (64, 4096):
        replay = jb.Replay(capacity, 2, 4, view)
        state = jax.eval_shape(replay.init, example(rows))
        compiled = jax.jit(replay.sample).lower(state, jax.random.key(0)).compile()
        work.append((compiled.cost_analysis()["flops"], compiled.memory_analysis().temp_size_in_bytes))
    assert work[0] == work[1]


@pytest.mark.long  # quick: samplers/test_can_sample.py
def test_guards_hold_inside_compiled_code():
    # brax guards with a Python counter that stands still under jit.
    replay = jb.Replay(6, None, 4, jb.Sequences(3, "within"))
    rows = jax.tree.map(lambda x: x[:, 0], told_apart(8, first=[0, 2]))

    def step(state, row):
        state = replay.add(state, row)
        ready = replay.can_sample(state)
        return state, (ready, replay.size(state), replay.sample(state, jax.random.key(0)).valid == ready)

    run = quick_jit(lambda rows: jax.lax.scan(step, replay.init(jax.tree.map(lambda x: x[0], rows)), rows)[1])
    ready, size, agree = run(rows)
    np.testing.assert_array_equal(ready, [False] * 4 + [True] * 4)
    np.testing.assert_array_equal(size, [1, 2, 3, 4, 5, 6, 6, 6])
    assert agree.all()


@pytest.mark.long  # quick: test_windows.py
@pytest.mark.parametrize("block", [2, 3, 4, 5])
def test_a_block_that_runs_past_the_end_overwrites_the_oldest_rows(block):
    # QDax: dynamic_update_slice clamps at the end, so such a block deleted the newest rows.
    replay = jb.Replay(5, None, 400)
    rows = told_apart(12 * block)
    add = quick_jit(replay.add)
    state = replay.init(example(rows))
    for begin in range(0, 12 * block, block):
        state = add(state, jax.tree.map(lambda x, t=begin: x[t : t + block, 0], rows))
        newest = begin + block
        kept = np.unique(drawn(replay, state).data.obs) if begin > 8 * block else None
        if kept is not None:
            np.testing.assert_array_equal(kept, np.arange(newest - 4, newest + 1))


@pytest.mark.long  # quick: errors/test_add.py
def test_more_rows_than_fit_are_refused():
    replay = jb.Replay(10, 2, 4)
    with pytest.raises(jb.errors.ShapeError, match="6 rows"):
        replay.add(replay.init(np.float32(0)), np.zeros((6, 2), np.float32))


def test_a_replay_without_legal_start_never_returns_the_row_in_the_first_slot():
    # RTRRL: a jitted sampler with no legal start silently returned position 0.
    replay = jb.Replay(4, None, 8, jb.Transitions())
    state = filled(replay, told_apart(9, first=range(9)))  # a full ring of one-row episodes
    batch = drawn(replay, state)
    assert not batch.valid
    assert not batch.mask.any()
    assert (batch.index.time == -1).all()
    assert not batch.data.obs.any()
    assert not batch.data.next_obs.any()
    assert not batch.probability.any()


@pytest.mark.long  # quick: views/test_transitions.py
@pytest.mark.parametrize("rows", range(2, 16))
def test_n_step_folds_never_cross_the_write_head(rows):
    # FastTD3: the slot after the newest row holds the oldest one.
    replay = jb.Replay(5, None, 200, jb.Transitions(4, gamma=1.0))
    data = drawn(replay, filled(replay, told_apart(rows))).data
    steps = data.next_obs - data.obs
    np.testing.assert_array_equal(steps, np.minimum(4, rows - data.obs))
    assert (steps >= 1).all()
    want = [sum((obs + i) / 4 for i in range(count)) for obs, count in zip(data.obs, steps, strict=True)]
    np.testing.assert_array_equal(data.reward, np.array(want, np.float32))


def test_stored_rows_can_be_changed_and_read_by_age():
    # dejax had both; few others do.
    replay = jb.Replay(4, None, 4)
    state = filled(replay, told_apart(7))
    newest = 6
    index = jb.Index(jnp.zeros(2, jnp.int32), jnp.array([newest, newest - 3], jnp.int32))
    np.testing.assert_array_equal(quick_jit(replay.get)(state, index)[0].obs, [7, 4])
    state = quick_jit(lambda s: replay.update(s, index, rows={"obs": np.array([70, 40], np.int32)}))(state)
    np.testing.assert_array_equal(np.unique(drawn(replay, state, size=200).data.obs), [5, 6, 40, 70])


# DreamerV3, PlaNet


@pytest.mark.long  # quick: views/test_transitions.py
def test_an_abandoned_episode_ends_where_the_next_one_begins():
    # Nobody wrote is_last: the environment was reset in the middle.
    replay = jb.Replay(8, None, 400, jb.Transitions(3, gamma=0.5))
    data = drawn(replay, filled(replay, told_apart(6, first=[0, 3]))).data
    pairs = sorted(set(zip(data.obs.tolist(), data.next_obs.tolist(), strict=True)))
    assert pairs == [(1, 3), (2, 3), (4, 6), (5, 6)]
    assert (data.discount > 0).all()


@pytest.mark.long  # quick: views/test_sequences.py
def test_both_alignments_of_actions_come_from_the_same_rows():
    # PlaNet stores the action that led to the observation; ports mix the two up.
    rows = told_apart(8, first=[0, 4])
    for actions in ("taken", "previous"):
        replay = jb.Replay(16, None, 8, jb.Sequences(8, actions=actions))
        action = drawn(replay, filled(replay, rows), size=1).data.action[0]
        want = [-1, -2, -3, -4, -5, -6, -7, -8] if actions == "taken" else [0, -1, -2, -3, 0, -5, -6, -7]
        np.testing.assert_array_equal(action, want)


# torchrl, SB3, Tianshou, SheepRL


@pytest.mark.long  # quick: contract/test_contract.py
@pytest.mark.parametrize("view", [jb.Items(), jb.Transitions(2), jb.Sequences(3), jb.Sequences(3, "pad")], ids=str)
def test_sampled_addresses_are_always_present(view):
    # torchrl returned indices outside the storage.
    replay = jb.Replay(12, 2, 64, view)
    rows = told_apart(30, 2, first=[0, 7, 8, 13, 21])
    mask = np.random.default_rng(1).random((30, 2)) < 0.7

    def step(state, row):
        state = replay.add(state, *row)
        batch = replay.sample(state, jax.random.key(0))
        return state, (batch.mask, replay.get(state, batch.index)[1])

    run = quick_jit(lambda rows: jax.lax.scan(step, replay.init(example(rows)), (rows, mask))[1])
    masks, present = run(rows)
    assert masks.any()
    np.testing.assert_array_equal(masks, present)


@pytest.mark.long  # quick: test_exhaustive.py
def test_the_last_step_of_every_episode_is_sampled():
    replay = jb.Replay(24, None, 1000, jb.Sequences(3, "within"))
    data = drawn(replay, filled(replay, told_apart(24, first=[0, 5, 8, 16], last=[4, 7, 15]))).data
    np.testing.assert_array_equal(np.unique(data.obs[data.is_last]), [5, 8, 16])


def test_each_observation_is_stored_once_and_truncation_still_bootstraps_from_its_own():
    # SB3 saves memory or handles time limits, never both; Tianshou's shared observations bootstrap from obs itself.
    row = {**vars(example(told_apart(1))), "obs": np.zeros(1000, np.float32)}
    del row["extras"]
    few, many = (jb.Replay(capacity, 1, 4, jb.Transitions()).nbytes(row) for capacity in (100, 200))
    assert (many - few) / 100 < 1.1 * 4000
    replay = jb.Replay(8, None, 400, jb.Transitions(gamma=0.5))
    data = drawn(replay, filled(replay, told_apart(6, first=[0, 3], last=[2, 5]))).data
    np.testing.assert_array_equal(data.next_obs, data.obs + 1)
    np.testing.assert_array_equal(np.unique(data.obs), [1, 2, 4, 5])
    np.testing.assert_array_equal(data.discount, np.full(400, 0.5))


@pytest.mark.long  # quick: test_exhaustive.py
def test_an_extra_terminal_row_of_one_environment_leaves_the_others_as_they_were():
    # SheepRL inserts such rows, so that its streams are ragged and windows of the others shift.
    replay = jb.Replay(24, 3, 600, jb.Transitions())
    rows = told_apart(6, 3, first=[0])
    extra = np.array([[True, time != 3, time not in (2, 3)] for time in range(6)])
    data = drawn(replay, filled(replay, rows, extra)).data
    pairs = set(zip(data.obs.tolist(), data.next_obs.tolist(), strict=True))
    want = {(obs, obs + 1) for obs in range(1, 6)}
    want |= {(1001, 1002), (1002, 1003), (1003, 1005), (1005, 1006), (2001, 2002), (2002, 2005), (2005, 2006)}
    assert pairs == want
