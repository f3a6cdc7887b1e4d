"""Rainbow-style DQN in one file: double Q-learning, dueling heads, n-step returns, prioritized replay.

    pip install ".[examples]"
    python examples/dqn.py                                       # CartPole, five seeds at once: one or two minutes
    python examples/dqn.py --gym                                 # Gymnasium, a plain loop, one seed: a minute
    python examples/dqn.py --replay all                          # every kind of replay in one picture
    python examples/dqn.py --env Breakout-MinAtar --seeds 2 --steps 500_000 --save run; kill it, then --resume run

The agent is three pure functions: explore, record and learn. There are two ways to use them. With gymnax everything,
environments and replay included, is one compiled scan, and `jax.vmap` trains several seeds at once. With Gymnasium an
ordinary loop calls them one by one, jitted, with donated state. The method is that of Hessel et al., "Rainbow:
Combining Improvements in Deep Reinforcement Learning", 2018, without noisy layers and distributions of returns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.lax import cond, scan, while_loop
from jax.random import bernoulli, bits, randint, split
from running import Bars, Checkpoints, means, numbered_keys, options, picture, save_options

import jaxbuffers as jb

NUM_ENVS, CHUNK, TRIAL = 16, 100, 20  # environments; steps in one call; episodes to judge a policy
WARMUP = 100  # steps before the first update
CAPACITY, BATCH, VIEW = 400_000, 128, jb.Transitions(n_step=5, gamma=0.99)  # CartPole must not forget how it fell
REPLAYS = {"uniform": jb.Uniform(), "prioritized": jb.Prioritized(alpha=0.6), "recent": jb.Recent(half_life=5_000)}
UNITS, LEARNING_RATE, SLOW = 128, 1e-3, 0.01
EXPLORING, EPSILON, BETA = 0.2, 0.02, 0.4  # explore less and less for this part of the time, then so much


class Network(nnx.Module):
    """Action values from two heads: what the state is worth, and what each action adds."""

    def __init__(self, inputs: int, actions: int, rngs: nnx.Rngs) -> None:
        self.first, self.second = nnx.Linear(inputs, UNITS, rngs=rngs), nnx.Linear(UNITS, UNITS, rngs=rngs)
        self.state, self.advantage = nnx.Linear(UNITS, 1, rngs=rngs), nnx.Linear(UNITS, actions, rngs=rngs)

    def __call__(self, obs: Array) -> Array:
        """Map observations [B, ...] to values [B, A]."""
        x = obs.reshape(len(obs), -1)
        x = x / 255.0 if x.dtype == jnp.uint8 else x
        x = nnx.relu(self.second(nnx.relu(self.first(x))))
        advantage = self.advantage(x)
        return self.state(x) + advantage - advantage.mean(-1, keepdims=True)


class Run(NamedTuple):
    """All that changes in a run. It is donated to every call, so nothing large is ever copied."""

    params: nnx.State
    target: nnx.State  # an average of past parameters
    optimizer: optax.OptState
    age: Array  # updates so far
    env: Any  # the state of gymnax's environments; Gymnasium's keep their own
    recorder: jb.RecorderState  # holds the newest observations
    score: Array  # of the episodes under way
    replay: jb.ReplayState


class DQN:
    """The agent: pure functions of a `Run`."""

    def __init__(self, shape: tuple, actions: int, sampler: jb.Sampler, recorder: jb.Recorder, updates: int) -> None:
        self.network = partial(Network, int(np.prod(shape)), actions)
        graph, _ = nnx.split(self.network(nnx.Rngs(0)))
        self.values = lambda params, obs: nnx.merge(graph, params)(obs)  # [B, A]
        self.replay = jb.Replay(CAPACITY, NUM_ENVS, BATCH, VIEW, sampler)
        self.recorder, self.updates = recorder, updates
        self.optimizer = optax.adam(optax.linear_schedule(LEARNING_RATE, 0.0, updates))  # ever slower, to settle

    def begin(self, key: Array, obs: Array, env: Any = None) -> Run:
        """Start from the first observations [E, ...] with a new network and an empty replay."""
        _, params = nnx.split(self.network(nnx.Rngs(key)))
        rec = self.recorder.init(as_bytes(obs))
        replay = self.replay.init(self.recorder.row(rec, action=jnp.zeros(NUM_ENVS, jnp.int32)))
        optimizer, target = self.optimizer.init(params), jax.tree.map(jnp.copy, params)
        return Run(params, target, optimizer, jnp.int32(0), env, rec, jnp.zeros(NUM_ENVS), replay)

    def act(self, params: nnx.State, obs: Array, key: Array, epsilon: Any = 0.0) -> Array:
        """Choose the best action for each observation [E, ...], with probability ``epsilon`` any."""
        keys, values = split(key), self.values(params, obs)
        best = jnp.argmax(values, -1).astype(jnp.int32)
        random = randint(keys[0], best.shape, 0, values.shape[-1])
        return jnp.where(bernoulli(keys[1], epsilon, best.shape), random, best)

    def explore(self, run: Run, key: Array) -> Array:
        """Act on the newest observations, at random first and then less and less."""
        epsilon = jnp.maximum(EPSILON, 1.0 - run.age / self.updates / EXPLORING)
        return self.act(run.params, run.recorder.obs, key, epsilon)

    def record(self, run: Run, action: Array, outcome: tuple, final_obs: Array | None = None) -> tuple[Run, tuple]:
        """Store what the environments returned; also says which episodes are done, and their scores so far, [E]."""
        obs, reward, terminated, truncated = outcome
        reward, done = reward.astype(jnp.float32), terminated | truncated
        flags = {"terminated": terminated, "truncated": truncated}
        images = jax.tree.map(as_bytes, {"obs": obs, "final_obs": final_obs})  # None stays None
        rec, rows, mask = self.recorder.step(run.recorder, action=action, reward=reward, **images, **flags)
        replay, score = self.replay.add(run.replay, rows, mask), run.score + reward
        return run._replace(recorder=rec, score=jnp.where(done, 0.0, score), replay=replay), (done, score)

    def errors(self, params: nnx.State, target: nnx.State, data: jb.Transition) -> Array:
        """Tell how far values are off [B]: the network chooses the action that follows, the target values it."""
        after = jnp.argmax(self.values(params, data.next_obs), -1)
        bootstrap = pick(self.values(target, data.next_obs), after)
        # The discount is gamma**n, and 0 where the episode terminated; one cut by a time limit goes on in theory.
        return pick(self.values(params, data.obs), data.action) - (data.reward + data.discount * bootstrap)

    def learn(self, run: Run, key: Array) -> Run:
        """Make one update, once there is enough to learn from: a branch for all seeds together (docs/vmap.md)."""
        return cond(run.replay.adds > WARMUP, self.update, lambda run, key: run, run, key)

    def update(self, run: Run, key: Array) -> Run:
        """Make one update from a batch, and write its priorities back."""
        batch, prioritized = self.replay.sample(run.replay, key), self.replay.sampler.takes_priority
        beta = BETA + (1 - BETA) * run.age / self.updates
        weights = jb.importance_weights(batch.probability, self.replay.count(run.replay), beta)

        def loss(params: nnx.State) -> tuple[Array, Array]:
            errors = self.errors(params, run.target, batch.data)
            return jnp.mean(optax.huber_loss(errors) * (weights if prioritized else 1.0)), errors

        grads, errors = jax.grad(loss, has_aux=True)(run.params)
        updates, optimizer = self.optimizer.update(grads, run.optimizer, run.params)
        params = optax.apply_updates(run.params, updates)
        target = optax.incremental_update(params, run.target, SLOW)
        replay = self.replay.update(run.replay, batch.index, priority=jnp.abs(errors) if prioritized else None)
        return Run(params, target, optimizer, run.age + 1, run.env, run.recorder, run.score, replay)


def pick(values: Array, action: Array) -> Array:
    """Take from values [B, A] those of the actions [B]."""
    return jnp.take_along_axis(values, action[:, None], -1)[:, 0]


def as_bytes(obs: Array) -> Array:
    """Images [E, H, W, C] in [0, 1] as bytes; anything else as it is."""
    image = obs.ndim > 2 and jnp.issubdtype(obs.dtype, jnp.floating)
    return jnp.round(obs * 255).astype(jnp.uint8) if image else obs


def seeds_of(run: Run) -> Run:
    """Say where the seeds are for `jax.vmap`: first in every array, but the count of adds is one for all of them."""
    axes = jax.tree.map(lambda _: 0, run)
    return axes._replace(replay=axes.replay.replace(adds=None))


class OnGymnax:
    """The first way: a compiled scan over everything, vmapped over seeds."""

    def __init__(self, env: str, sampler: jb.Sampler, updates: int) -> None:
        self.env = gymnax.make(env)[0]
        obs = jax.eval_shape(self.env.reset, jax.random.key(0))[0]
        # gymnax resets in the step that ends an episode, and keeps the final observation.
        self.dqn = DQN(obs.shape, self.env.num_actions, sampler, jb.Recorder("same_step"), updates)

    @partial(jax.jit, static_argnames="self")
    def begin(self, keys: Array) -> Run:
        """Begin a run for each key [S]."""

        def one(key: Array) -> Run:
            keys = split(key)
            obs, env = jax.vmap(self.env.reset)(split(keys[0], NUM_ENVS))
            return self.dqn.begin(keys[1], obs, env)

        return jax.vmap(one, out_axes=seeds_of(jax.eval_shape(one, keys[0])))(keys)

    @partial(jax.jit, static_argnames="self", donate_argnames="run")
    def chunk(self, run: Run, keys: Array) -> tuple[Run, tuple[Array, Array]]:
        """Take CHUNK steps with every seed; also returns which episodes were done, and scores [S, CHUNK, E]."""

        def step(run: Run, key: Array) -> tuple[Run, tuple[Array, Array]]:
            keys = split(key, 3)
            action = self.dqn.explore(run, keys[0])
            obs, env, *outcome, info = jax.vmap(self.env.step)(split(keys[1], NUM_ENVS), run.env, action)
            run, episodes = self.dqn.record(run._replace(env=env), action, (obs, *outcome), info["final_observation"])
            return self.dqn.learn(run, keys[2]), episodes

        axes = seeds_of(run)
        return jax.vmap(lambda run, key: scan(step, run, split(key, CHUNK)), (axes, 0), (axes, 0))(run, keys)

    @partial(jax.jit, static_argnames="self")
    def evaluate(self, run: Run, keys: Array, epsilon: float = 0.0) -> Array:
        """Play one episode in each of TRIAL new environments, for every seed: scores [S, TRIAL]."""

        def step(params: nnx.State, carry: tuple) -> tuple:
            key, obs, env, playing, score = carry
            keys = split(key, 3)
            action = self.dqn.act(params, obs, keys[0], epsilon)
            obs, env, reward, terminated, truncated, _ = jax.vmap(self.env.step)(split(keys[1], TRIAL), env, action)
            return keys[2], obs, env, playing & ~(terminated | truncated), score + jnp.where(playing, reward, 0.0)

        def one(params: nnx.State, key: Array) -> Array:
            keys = split(key)
            obs, env = jax.vmap(self.env.reset)(split(keys[0], TRIAL))
            start = keys[1], obs, env, jnp.full(TRIAL, True), jnp.zeros(TRIAL)
            return while_loop(lambda carry: carry[3].any(), partial(step, params), start)[-1]

        return jax.vmap(one)(run.params, keys)


class OnGymnasium:
    """The second way: a plain loop around jitted functions. One seed; the same methods and axes, so S is 1."""

    def __init__(self, env: str, sampler: jb.Sampler, updates: int) -> None:
        self.make = partial(gymnasium.make_vec, env)
        self.envs: Any = self.make(num_envs=NUM_ENVS)
        shape, actions = self.envs.single_observation_space.shape, int(self.envs.single_action_space.n)
        # Gymnasium resets in the step after the one that ends an episode, unless told otherwise.
        self.dqn = DQN(shape, actions, sampler, jb.Recorder("next_step"), updates)
        self.act, self.explore = jax.jit(self.dqn.act), jax.jit(self.dqn.explore)
        self.record, self.learn = (jax.jit(f, donate_argnums=0) for f in (self.dqn.record, self.dqn.learn))

    def begin(self, keys: Array) -> Run:
        """Begin a run."""
        return self.dqn.begin(keys[0], jnp.asarray(self.envs.reset(seed=int(bits(keys[0])))[0]))

    def chunk(self, run: Run, keys: Array) -> tuple[Run, tuple]:
        """Take CHUNK steps."""
        episodes = []
        for key in split(keys[0], (CHUNK, 2)):
            action = self.explore(run, key[0])
            *outcome, _ = self.envs.step(np.asarray(action))
            run, episode = self.record(run, action, outcome)
            run = self.learn(run, key[1])
            episodes.append(episode)
        return run, tuple(np.stack(x)[None] for x in zip(*episodes, strict=True))

    def evaluate(self, run: Run, keys: Array, epsilon: float = 0.0) -> np.ndarray:
        """Play one episode in each of TRIAL new environments: scores [1, TRIAL]."""
        envs, playing, score = self.make(num_envs=TRIAL), np.full(TRIAL, True), np.zeros(TRIAL)
        obs, _ = envs.reset(seed=int(bits(keys[0])))
        while playing.any():
            keys = split(keys[0])
            action = self.act(run.params, obs, keys[1], epsilon)
            obs, reward, terminated, truncated, _ = envs.step(np.asarray(action))
            score += np.where(playing, reward, 0.0)
            playing &= ~(terminated | truncated)
        return score[None]


def train(way: Any, chunks: int, keys: Callable, seeds: int, show: Callable, saved: Checkpoints) -> tuple:
    """Train; returns training scores [C, S], a random policy's, greedy ones [S, TRIAL]."""
    record = {"random": None, "curves": [], "last": [[np.nan] for _ in range(seeds)]}
    run, record = saved.newest(way.begin(keys(0)), record)
    if record["random"] is None:
        record["random"] = float(way.evaluate(run, keys(1), 1.0).mean())
    curves = record["curves"]
    for chunk in range(len(curves) + 1, chunks + 1):
        run, episodes = way.chunk(run, keys(1 + chunk))
        curves.append(means(record["last"], episodes, TRIAL))
        saved.save(chunk, run, record, last=chunk == chunks)
        show(r=np.mean(curves[-1]), completed=chunk)
    saved.close()
    return np.array(curves), record["random"], np.asarray(way.evaluate(run, keys(2 + chunks)))


