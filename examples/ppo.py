"""PPO in one file: environments, rollouts and learning inside one jitted loop, several seeds at once.

    pip install ".[examples]"
    python examples/ppo.py                                               # CartPole, four seeds, under a minute
    python examples/ppo.py --env Breakout-MinAtar --steps 3_000_000      # some minutes

A policy plays for a while in parallel environments, every step goes into a `jb.Rollout`, advantages are estimated from
where each step arrived, and a few epochs of shuffled minibatches improve the policy, clipped so that it stays close to
the one that played. Schulman et al., "Proximal Policy Optimization Algorithms", 2017, with the advantages of Schulman
et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.lax import scan, while_loop
from jax.random import categorical, split
from running import Bars, means, numbered_keys, options, picture

import jaxbuffers as jb

NUM_ENVS, NUM_STEPS, CHUNK, TRIAL = 16, 64, 10, 20  # steps of a rollout; rollouts in a call; episodes to judge a policy
EPISODES = 100  # of which a curve is the mean
EPOCHS, BATCH = 4, 256
GAMMA, LAMBDA, CLIP, ENTROPY, VALUE = 0.99, 0.95, 0.2, 0.01, 0.5
UNITS, LEARNING_RATE, MAX_NORM = 64, 2.5e-3, 0.5
ROLLOUT = jb.Rollout(NUM_STEPS, NUM_ENVS)


def mlp(inputs: int, outputs: int, scale: float, rngs: nnx.Rngs) -> nnx.Sequential:
    """Two hidden layers; a small ``scale`` makes the first policy nearly uniform."""
    init, last = nnx.initializers.orthogonal(2.0**0.5), nnx.initializers.orthogonal(scale)
    layers = [nnx.Linear(inputs, UNITS, kernel_init=init, rngs=rngs), jnp.tanh]
    layers += [nnx.Linear(UNITS, UNITS, kernel_init=init, rngs=rngs), jnp.tanh]
    return nnx.Sequential(*layers, nnx.Linear(UNITS, outputs, kernel_init=last, rngs=rngs))


class ActorCritic(nnx.Module):
    """What to do, and what it is worth."""

    def __init__(self, inputs: int, actions: int, rngs: nnx.Rngs) -> None:
        self.actor, self.critic = mlp(inputs, actions, 0.01, rngs), mlp(inputs, 1, 1.0, rngs)

    def __call__(self, obs: Array) -> tuple[Array, Array]:
        """Map observations [B, ...] to log-probabilities of actions [B, A] and values [B]."""
        x = obs.reshape(len(obs), -1).astype(jnp.float32)
        return jax.nn.log_softmax(self.actor(x)), self.critic(x)[:, 0]


class Run(NamedTuple):
    """All that changes in a run."""

    params: nnx.State
    optimizer: optax.OptState
    env: Any
    obs: Array  # [E, ...], what the policy acts on next
    score: Array  # [E], of the episodes under way


class PPO:
    """The agent and its environments: pure functions of a `Run`, vmapped over seeds."""

    def __init__(self, env: str, updates: int) -> None:
        self.env = gymnax.make(env)[0]
        obs = jax.eval_shape(self.env.reset, jax.random.key(0))[0]
        self.network = partial(ActorCritic, int(np.prod(obs.shape)), self.env.num_actions)
        self.graph, _ = nnx.split(self.network(nnx.Rngs(0)))
        steps = updates * EPOCHS * -(-NUM_STEPS * NUM_ENVS // BATCH)
        schedule = optax.linear_schedule(LEARNING_RATE, 0.0, steps)
        self.optimizer = optax.chain(optax.clip_by_global_norm(MAX_NORM), optax.adam(schedule, eps=1e-5))

    def apply(self, params: nnx.State, obs: Array) -> tuple[Array, Array]:
        """Return log-probabilities [B, A] and values [B]."""
        return nnx.merge(self.graph, params)(obs)

    @partial(jax.jit, static_argnames="self")
    def begin(self, keys: Array) -> Run:
        """Begin a run for each key [S]."""

        def one(key: Array) -> Run:
            keys = split(key)
            obs, env = jax.vmap(self.env.reset)(split(keys[0], NUM_ENVS))
            _, params = nnx.split(self.network(nnx.Rngs(keys[1])))
            return Run(params, self.optimizer.init(params), env, obs, jnp.zeros(NUM_ENVS))

        return jax.vmap(one)(keys)

    def play(self, run: Run, key: Array) -> tuple[Run, jb.RolloutState, tuple[Array, Array]]:
        """Fill a rollout; also returns which episodes were done and the scores so far, [T, E]."""
        row = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in ("logp", "value", "next_value", "reward")}
        row |= {name: jax.ShapeDtypeStruct((), jnp.bool_) for name in ("terminated", "truncated")}
        row |= {"obs": run.obs[0], "action": jax.ShapeDtypeStruct((), jnp.int32)}

        def step(carry: tuple[Run, jb.RolloutState], inputs: tuple[Array, Array]) -> tuple:
            (run, rollout), (t, key) = carry, inputs
            keys = split(key)
            logps, value = self.apply(run.params, run.obs)
            action = categorical(keys[0], logps).astype(jnp.int32)
            logp = jnp.take_along_axis(logps, action[:, None], -1)[:, 0]
            obs, env, reward, terminated, truncated, info = jax.vmap(self.env.step)(
                split(keys[1], NUM_ENVS), run.env, action
            )
            # Where the step arrived: gymnax resets in the step that ends an episode, and keeps the final observation.
            done, reward = terminated | truncated, reward.astype(jnp.float32)
            arrived = jnp.where(done.reshape(-1, *(1,) * (obs.ndim - 1)), info["final_observation"], obs)
            seen = {"obs": run.obs, "action": action, "logp": logp, "value": value, "reward": reward}
            seen |= {"next_value": self.apply(run.params, arrived)[1], "terminated": terminated, "truncated": truncated}
            for name, data in seen.items():
                rollout = ROLLOUT.update(rollout, name, t, data)
            score = run.score + reward
            run = run._replace(env=env, obs=obs, score=jnp.where(done, 0.0, score))
            return (run, rollout), (done, score)

        inputs = jnp.arange(NUM_STEPS), split(key, NUM_STEPS)
        (run, rollout), episodes = scan(step, (run, ROLLOUT.init(**row)), inputs)
        return run, rollout, episodes

    def learn(self, run: Run, rollout: jb.RolloutState, key: Array) -> Run:
        """Estimate advantages, and make some epochs of minibatches."""
        gae = partial(jb.returns.gae, gamma=GAMMA, lam=LAMBDA)
        steps = [rollout.data[name] for name in ("reward", "value", "next_value", "terminated", "truncated")]
        advantage, target = jax.vmap(gae, in_axes=1, out_axes=1)(*steps)
        for name, data in {"advantage": advantage, "target": target}.items():
            rollout = ROLLOUT.batch_update(ROLLOUT.register(rollout, name), name, data)

        def update(run: Run, batch: dict[str, Array]) -> Run:
            grads = jax.grad(self.loss)(run.params, batch)
            updates, optimizer = self.optimizer.update(grads, run.optimizer, run.params)
            return run._replace(params=optax.apply_updates(run.params, updates), optimizer=optimizer)

        def epoch(run: Run, key: Array) -> tuple[Run, None]:
            batches = ROLLOUT.minibatches(rollout, key, BATCH)
            inputs = batches.index, batches.mask
            return scan(lambda run, at: (update(run, batches.take(*at).data), None), run, inputs)

        return scan(epoch, run, split(key, EPOCHS))[0]

    def loss(self, params: nnx.State, batch: dict[str, Array]) -> Array:
        """The clipped objective, the error of the values, and a reward for being undecided."""
        logps, value = self.apply(params, batch["obs"])
        ratio = jnp.exp(jnp.take_along_axis(logps, batch["action"][:, None], -1)[:, 0] - batch["logp"])
        advantage = (batch["advantage"] - batch["advantage"].mean()) / (batch["advantage"].std() + 1e-8)
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage).mean()
        entropy = -jnp.sum(jnp.exp(logps) * logps, -1).mean()
        return -gain + VALUE * jnp.mean((value - batch["target"]) ** 2) - ENTROPY * entropy

    @partial(jax.jit, static_argnames="self", donate_argnames="run")
    def chunk(self, run: Run, keys: Array) -> tuple[Run, tuple[Array, Array]]:
        """Play and learn CHUNK times with every seed; also returns the episodes, [S, CHUNK * T, E]."""

        def iterate(run: Run, key: Array) -> tuple[Run, tuple[Array, Array]]:
            keys = split(key)
            run, rollout, episodes = self.play(run, keys[0])
            return self.learn(run, rollout, keys[1]), episodes

        run, episodes = jax.vmap(lambda run, key: scan(iterate, run, split(key, CHUNK)))(run, keys)
        return run, jax.tree.map(lambda x: x.reshape(len(x), -1, NUM_ENVS), episodes)

    @partial(jax.jit, static_argnames=("self", "random"))
    def evaluate(self, run: Run, keys: Array, random: bool = False) -> Array:
        """Play one episode in each of TRIAL new environments, for every seed: scores [S, TRIAL]."""

        def step(params: nnx.State, carry: tuple) -> tuple:
            key, obs, env, playing, score = carry
            keys, logps = split(key, 3), self.apply(params, obs)[0]
            action = categorical(keys[0], jnp.zeros_like(logps)) if random else jnp.argmax(logps, -1)
            obs, env, reward, terminated, truncated, _ = jax.vmap(self.env.step)(
                split(keys[1], TRIAL), env, action.astype(jnp.int32)
            )
            return keys[2], obs, env, playing & ~(terminated | truncated), score + jnp.where(playing, reward, 0.0)

        def one(params: nnx.State, key: Array) -> Array:
            keys = split(key)
            obs, env = jax.vmap(self.env.reset)(split(keys[0], TRIAL))
            start = keys[1], obs, env, jnp.full(TRIAL, True), jnp.zeros(TRIAL)
            return while_loop(lambda carry: carry[3].any(), partial(step, params), start)[-1]

        return jax.vmap(one)(run.params, keys)


def train(ppo: PPO, chunks: int, keys: Callable, seeds: int, show: Callable) -> tuple[np.ndarray, float, np.ndarray]:
    """Train; returns training scores [C, S], a random policy's, and greedy ones [S, TRIAL]."""
    run, curves, last = ppo.begin(keys(0)), [], [[np.nan] for _ in range(seeds)]
    random = float(ppo.evaluate(run, keys(1), random=True).mean())
    for chunk in range(1, chunks + 1):
        run, episodes = ppo.chunk(run, keys(1 + chunk))
        curves.append(means(last, episodes, EPISODES))
        show(score=np.mean(curves[-1]))
    return np.array(curves), random, np.asarray(ppo.evaluate(run, keys(2 + chunks)))


def main(argv: list[str] | None = None) -> None:
    """Train, judge, draw."""
    args = options(__doc__, "ppo.png", env="CartPole-v1", steps=300_000, seeds=4).parse_args(argv)
    chunks = max(1, args.steps // (CHUNK * NUM_STEPS * NUM_ENVS))
    with Bars("return {task.fields[score]:.1f}") as progress:
        task = progress.add_task("", total=chunks, score=np.nan)
        show = partial(progress.update, task, advance=1)
        keys = numbered_keys(jax.random.key(args.seed), args.seeds)
        found = train(PPO(args.env, chunks * CHUNK), chunks, keys, args.seeds, show)
    each = " ".join(f"{score:.1f}" for score in found[2].mean(1))
    print(f"return {found[2].mean():.1f} over {TRIAL} greedy episodes; by seed {each}; random {found[1]:.1f}")
    title = f"{args.env}: mean, best and worst of {args.seeds} seeds; dots: greedy policies in the end"
    picture(args.out, title, {"PPO": found}, CHUNK * NUM_STEPS * NUM_ENVS, EPISODES)


if __name__ == "__main__":
    main()
