"""A recurrent Q-learner on CartPole without velocities: sequences drawn by priority, ours or flashbax's.

After "Recurrent Experience Replay in Distributed Reinforcement Learning" (Kapturowski et al. 2019), without burn-in and
stored states: the network starts each sequence from zeros, and anew where an episode begins. Both sides store the same
rows; windows of both may cross the ends of episodes.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flashbax as fbx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.compiled import compiled
from benchmarks.same import require
from benchmarks.training import cartpole
from benchmarks.training.curves import Curves, alike, binned, compare, running

ENVS, CAPACITY, BATCH, LENGTH, UNITS, GAMMA = 8, 2**17, 32, 16, 64, 0.97  # a ring larger than activations
ALPHA, BETA, LONGEST, RATE, TARGET_EVERY, EPSILON, WARM_UP = 0.6, 0.4, 0.9, 1e-3, 200, 0.1, 0.1
SEEN = jnp.array([0, 2])  # where the cart is, and how the pole leans


class Memory(NamedTuple):
    """A replay of sequences as the learner sees it."""

    init: Callable[[Any], Any]  # from one row
    add: Callable[[Any, Any], Any]  # rows [E, ...]
    sample: Callable[[Any, jax.Array], tuple]  # rows [B, L, ...], probability [B], where to send priorities
    update: Callable[[Any, Any, jax.Array], Any]
    weights: Callable[[Any, jax.Array], jax.Array]


def ours() -> Memory:
    """A ring and its sum tree."""
    replay = jb.Replay(CAPACITY, ENVS, BATCH, jb.Sequences(LENGTH), jb.Prioritized(alpha=ALPHA))

    def sample(state: Any, key: jax.Array) -> tuple:
        batch = replay.sample(state, key)
        return batch.data, batch.probability, batch.index

    return Memory(
        replay.init, replay.add, sample,
        lambda state, index, priority: replay.update(state, index, priority=priority),
        lambda state, probability: jb.importance_weights(probability, replay.count(state), BETA),
    )  # fmt: skip


def theirs() -> Memory:
    """The prioritised trajectory buffer of flashbax."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = fbx.make_prioritised_trajectory_buffer(
            add_batch_size=ENVS, sample_batch_size=BATCH, sample_sequence_length=LENGTH, period=1,
            min_length_time_axis=LENGTH, max_length_time_axis=CAPACITY // ENVS, priority_exponent=ALPHA,
            device=jax.default_backend(),
        )  # fmt: skip

    def sample(state: Any, key: jax.Array) -> tuple:
        batch = buffer.sample(state, key)
        return batch.experience, batch.probabilities, batch.indices

    def weights(_: Any, probability: jax.Array) -> jax.Array:
        weight = (1 / probability) ** BETA
        return weight / jnp.max(weight)

    add = lambda state, rows: buffer.add(state, jax.tree.map(lambda x: x[:, None], rows))  # noqa: E731
    return Memory(buffer.init, add, sample, buffer.set_priorities, weights)


def network(key: jax.Array) -> dict[str, Any]:
    """Return the parameters of a gated recurrent unit (Cho et al. 2014) and of a head."""
    keys = jax.random.split(key, 3)
    return {"gates": cartpole.layers(keys[0], 2 + UNITS, 2 * UNITS)[0], "new": cartpole.layers(keys[1], 2 + UNITS,
            UNITS)[0], "head": cartpole.layers(keys[2], UNITS, UNITS, cartpole.ACTIONS)}  # fmt: skip


