"""DQN on CartPole in one compiled scan, of the sizes of purejaxrl's: our replay in it, or flashbax's."""

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
from benchmarks.same import Pair, require
from benchmarks.training import cartpole
from benchmarks.training.curves import Curves, alike, binned, compare, running

ENVS, CAPACITY, BATCH, GAMMA = 10, 10_000, 128, 0.99
UNITS, RATE, TARGET_EVERY, EXPLORING, EPSILON = (120, 84), 1e-3, 50, 0.5, 0.05
WARM_UP = 0.1  # of all steps, before the first update


class Memory(NamedTuple):
    """A replay as the learner sees it."""

    init: Callable[[jax.Array], Any]  # from the first observations
    add: Callable[[Any, jax.Array, jax.Array, cartpole.Outcome], Any]  # the memory, observations, actions, outcome
    sample: Callable[[Any, jax.Array], Pair]


def ours() -> Memory:
    """A ring of rows, and a recorder that makes them."""
    recorder, view = jb.Recorder("same_step"), jb.Transitions(gamma=GAMMA)
    replay = jb.Replay(CAPACITY, ENVS, BATCH, view)

    def init(obs: jax.Array) -> tuple:
        rec = recorder.init(obs)
        return rec, replay.init(recorder.row(rec, action=jnp.zeros(ENVS, jnp.int32)))

    def add(memory: tuple, _: jax.Array, action: jax.Array, out: cartpole.Outcome) -> tuple:
        rec, rows, mask = recorder.step(
            memory[0], action=action, obs=out.obs, reward=out.reward, final_obs=out.arrived,
            terminated=out.terminated, truncated=out.truncated,
        )  # fmt: skip
        return rec, replay.add(memory[1], rows, mask)

    def sample(memory: tuple, key: jax.Array) -> Pair:
        data = replay.sample(memory[1], key).data
        return Pair(data.obs, data.action, data.reward, data.discount, data.next_obs)

    return Memory(init, add, sample)


def theirs() -> Memory:
    """The flat buffer of flashbax: a step's observation, action, reward and end; the row after it has what followed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = fbx.make_flat_buffer(CAPACITY, BATCH, BATCH, add_sequences=False, add_batch_size=ENVS)

    def init(obs: jax.Array) -> Any:
        row = {"obs": obs[0], "action": jnp.int32(0), "reward": jnp.float32(0), "done": jnp.bool_(False)}
        return buffer.init(row)

    def add(memory: Any, obs: jax.Array, action: jax.Array, out: cartpole.Outcome) -> Any:
        return buffer.add(memory, {"obs": obs, "action": action, "reward": out.reward, "done": out.done})

    def sample(memory: Any, key: jax.Array) -> Pair:
        first, second = buffer.sample(memory, key).experience
        return Pair(first["obs"], first["action"], first["reward"], GAMMA * (1.0 - first["done"]), second["obs"])

    return Memory(init, add, sample)


def train(memory: Memory, steps: int, every: int, key: jax.Array) -> tuple[jax.Array, Pair]:
    """Train one seed; return its curve, ``[BINS]``, and one batch of the end."""
    optimizer = optax.adam(RATE)
    keys = jax.random.split(key, 3)
    obs, env = cartpole.reset(keys[0], ENVS)
    params = cartpole.layers(keys[1], cartpole.OBS, *UNITS, cartpole.ACTIONS)
    begin = memory.init(obs), params, params, optimizer.init(params), obs, env, jnp.zeros(ENVS)

    def learn(learner: tuple, held: Any, key: jax.Array) -> tuple:
        params, target, optimized = learner
        pair = memory.sample(held, key)
        goal = pair.reward + pair.discount * cartpole.mlp(target, pair.next_obs).max(-1)

        def loss(params: Any) -> jax.Array:
            return jnp.mean((cartpole.pick(cartpole.mlp(params, pair.obs), pair.action) - goal) ** 2)

        updates, optimized = optimizer.update(jax.grad(loss)(params), optimized, params)
        return optax.apply_updates(params, updates), target, optimized

    def step(carry: tuple, each: tuple[jax.Array, jax.Array]) -> tuple:
        held, params, target, optimized, obs, env, score = carry
        number, keys = each[0], jax.random.split(each[1], 4)
        epsilon = jnp.maximum(EPSILON, 1 - (1 - EPSILON) * number / (EXPLORING * steps))
        best = jnp.argmax(cartpole.mlp(params, obs), -1).astype(jnp.int32)
        random = jax.random.randint(keys[0], (ENVS,), 0, cartpole.ACTIONS)
        action = jnp.where(jax.random.bernoulli(keys[1], epsilon, (ENVS,)), random, best)
        out, env = cartpole.step(keys[2], env, action)
        held, score = memory.add(held, obs, action, out), score + out.reward
        # The scan's own counter gates, on both sides: it is one number for all seeds, so vmap keeps the branch.
        due = (number >= WARM_UP * steps) & (number % every == 0)
        learner = jax.lax.cond(due, learn, lambda learner, *_: learner, (params, target, optimized), held, keys[3])
        params, target, optimized = learner
        target = jax.tree.map(lambda a, b: jnp.where(number % TARGET_EVERY == 0, a, b), params, target)
        return (held, params, target, optimized, out.obs, env, jnp.where(out.done, 0, score)), (score, out.done)

    numbers = jnp.arange(steps), jax.random.split(keys[2], steps)
    end, episodes = jax.lax.scan(step, begin, numbers)
    return binned(*episodes), memory.sample(end[0], key)


def contest(steps: int, every: int, seeds: int) -> Contest:
    """Both sides in one process: ``seeds`` at once under vmap, learning in every ``every``-th step."""
    curves = {"jaxbuffers": Curves(), "flashbax": Curves()}

    def side(name: str, memory: Callable[[], Memory]) -> Side:
        keys = jax.random.split(jax.random.key(10**6), seeds)
        jitted = jax.jit(jax.vmap(partial(train, memory(), steps, every)))
        held = jax.eval_shape(lambda: jax.vmap(memory().init)(jnp.zeros((seeds, ENVS, cartpole.OBS))))
        program = compiled(name, jitted, keys, least=CAPACITY * cartpole.OBS * seeds, in_loops=True, held=held)
        require(" conditional(" in program.as_text(), name, "the gate became a select")
        curve, pair = jax.tree.map(np.asarray, program(keys))
        return Side(running(lambda keys: program(keys)[0], curves[name], seeds), (curve, pair))

    def same(ours: tuple, theirs: tuple) -> None:
        alike(ours[0], theirs[0])
        for name, (_, pair) in (("jaxbuffers", ours), ("flashbax", theirs)):
            cartpole.dynamics(name, pair.obs, pair.action, pair.next_obs, pair.discount > 0)

    made = partial(side, "jaxbuffers", ours), partial(side, "flashbax", theirs)
    return Contest(*made, same, after=lambda: compare(curves))
