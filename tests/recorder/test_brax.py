"""brax's interface: auto-reset loses the final observation, and a truncation is told apart in ``info``."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb

from .environments import AutoReset, Limited, PointMass
from .reference import GAMMA, Rollout, Step, assert_same, endings, known, read_all, row_like, rows, transitions

E, STEPS, LIMIT = 3, 48, 5


@pytest.fixture(scope="module")
def inputs():
    actions = np.random.default_rng(3).integers(-1, 3, (STEPS, E)).astype(np.float32)
    return jax.random.split(jax.random.key(4), E), actions


@pytest.fixture(scope="module")
def alone(inputs):
    """Every environment by itself, without wrappers; the limit on the steps is counted here."""
    env, (keys, actions), runs = PointMass(), inputs, []
    one = jax.jit(env.step)
    for e in range(E):
        first = state = env.reset(keys[e])
        episodes = [[]]
        for t in range(STEPS):
            after = one(state, actions[t, e])
            terminated = bool(after.done)
            truncated = not terminated and len(episodes[-1]) + 1 == LIMIT
            reward, obs, next_obs = (np.asarray(x) for x in (after.reward, state.obs, after.obs))
            episodes[-1].append(Step(obs, actions[t, e], reward, terminated, truncated, next_obs))
            state = after
            if terminated or truncated:
                state = first
                episodes.append([])
        runs.append(Rollout([episode for episode in episodes if episode], not (terminated or truncated)))
    return runs


@partial(jax.jit, static_argnums=0)
def collect(replay, inputs):
    recorder = jb.Recorder("same_step")
    env = AutoReset(Limited(PointMass(), LIMIT))
    keys, actions = inputs
    env_state = jax.vmap(env.reset)(keys)
    state = replay.init(row_like(env_state.obs[0], actions[0, 0]))

    def body(carry, action):
        state, rec, env_state = carry
        env_state = jax.vmap(env.step)(env_state, action)
        truncated = env_state.info["truncation"] > 0
        rec, rows, mask = recorder.step(
            rec, action=action, obs=env_state.obs, reward=env_state.reward,
            terminated=(env_state.done > 0) & ~truncated, truncated=truncated,
        )  # fmt: skip
        return (replay.add(state, rows, mask), rec, env_state), None

    return jax.lax.scan(body, (state, recorder.init(env_state.obs), env_state), actions)[0][0]


def stored(view, inputs):
    replay = jb.Replay(capacity=E * 128, num_envs=E, view=view)
    return read_all(replay, collect(replay, inputs))


def without_the_lost(run):
    """A step into a truncation is unknown; one into a termination is known but for what was observed there."""
    episodes = []
    for episode in known(run):
        last = episode[-1]
        if last.terminated:
            episode[-1] = last._replace(next_obs=last.obs)
        elif last.truncated:
            episode.pop()
        episodes.append(episode)
    return episodes


@pytest.mark.parametrize("n_step", [1, 3])
def test_only_the_transition_into_a_truncation_is_lost_and_a_termination_keeps_discount_0(inputs, alone, n_step):
    assert min(endings(alone)) >= 6  # both kinds of end are there
    view = jb.Transitions(n_step=n_step, gamma=GAMMA)
    for got, run in zip(stored(view, inputs), alone, strict=True):
        assert_same(got, [item.replace(extras=()) for item in transitions(without_the_lost(run), n_step)])


def test_no_transition_bootstraps_from_the_observation_of_another_episode(inputs):
    """A direct check: observations carry the step within the episode, so the next one is one later or is unused."""
    ended = 0
    for stream in stored(jb.Transitions(gamma=GAMMA), inputs):
        for item in stream:
            assert item.discount == (GAMMA if item.next_obs[2] == item.obs[2] + 1 else 0)
            ended += item.discount == 0
    assert ended >= 6


def test_a_truncated_episode_ends_at_its_last_known_row(inputs, alone):
    for got, run in zip(stored(jb.Items(), inputs), alone, strict=True):
        expected, following = [], rows(run)
        for row, after in zip(following, [*following[1:], None], strict=True):
            cut = after is not None and after.is_last and not after.is_terminal
            if row.is_terminal:
                row = row.replace(obs=expected[-1].obs)
            if not row.is_last or row.is_terminal:
                expected.append(row.replace(extras=(), is_last=row.is_last or cut))
        assert_same(got, expected)


def test_wrappers_of_the_test_environment_reset_as_brax_does():
    """Done and truncation are floats; after done the observation is the very first one, and steps count anew."""
    env = AutoReset(Limited(PointMass(), 2))
    state = env.reset(jax.random.key(0))
    first, seen = state.obs, []
    for _ in range(4):
        state = jax.jit(env.step)(state, jnp.float32(0))
        seen.append((float(state.done), float(state.info["truncation"]), bool((state.obs == first).all())))
    assert seen == [(0, 0, False), (1, 1, True), (0, 0, False), (1, 1, True)]
