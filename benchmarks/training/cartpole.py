"""CartPole, many at once, and a small network: what all training runs share."""

from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.same import require

ENV = gymnax.make("CartPole-v1")[0]
ACTIONS, OBS = 2, 4


class Outcome(NamedTuple):
    """What environments return, leaves ``[E, ...]``; ``obs`` is the first one of the next episode where one ended.

    ``arrived`` is the observation that the step led to, whether it ended the episode or not.
    """

    obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    arrived: jax.Array

    @property
    def done(self) -> jax.Array:
        """Whether the episode ended."""
        return self.terminated | self.truncated


def reset(key: jax.Array, envs: int) -> tuple[jax.Array, Any]:
    """Return observations ``[E, 4]`` and the state of the environments."""
    return jax.vmap(ENV.reset)(jax.random.split(key, envs))


def step(key: jax.Array, env: Any, action: jax.Array) -> tuple[Outcome, Any]:
    """Take a step in each."""
    keys = jax.random.split(key, len(action))
    obs, env, reward, terminated, truncated, info = jax.vmap(ENV.step)(keys, env, action)
    arrived = jnp.where((terminated | truncated)[:, None], info["final_observation"], obs)
    return Outcome(obs, reward.astype(jnp.float32), terminated, truncated, arrived), env


def layers(key: jax.Array, *sizes: int) -> list[tuple[jax.Array, jax.Array]]:
    """Return the weights and biases of a network, initialized as LeCun proposed."""
    keys = jax.random.split(key, len(sizes) - 1)
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return [(jax.random.normal(key, (a, b)) / jnp.sqrt(a), jnp.zeros(b)) for key, a, b in pairs]


def mlp(params: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    """Apply it: ReLU between the layers."""
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ params[-1][0] + params[-1][1]


def pick(values: jax.Array, action: jax.Array) -> jax.Array:
    """Take from values ``[..., A]`` those of the actions ``[...]``."""
    return jnp.take_along_axis(values, action[..., None], -1)[..., 0]


def dynamics(side: str, obs: Any, action: Any, next_obs: Any, goes_on: Any) -> None:
    """Raise unless each transition that does not end its episode is one that CartPole makes."""
    x, x_dot, theta, theta_dot = np.asarray(obs, np.float64).reshape(-1, OBS).T
    force = np.where(np.asarray(action).ravel() == 1, 10.0, -10.0)
    inner = (force + 0.05 * theta_dot**2 * np.sin(theta)) / 1.1
    turning = (9.8 * np.sin(theta) - np.cos(theta) * inner) / (0.5 * (4 / 3 - 0.1 * np.cos(theta) ** 2 / 1.1))
    pushing = inner - 0.05 * turning * np.cos(theta) / 1.1
    expected = np.stack([x + 0.02 * x_dot, x_dot + 0.02 * pushing, theta + 0.02 * theta_dot,
                         theta_dot + 0.02 * turning], -1)  # fmt: skip
    close = np.isclose(np.asarray(next_obs).reshape(-1, OBS), expected, rtol=1e-3, atol=1e-4).all(-1)
    require(close[np.asarray(goes_on).ravel()], side, "transitions that CartPole does not make")