def main(argv: list[str] | None = None) -> None:
    """Train with each replay, judge, draw."""
    parser = options(__doc__, "dqn.png", env="CartPole-v1", steps=400_000, seeds=5)
    parser.add_argument("--gym", action="store_true", help="a plain loop over Gymnasium's environments, one seed")
    parser.add_argument("--replay", nargs="+", default=["prioritized"], choices=[*REPLAYS, "all"], help="how to draw")
    save_options(parser, every=20)
    args = parser.parse_args(argv)
    if args.gym and (args.save or args.resume):
        parser.error("Gymnasium's environments keep their own state, which cannot be saved: leave --gym out")
    way, seeds = (OnGymnasium, 1) if args.gym else (OnGymnax, args.seeds)
    chunks, results = max(2, args.steps // (CHUNK * NUM_ENVS)), {}
    with Bars("{task.description} {task.fields[r]:.1f}") as bar:
        for name in REPLAYS if "all" in args.replay else args.replay:
            task = bar.add_task(f"{name}: return", total=chunks, r=np.nan)
            dqn, show = way(args.env, REPLAYS[name], chunks * CHUNK - WARMUP), partial(bar.update, task)
            saved = Checkpoints(args, name, env=args.env, chunks=chunks, seeds=seeds, seed=args.seed)
            keys = numbered_keys(jax.random.key(args.seed), seeds)
            results[name] = train(dqn, chunks, keys, seeds, show, saved)
    for name, (_, random, scores) in results.items():
        each = " ".join(f"{score:.1f}" for score in scores.mean(1))
        print(f"{name}: return {scores.mean():.1f} over {TRIAL} greedy episodes; by seed {each}; random {random:.1f}")
    how = f"mean, best and worst of {seeds} seeds" if seeds > 1 else "one seed"
    title = f"{args.env}: {how}; dots: greedy policies in the end"
    picture(args.out, title, results, CHUNK * NUM_ENVS, TRIAL)


if __name__ == "__main__":
    main()