def think(params: dict[str, Any], hidden: jax.Array, obs: jax.Array, first: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Take a step: hidden states ``[B, H]``, observations ``[B, 2]``; return hidden states and values ``[B, A]``."""
    hidden = jnp.where(first[:, None], 0, hidden)
    gates = jax.nn.sigmoid(jnp.concatenate([obs, hidden], -1) @ params["gates"][0] + params["gates"][1])
    keep, reset = jnp.split(gates, 2, -1)
    new = jnp.tanh(jnp.concatenate([obs, reset * hidden], -1) @ params["new"][0] + params["new"][1])
    hidden = keep * hidden + (1 - keep) * new
    return hidden, cartpole.mlp(params["head"], hidden)


def values(params: dict[str, Any], rows: dict[str, jax.Array]) -> jax.Array:
    """Return values ``[L, B, A]`` of sequences ``[B, L, ...]``."""
    each = rows["obs"].swapaxes(0, 1), rows["first"].swapaxes(0, 1)
    return jax.lax.scan(lambda h, x: think(params, h, *x), jnp.zeros((len(rows["obs"]), UNITS)), each)[1]


def train(memory: Memory, steps: int, key: jax.Array) -> tuple[jax.Array, tuple]:
    """Train one seed, an update every second step; return its curve and one batch of the end."""
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(RATE))
    keys = jax.random.split(key, 3)
    obs, env = cartpole.reset(keys[0], ENVS)
    params, first = network(keys[1]), jnp.full(ENVS, True)
    row = {"obs": obs[0, SEEN], "action": jnp.int32(0), "reward": jnp.float32(0), "done": first[0], "first": first[0]}
    begin = (memory.init(row), params, params, optimizer.init(params)), (obs, first, jnp.zeros((ENVS, UNITS)), env)

    def learn(learner: tuple, key: jax.Array) -> tuple:
        held, params, target, optimized = learner
        rows, probability, where = memory.sample(held, key)
        action, reward, done = (rows[name].swapaxes(0, 1)[:-1] for name in ("action", "reward", "done"))
        goal = reward + GAMMA * (1.0 - done) * values(target, rows)[1:].max(-1)
        weight = memory.weights(held, probability)

        def loss(params: Any) -> tuple[jax.Array, jax.Array]:
            error = goal - cartpole.pick(values(params, rows)[:-1], action)  # [L - 1, B]
            return jnp.mean(weight * error**2), jnp.abs(error)

        grads, error = jax.grad(loss, has_aux=True)(params)
        updates, optimized = optimizer.update(grads, optimized, params)
        priority = LONGEST * error.max(0) + (1 - LONGEST) * error.mean(0) + 1e-6
        # Times 1, in a way that orders the read of the tree before the write: else XLA copies the peer's tree.
        held = memory.update(held, where, priority * (probability > -1))
        return held, optax.apply_updates(params, updates), target, optimized

    def step(carry: tuple, each: tuple[jax.Array, jax.Array]) -> tuple:
        (held, params, target, optimized), (obs, first, hidden, env), score = carry
        number, keys = each[0], jax.random.split(each[1], 4)
        hidden, value = think(params, hidden, obs[:, SEEN], first)
        epsilon = jnp.maximum(EPSILON, 1 - number / (0.3 * steps))
        random = jax.random.randint(keys[0], (ENVS,), 0, cartpole.ACTIONS)
        greedy = jnp.argmax(value, -1).astype(jnp.int32)
        action = jnp.where(jax.random.bernoulli(keys[1], epsilon, (ENVS,)), random, greedy)
        out, env = cartpole.step(keys[2], env, action)
        rows = {"obs": obs[:, SEEN], "action": action, "reward": out.reward, "done": out.done, "first": first}
        learner = memory.add(held, rows), params, target, optimized
        due = (number >= WARM_UP * steps) & (number % 2 == 0)
        learner = jax.lax.cond(due, learn, lambda learner, _: learner, learner, keys[3])
        held, params, target, optimized = learner
        target = jax.tree.map(lambda a, b: jnp.where(number % TARGET_EVERY == 0, a, b), params, target)
        score = score + out.reward
        world = out.obs, out.done, hidden, env
        return ((held, params, target, optimized), world, jnp.where(out.done, 0, score)), (score, out.done)

    numbers = jnp.arange(steps), jax.random.split(keys[2], steps)
    end, episodes = jax.lax.scan(step, (*begin, jnp.zeros(ENVS)), numbers)
    return binned(*episodes), memory.sample(end[0][0], key)[:2]


def contest(steps: int, seeds: int) -> Contest:
    """Both sides in one process."""
    curves = {"jaxbuffers": Curves(), "flashbax": Curves()}

    def side(name: str, memory: Callable[[], Memory]) -> Side:
        keys = jax.random.split(jax.random.key(10**6), seeds)
        jitted = jax.jit(jax.vmap(partial(train, memory(), steps)))
        program = compiled(name, jitted, keys, least=CAPACITY * seeds, in_loops=True)
        require(" conditional(" in program.as_text(), name, "the gate became a select")
        curve, batch = jax.tree.map(np.asarray, program(keys))
        return Side(running(lambda keys: program(keys)[0], curves[name], seeds), (curve, *batch))

    def same(ours: tuple, theirs: tuple) -> None:
        alike(ours[0], theirs[0])
        for name, (_, rows, probability) in (("jaxbuffers", ours), ("flashbax", theirs)):
            require(rows["done"][:, :, :-1] == rows["first"][:, :, 1:], name, "rows that do not follow each other")
            require((probability > 0) & (probability < 1), name, "probabilities that are none")

    made = partial(side, "jaxbuffers", ours), partial(side, "flashbax", theirs)
    return Contest(*made, same, after=lambda: compare(curves))
