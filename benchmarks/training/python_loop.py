"""DQN on CartPole in a Python loop: the same jitted learner beside HostReplay or another's buffer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.case import Contest, Side
from benchmarks.sides.host import COLUMNS, PEERS, Buffer, inserting
from benchmarks.training import cartpole
from benchmarks.training.curves import BINS, Curves, alike, compare

CAPACITY, BATCH, GAMMA, RATE, UNITS, SLOW = 10_000, 128, 0.99, 1e-3, (120, 84), 0.01
EXPLORING, EPSILON, WARM_UP = 0.5, 0.05, 0.1  # parts of all steps, and the least randomness
ROW = {"obs": np.zeros((1, 4), np.float32), "act": np.zeros((1, 1), np.int32), "rew": np.zeros(1, np.float32),
       "next_obs": np.zeros((1, 4), np.float32), "done": np.zeros(1, np.float32)}  # fmt: skip
_optimizer = optax.adam(RATE)


@jax.jit
def begin(key: jax.Array) -> tuple:
    """Return parameters, target and optimizer."""
    params = cartpole.layers(key, cartpole.OBS, *UNITS, cartpole.ACTIONS)
    return params, jax.tree.map(jnp.copy, params), _optimizer.init(params)


@jax.jit
def best(params: Any, obs: np.ndarray) -> jax.Array:
    """Return the best action of an observation."""
    return jnp.argmax(cartpole.mlp(params, obs))


@partial(jax.jit, donate_argnums=0)
def learn(learner: tuple, batch: dict[str, Any]) -> tuple:
    """Make one update."""
    params, target, optimized = learner
    rows = {name: jnp.asarray(x) for name, x in batch.items()}
    obs, following, action = rows["obs"], rows["next_obs"], rows["act"].reshape(-1)
    reward, done = rows["rew"].reshape(-1), rows["done"].reshape(-1)
    goal = reward + GAMMA * (1 - done) * cartpole.mlp(target, following).max(-1)

    def loss(params: Any) -> jax.Array:
        return jnp.mean((cartpole.pick(cartpole.mlp(params, obs), action) - goal) ** 2)

    updates, optimized = _optimizer.update(jax.grad(loss)(params), optimized, params)
    params = optax.apply_updates(params, updates)
    return params, optax.incremental_update(params, target, SLOW), optimized


def train(buffer: Buffer, steps: int, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Train; return the curve, ``[BINS]``, and one batch of the end."""
    env, random = gym.make("CartPole-v1"), np.random.default_rng(seed)
    learner, obs, score = begin(jax.random.key(seed)), env.reset(seed=seed)[0], 0.0
    sums, counts = np.zeros(BINS), np.zeros(BINS)
    for step in range(steps):
        epsilon = max(EPSILON, 1 - (1 - EPSILON) * step / (EXPLORING * steps))
        greedy = random.random() >= epsilon
        action = int(best(learner[0], obs)) if greedy else int(random.integers(2))
        following, reward, terminated, truncated, _ = env.step(action)
        row = {"obs": obs, "act": np.full(1, action, np.int32), "rew": np.float32(reward), "next_obs": following,
               "done": np.float32(terminated)}  # fmt: skip
        buffer.add({name: np.asarray(x, ROW[name].dtype)[None] for name, x in row.items()})
        obs, score = following, score + float(reward)
        if terminated or truncated:
            sums[step * BINS // steps] += score
            counts[step * BINS // steps] += 1
            obs, score = env.reset()[0], 0.0
        if step >= WARM_UP * steps:
            batch = buffer.read(buffer.sample())
            learner = learn(learner, {name: batch[name] for name in COLUMNS})
    jax.block_until_ready(learner)
    return np.divide(sums, counts, out=np.full(BINS, np.nan), where=counts > 0), buffer.read(buffer.sample())


def contest(peer: str, steps: int) -> Contest:
    """Both sides in one process, another seed each time, the same seeds on both."""
    curves = {"jaxbuffers": Curves(), peer: Curves()}

    def side(name: str, make: Callable[..., Buffer]) -> Side:
        curve, batch = train(make(CAPACITY, ROW, BATCH), steps, 0)
        seeds = iter(range(1, 10**9))
        shown = curve, {name: np.asarray(x) for name, x in batch.items()}
        return Side(lambda: curves[name].add(train(make(CAPACITY, ROW, BATCH), steps, next(seeds))[0]), shown)

    def same(ours: tuple, theirs: tuple) -> None:
        alike(ours[0], theirs[0])
        for name, (_, batch) in (("jaxbuffers", ours), (peer, theirs)):
            goes_on = batch["done"].ravel() == 0
            cartpole.dynamics(name, batch["obs"], batch["act"], batch["next_obs"], goes_on)

    made = partial(side, "jaxbuffers", inserting), partial(side, peer, PEERS[peer])
    return Contest(*made, same, after=lambda: compare(curves))
