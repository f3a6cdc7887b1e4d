"""The experience of parallel environments: keys, steps, completeness, flat rows, shuffled minibatches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb

ENVS, STEPS = 6, 4
ROLLOUT = jb.Rollout(num_steps=STEPS, num_envs=ENVS)


def observations(step):
    """Environment e at step t is 10 e + t, in each of three places."""
    return np.repeat(np.float32(10 * np.arange(ENVS) + step)[:, None], 3, axis=1)


def collected():
    state = ROLLOUT.init()
    state = ROLLOUT.register(state, "obs", shape=(3,))
    state = ROLLOUT.register(state, "done", dtype=jnp.bool_)
    for step in range(STEPS):
        state = ROLLOUT.update(state, "obs", step, observations(step))
        state = ROLLOUT.update(state, "done", step, np.arange(ENVS) == step)
    return state


def test_an_experience_buffer():
    state = collected()
    data = ROLLOUT.get_dict(state)
    assert {key: (x.shape, str(x.dtype)) for key, x in data.items()} == {
        "obs": ((ENVS * STEPS, 3), "float32"),
        "done": ((ENVS * STEPS,), "bool"),
    }
    np.testing.assert_array_equal(data["obs"][:, 0], [10 * e + t for e in range(ENVS) for t in range(STEPS)])
    np.testing.assert_array_equal(data["done"], [e == t for e in range(ENVS) for t in range(STEPS)])
    stacked = np.stack([observations(step) for step in range(STEPS)])
    np.testing.assert_array_equal(jb.swap_and_flatten01(stacked), data["obs"])


def test_what_is_computed_from_all_steps_comes_in_one_write():
    state = ROLLOUT.register(collected(), "returns")
    with pytest.raises(jb.errors.IncompleteError, match=r"'returns': \[0, 1, 2, 3\]"):
        ROLLOUT.get_dict(state)
    returns = np.arange(STEPS * ENVS, dtype=np.float32).reshape(STEPS, ENVS)
    state = ROLLOUT.batch_update(state, "returns", returns)
    np.testing.assert_array_equal(ROLLOUT.get_dict(state)["returns"], returns.T.ravel())


def test_a_step_that_is_missing_is_named_though_the_sum_of_steps_would_agree():
    state = ROLLOUT.init(obs=jax.ShapeDtypeStruct((3,), np.float32))
    for step in (0, 0, 3, 3):  # their one-based sum is that of 0, 1, 2, 3
        state = ROLLOUT.update(state, "obs", step, observations(step))
    assert ROLLOUT.total_sum() == 10
    with pytest.raises(jb.errors.IncompleteError, match=r"'obs': \[1, 2\]"):
        ROLLOUT.get_dict(state)
    state = ROLLOUT.reset(collected())
    assert ROLLOUT.missing(state) == {"obs": [0, 1, 2, 3], "done": [0, 1, 2, 3]}


def test_a_dataset_of_minibatches():
    data = ROLLOUT.get_dict(collected())
    orders = []
    for epoch in range(2):
        dataset = jb.minibatches(jax.random.key(epoch), data, batch_size=8, shuffle=True)
        assert len(dataset) == dataset.num_batches == 3
        seen = []
        for batch in dataset:
            seen += batch.data["obs"][:, 0].tolist()
            assert batch.data["done"].tolist() == [i // 10 == i % 10 for i in batch.data["obs"][:, 0]]
        orders.append(seen)
        assert sorted(seen) == sorted(data["obs"][:, 0].tolist())
    assert orders[0] != orders[1]


def test_without_shuffling_rows_come_in_their_order():
    state = collected()
    batches = ROLLOUT.minibatches(state, jax.random.key(0), batch_size=8, shuffle=False)
    seen = np.concatenate([batch.data["obs"] for batch in batches])
    np.testing.assert_array_equal(seen, ROLLOUT.get_dict(state)["obs"])
