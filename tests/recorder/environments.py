"""Small environments whose observations say which episode and step they are, so that a wrong pair shows."""

import zlib

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

# For each environment its episodes in order, cycled: (steps, how it ends). Many last one step.
SCRIPTS = (
    ((1, "terminated"), (1, "truncated"), (3, "terminated"), (2, "truncated")),
    ((4, "truncated"), (1, "truncated"), (1, "terminated")),
    ((2, "both"), (5, "terminated"), (1, "truncated"), (1, "both")),
)


class Scripted(gym.Env):
    """Observations are [environment, episode, step]; rewards are never 0 and depend on the action."""

    action_space = gym.spaces.Discrete(8)

    def __init__(self, number, as_dict=False):
        self.number, self.script, self.as_dict = number, SCRIPTS[number], as_dict
        self.episode = -1
        where = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        pixels = gym.spaces.Box(0, 255, (2, 2), np.uint8)
        self.observation_space = gym.spaces.Dict({"pixels": pixels, "where": where}) if as_dict else where

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action):
        self.time += 1
        steps, ending = self.script[self.episode % len(self.script)]
        over = self.time == steps
        reward = 100.0 * self.number + 10.0 * self.episode + self.time + action / 16
        return self._observe(), reward, over and ending != "truncated", over and ending != "terminated", {}

    def _observe(self):
        where = np.array([self.number, self.episode, self.time], np.float32)
        pixels = np.array([[self.number, self.episode], [self.time, 255]], np.uint8)
        return {"pixels": pixels, "where": where} if self.as_dict else where


def policy(num_actions, lowest=0):
    """Choose an action as a function of one observation alone, erratic but repeatable."""

    def act(obs):
        digest = b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in jax.tree.leaves(obs))
        return np.int32(lowest + zlib.crc32(digest) % (num_actions - lowest))

    return act


def cart_pole():
    """CartPole that is cut after 13 steps; an erratic policy falls earlier about as often."""
    return gym.make("CartPole-v1", max_episode_steps=13)


# What follows keeps the interface and the reset behavior of brax: a state that carries everything, a limit on the
# steps that reports ``info["truncation"]``, and a reset to the first state that forgets the final observation.


@struct.dataclass
class BraxState:
    pipeline_state: jax.Array
    obs: jax.Array
    reward: jax.Array
    done: jax.Array
    info: dict


class PointMass:
    """A point on a line, in halves so that float arithmetic is exact; it terminates beyond a distance of 2."""

    def reset(self, key):
        start = jnp.stack([jax.random.randint(key, (), -1, 2).astype(jnp.float32), jnp.float32(0), jnp.float32(0)])
        return BraxState(start, start, jnp.float32(0), jnp.float32(0), {})

    def step(self, state, action):
        position, speed, time = state.pipeline_state
        position, speed, time = position + speed / 2, speed + action, time + 1
        now = jnp.stack([position, speed, time])
        fell = (jnp.abs(position) > 2).astype(jnp.float32)
        return state.replace(pipeline_state=now, obs=now, reward=position + action / 4 + 8, done=fell)


class Limited:
    """Cut episodes after a number of steps: done and ``info["truncation"]`` are floats, as in brax."""

    def __init__(self, env, steps):
        self.env, self.steps = env, steps

    def reset(self, key):
        state = self.env.reset(key)
        return state.replace(info={**state.info, "steps": jnp.float32(0), "truncation": jnp.float32(0)})

    def step(self, state, action):
        after = self.env.step(state, action)
        steps = state.info["steps"] + 1
        over = steps >= self.steps
        info = {**after.info, "steps": steps, "truncation": jnp.where(over, 1 - after.done, jnp.float32(0))}
        return after.replace(done=jnp.where(over, jnp.float32(1), after.done), info=info)


class AutoReset:
    """Return to the very first state where an episode is over; its final observation is gone."""

    def __init__(self, env):
        self.env = env

    def reset(self, key):
        state = self.env.reset(key)
        return state.replace(info={**state.info, "first": (state.pipeline_state, state.obs)})

    def step(self, state, action):
        steps = jnp.where(state.done > 0, jnp.float32(0), state.info["steps"])
        state = state.replace(done=jnp.float32(0), info={**state.info, "steps": steps})
        state = self.env.step(state, action)
        first_pipeline_state, first_obs = state.info["first"]
        over = state.done > 0
        return state.replace(
            pipeline_state=jnp.where(over, first_pipeline_state, state.pipeline_state),
            obs=jnp.where(over, first_obs, state.obs),
        )
