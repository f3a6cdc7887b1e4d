"""gymnax: the reset observation comes in the same step, the final one in ``info``; all inside jit and scan."""

from functools import partial

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb

from .reference import GAMMA, Rollout, Step, assert_same, endings, known, read_all, row_like, transitions

E, STEPS = 3, 60


@pytest.fixture(scope="module", autouse=True)
def standard_promotion():
    """Let gymnax multiply floats by integers, which the strict mode of these tests refuses."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def cart_pole():
    env, params = gymnax.make("CartPole-v1")
    return env, params.replace(max_steps_in_episode=13)


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(0), (STEPS, E))
    return jax.random.split(jax.random.key(1), E), keys, jax.random.bernoulli(jax.random.key(2), shape=(STEPS, E))


@pytest.fixture(scope="module")
def alone(cart_pole, inputs):
    """Every environment by itself, with ``step_env`` and ``reset_env``, which reset nothing."""
    env, params = cart_pole
    first, keys, actions = inputs

    @jax.jit
    def one(key, state, action):
        key, key_reset = jax.random.split(key)  # as env.step does
        obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return obs, state, reward, terminated, env.is_truncated(state, params), env.reset_env(key_reset, params)

    runs = []
    for e in range(E):
        obs, state = env.reset(first[e], params)
        episodes = [[]]
        for t in range(STEPS):
            action = actions[t, e].astype(jnp.int32)
            after, state, reward, terminated, truncated, again = one(keys[t, e], state, action)
            step = Step(*jax.tree.map(np.asarray, (obs, action, reward, terminated, truncated, after)))
            step = step._replace(reward=step.reward.astype(np.float32))
            episodes[-1].append(step)
            obs = after
            if step.done:
                obs, state = again
                episodes.append([])
        runs.append(Rollout([episode for episode in episodes if episode], not step.done))
    return runs


@partial(jax.jit, static_argnums=(0, 1))
def collect(env, replay, params, inputs):
    """Steps, recording and storing in one compiled scan."""
    recorder = jb.Recorder("same_step")
    first, keys, actions = inputs
    obs, env_state = jax.vmap(env.reset, (0, None))(first, params)
    state = replay.init(row_like(obs[0], jnp.int32(0)))

    def body(carry, step):
        state, rec, env_state = carry
        keys, action = step
        action = action.astype(jnp.int32)
        obs, env_state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
            keys, env_state, action, params
        )
        rec, rows, mask = recorder.step(
            rec, action=action, obs=obs, reward=reward.astype(jnp.float32), terminated=terminated,
            truncated=truncated, final_obs=info["final_observation"],
        )  # fmt: skip
        return (replay.add(state, rows, mask), rec, env_state), None

    return jax.lax.scan(body, (state, recorder.init(obs), env_state), (keys, actions))[0][0]


@pytest.mark.parametrize("n_step", [1, 3])
def test_transitions_of_a_scan_are_those_of_single_environments_each_once(cart_pole, inputs, alone, n_step):
    env, params = cart_pole
    assert min(endings(alone)) >= 3  # both kinds of end are there
    replay = jb.Replay(capacity=E * 128, num_envs=E, view=jb.Transitions(n_step=n_step, gamma=GAMMA))
    streams = read_all(replay, collect(env, replay, params, inputs))
    for got, run in zip(streams, alone, strict=True):
        expected = [item.replace(extras=()) for item in transitions(known(run), n_step)]
        # Two compiled programs may differ in the last bits; two steps of CartPole differ by 1e-3 and more.
        assert_same(got, expected, rtol=1e-5, atol=1e-6)
