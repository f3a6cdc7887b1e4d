"""PPO on CartPole, of the sizes of purejaxrl's: our Rollout and its minibatches, or a plain permutation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.same import require
from benchmarks.training import cartpole
from benchmarks.training.curves import Curves, binned, compare, running

ENVS, STEPS, EPOCHS, BATCH, UNITS = 4, 128, 4, 128, 64
GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, RATE, NORM = 0.99, 0.95, 0.2, 0.01, 0.5, 2.5e-4, 0.5
ROLLOUT = jb.Rollout(STEPS, ENVS)
Epoch = Callable[[Any, jax.Array, Callable, Any], Any]


def ours(data: dict[str, jax.Array], key: jax.Array, update: Callable, learner: Any) -> Any:
    """Put the data ``[T, E, ...]`` into a rollout, and go through its minibatches once."""
    state = ROLLOUT.init(**{name: jax.ShapeDtypeStruct(x.shape[2:], x.dtype) for name, x in data.items()})
    for name, x in data.items():
        state = ROLLOUT.batch_update(state, name, x)
    batches = ROLLOUT.minibatches(state, key, BATCH)
    each = batches.index, batches.mask
    return jax.lax.scan(lambda learner, at: (update(learner, batches.take(*at).data), None), learner, each)[0]


def theirs(data: dict[str, jax.Array], key: jax.Array, update: Callable, learner: Any) -> Any:
    """Flatten, permute, cut: what most programs write out."""
    order = jax.random.permutation(key, STEPS * ENVS)
    parts = jax.tree.map(lambda x: x.reshape(STEPS * ENVS, *x.shape[2:])[order].reshape(-1, BATCH, *x.shape[2:]), data)
    return jax.lax.scan(lambda learner, batch: (update(learner, batch), None), learner, parts)[0]


def train(epoch: Epoch, updates: int, key: jax.Array) -> jax.Array:
    """Train one seed; return its curve, ``[BINS]``."""
    optimizer = optax.chain(optax.clip_by_global_norm(NORM), optax.adam(RATE, eps=1e-5))
    keys = jax.random.split(key, 4)
    obs, env = cartpole.reset(keys[0], ENVS)
    params = (cartpole.layers(keys[1], cartpole.OBS, UNITS, UNITS, cartpole.ACTIONS),
              cartpole.layers(keys[2], cartpole.OBS, UNITS, UNITS, 1))  # fmt: skip

    def act(carry: tuple, key: jax.Array) -> tuple:
        params, obs, env, score = carry
        keys = jax.random.split(key)
        logps = jax.nn.log_softmax(cartpole.mlp(params[0], obs))
        action = jax.random.categorical(keys[0], logps).astype(jnp.int32)
        out, env = cartpole.step(keys[1], env, action)
        values = [cartpole.mlp(params[1], x)[:, 0] for x in (obs, out.arrived)]
        seen = {"obs": obs, "action": action, "logp": cartpole.pick(logps, action), "value": values[0]}
        arrived = {"reward": out.reward, "next": values[1], "terminated": out.terminated, "truncated": out.truncated}
        score = score + out.reward
        return (params, out.obs, env, jnp.where(out.done, 0, score)), (seen, arrived, score, out.done)

    def loss(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        logps = jax.nn.log_softmax(cartpole.mlp(params[0], batch["obs"]))
        value = cartpole.mlp(params[1], batch["obs"])[:, 0]
        ratio = jnp.exp(cartpole.pick(logps, batch["action"]) - batch["logp"])
        advantage = (batch["advantage"] - batch["advantage"].mean()) / (batch["advantage"].std() + 1e-8)
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage).mean()
        entropy = -jnp.sum(jnp.exp(logps) * logps, -1).mean()
        return VALUE * jnp.mean((value - batch["target"]) ** 2) - gain - ENTROPY * entropy

    def improve(learner: tuple, batch: dict[str, jax.Array]) -> tuple:
        params, optimized = learner
        updates, optimized = optimizer.update(jax.grad(loss)(params, batch), optimized, params)
        return optax.apply_updates(params, updates), optimized

    def iterate(carry: tuple, key: jax.Array) -> tuple:
        params, optimized, *world = carry
        keys = jax.random.split(key)
        (_, *world), seen = jax.lax.scan(act, (params, *world), jax.random.split(keys[0], STEPS))
        seen, arrived, score, done = seen
        steps = arrived["reward"], seen["value"], arrived["next"], arrived["terminated"], arrived["truncated"]
        gae = jax.vmap(partial(jb.returns.gae, gamma=GAMMA, lam=LAMBDA), in_axes=1, out_axes=1)
        advantage, target = gae(*steps)
        data = {name: x for name, x in seen.items() if name != "value"} | {"advantage": advantage, "target": target}
        learner = params, optimized
        learner = jax.lax.scan(lambda learner, key: (epoch(data, key, improve, learner), None), learner,
                               jax.random.split(keys[1], EPOCHS))[0]  # fmt: skip
        return (*learner, *world), (score, done)

    begin = params, optimizer.init(params), obs, env, jnp.zeros(ENVS)
    _, (score, done) = jax.lax.scan(iterate, begin, jax.random.split(keys[3], updates))
    return binned(score.reshape(-1, ENVS), done.reshape(-1, ENVS))


def contest(updates: int, seeds: int) -> Contest:
    """Both sides in one process, ``seeds`` at once."""
    curves = {"jaxbuffers": Curves(), "a permutation": Curves()}

    def side(name: str, epoch: Epoch) -> Side:
        data = {"obs": jnp.arange(STEPS * ENVS, dtype=jnp.int32).reshape(STEPS, ENVS)}
        note = lambda seen, batch: (seen[0].at[seen[1]].set(batch["obs"]), seen[1] + 1)  # noqa: E731
        shape = jnp.zeros((STEPS * ENVS // BATCH, BATCH), jnp.int32)
        seen = jax.jit(lambda key: epoch(data, key, note, (shape, 0))[0])(jax.random.key(0))
        jitted = jax.jit(jax.vmap(partial(train, epoch, updates)))
        return Side(running(jitted, curves[name], seeds), np.asarray(seen))

    def same(ours: np.ndarray, theirs: np.ndarray) -> None:
        for name, seen in (("jaxbuffers", ours), ("a permutation", theirs)):
            require(np.sort(seen.ravel()) == np.arange(STEPS * ENVS), name, "rows left out of an epoch, or read twice")

    made = partial(side, "jaxbuffers", ours), partial(side, "a permutation", theirs)
    return Contest(*made, same, after=lambda: compare(curves))
