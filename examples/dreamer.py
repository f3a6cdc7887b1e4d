"""DreamerV3 in one file: games, replay and learning in imagination, all inside one jitted, donated loop.

    pip install ".[examples]"
    python examples/dreamer.py                                           # Catch: a minute or two on two CPU cores
    python examples/dreamer.py --env Breakout-MinAtar --steps 100_000    # about five
    python examples/dreamer.py --save run                                # kill it at any moment, then --resume run

A world model learns from windows of 64 rows that run across episode ends; an actor and a critic learn only from what
the model imagines. Every row also stores the latent state that its observation led to, so that a window begins in a
state that has seen the past, and every update writes the latents it has found back to their rows. The method is that
of Hafner, Pasukonis, Ba and Lillicrap, "Mastering Diverse Domains through World Models", 2023, at a small size.
"""

from functools import partial
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.lax import scan, stop_gradient
from jax.nn import one_hot, sigmoid, silu, softmax
from jax.random import categorical, split
from running import Bars, Checkpoints, options, save_options, timed

import jaxbuffers as jb

NUM_ENVS, CHUNK, WARMUP, TRIAL = 16, 50, 100, 1000  # steps: in one call, at random before learning, to judge a policy
REPLAY = jb.Replay(131_072, NUM_ENVS, batch_size=16, view=jb.Sequences(64, time_major=True), sampler=jb.Uniform())
RECORDER = jb.Recorder("same_step")  # gymnax resets in the step that ends an episode and keeps the last observation
OPTIMIZER = optax.chain(optax.adaptive_grad_clip(0.3), optax.adam(1e-3))
DETER, GROUPS, CLASSES, UNITS = 96, 8, 8, 128  # a latent is a vector followed by 8 one-hot choices among 8
HORIZON, STRIDE, FRAMES, CONTEXT = 12, 4, 9, 4  # 12 dreamed steps from every 4th row; films of 9 frames, 4 of them seen
GAMMA, LAMBDA, ENTROPY, FREE_NATS, SLOW = 0.985, 0.95, 3e-3, 1.0, 0.02
BINS = np.sinh(np.linspace(-4.7, 4.7, 41))  # rewards and values are distributions over these: fine near 0, up to 55


def mlp(inputs: int, outputs: int, rngs: nnx.Rngs, zero: bool = False) -> nnx.Sequential:
    """One hidden layer; ``zero`` keeps untrained rewards, values and policies neutral."""
    init = nnx.initializers.zeros if zero else nnx.initializers.lecun_normal()
    last = nnx.Linear(UNITS, outputs, kernel_init=init, rngs=rngs)
    return nnx.Sequential(nnx.Linear(inputs, UNITS, rngs=rngs), nnx.RMSNorm(UNITS, rngs=rngs), silu, last)


def two_hot(logits: Array, target: Array) -> Array:
    """Cross-entropy to the two bins next to ``target``, weighted such that their expectation is ``target``."""
    place = jnp.interp(target, BINS, jnp.arange(len(BINS)))[..., None]
    return optax.softmax_cross_entropy(logits, jnp.maximum(0, 1 - jnp.abs(place - jnp.arange(len(BINS)))))


class Agent(nnx.Module):
    """World model, actor, critic, and what they learn from."""

    def __init__(self, pixels: int, actions: int, rngs: nnx.Rngs) -> None:
        stoch, latent, self.actions = GROUPS * CLASSES, DETER + GROUPS * CLASSES, actions
        self.encoder, self.decoder = mlp(pixels, UNITS, rngs), mlp(latent, pixels, rngs)
        self.gates = mlp(latent + actions, 3 * DETER, rngs)
        self.prior, self.posterior = mlp(DETER, stoch, rngs), mlp(DETER + UNITS, stoch, rngs)
        self.reward, self.critic = (mlp(latent, len(BINS), rngs, zero=True) for _ in range(2))
        self.goes_on, self.actor = mlp(latent, 1, rngs), mlp(latent, actions, rngs, zero=True)

    def step(self, latent: Array, row: tuple) -> tuple[Array, tuple]:
        """Go from one row's latent to the next: filtered if its embedding is given, else imagined."""
        key, action, is_first, embedding = row
        reset, new, update = jnp.split(self.gates(jnp.concatenate([latent, one_hot(action, self.actions)], -1)), 3, -1)
        update = sigmoid(update - 1)
        deter = update * jnp.tanh(sigmoid(reset) * new) + (1 - update) * latent[..., :DETER]
        deter = jnp.where(jnp.expand_dims(is_first, -1), 0.0, deter)  # an episode's first row has no past
        prior = posterior = self.prior(deter)
        if embedding is not None:
            posterior = self.posterior(jnp.concatenate([deter, embedding], -1))
        probs = softmax(jnp.stack([prior, posterior]).reshape(2, *prior.shape[:-1], GROUPS, CLASSES))
        prior, posterior = jnp.log(0.99 * probs + 0.01 / CLASSES)  # what is never impossible has finite divergences
        probs, sample = jnp.exp(posterior), one_hot(categorical(key, posterior), CLASSES)
        stoch = sample + probs - stop_gradient(probs)  # the gradient passes straight through the sample
        latent = jnp.concatenate([deter, stoch.reshape(*deter.shape[:-1], -1)], -1)
        return latent, (latent, prior, posterior)

    def model_losses(self, rows: jb.Row, key: Array) -> tuple[dict[str, Array], Array]:
        """Filter windows [L, B, ...]; returns losses and the latents [L - 1, B, D] of all rows but the first."""
        latent, action = rows.extras["latent"][0].astype(jnp.float32), rows.action[:-1]
        rows = jax.tree.map(lambda x: x[1:], rows)
        image = rows.obs / 255.0
        inputs = (split(key, len(image)), action, rows.is_first, self.encoder(image))
        _, (latents, prior, posterior) = scan(self.step, latent, inputs)
        entropy, kl = optax.sigmoid_binary_cross_entropy, optax.losses.kl_divergence_with_log_targets
        return {
            "image": entropy(self.decoder(latents), image).sum(-1).mean(),
            "reward": two_hot(self.reward(latents), rows.reward).mean(),
            "goes_on": entropy(self.goes_on(latents)[..., 0], 1.0 - rows.is_terminal).mean(),
            "prior": jnp.maximum(FREE_NATS, kl(prior, stop_gradient(posterior)).sum(-1)).mean(),
            "posterior": 0.1 * jnp.maximum(FREE_NATS, kl(stop_gradient(prior), posterior).sum(-1)).mean(),
        }, latents

    def behavior_losses(self, frozen: "Agent", slow: "Agent", latent: Array, spread: Array, key: Array) -> tuple:
        """Act in dreams of ``frozen`` from latents [N, D] on; returns losses and the running spread of returns."""

        def step(latent: Array, keys: Array) -> tuple[Array, tuple]:
            action = categorical(keys[0], frozen.actor(latent))
            latent, _ = frozen.step(latent, (keys[1], action, False, None))
            return latent, (latent, action)

        _, (dream, action) = scan(step, latent, split(key, (HORIZON, 2)))
        latents = jnp.concatenate([latent[None], dream])
        reward, value = softmax(frozen.reward(latents)) @ BINS, softmax(slow.critic(latents)) @ BINS
        discount = GAMMA * sigmoid(frozen.goes_on(latents)[..., 0])
        returns = [value[-1]]
        for t in range(HORIZON, 0, -1):
            returns.append(reward[t] + discount[t] * ((1 - LAMBDA) * value[t] + LAMBDA * returns[-1]))
        returns = jnp.stack(returns[:0:-1])
        spread = 0.99 * spread + 0.01 * jnp.ptp(jnp.percentile(returns, jnp.array([5.0, 95.0])))
        advantage = (returns - value[:-1]) / jnp.maximum(1.0, spread)
        weight = jnp.cumprod(discount[:-1], 0)  # what follows an end counts for nothing
        policy = self.actor(latents[:-1])
        entropy = optax.softmax_cross_entropy(policy, softmax(policy))
        chosen = -optax.softmax_cross_entropy_with_integer_labels(policy, action)
        actor = -(weight * (chosen * advantage + ENTROPY * entropy)).mean()
        return {"actor": actor, "critic": (weight * two_hot(self.critic(latents[:-1]), returns)).mean()}, spread


class Run(NamedTuple):
    """All that changes in a run. It is donated to every call, so nothing large is ever copied."""

    params: nnx.State
    slow: nnx.State  # an average of past parameters, of which the critic is used
    optimizer: optax.OptState
    spread: Array
    env: Any = None
    recorder: Any = None  # holds the newest observations
    latent: Any = None
    action: Any = None
    score: Any = None  # of the episodes under way
    replay: Any = None


class Dreamer(NamedTuple):
    """All that stays the same in a run."""

    env: Any
    agent: nnx.GraphDef
    replay: jb.Replay

    @partial(jax.jit, static_argnames="self")
    def begin(self, run: Run, key: Array) -> Run:
        """Open fresh environments and an empty replay."""
        obs, env = jax.vmap(self.env.reset)(split(key, NUM_ENVS))
        latent, action = jnp.zeros((NUM_ENVS, DETER + GROUPS * CLASSES)), jnp.zeros(NUM_ENVS, jnp.int32)
        run = Run(*run[:4], env, RECORDER.init(as_bytes(obs)), latent, action, score=jnp.zeros(NUM_ENVS))
        row = jax.tree.map(lambda x: x[0, 0], self.act(run, key)[1])  # only its shapes will matter
        return run._replace(replay=self.replay.init(row))

    def act(self, run: Run, key: Array) -> tuple:
        """Step every environment; returns the run, rows and mask for the replay, and (done, score)."""
        agent, rec, keys = nnx.merge(self.agent, run.params), run.recorder, split(key, 3)
        latent, _ = agent.step(run.latent, (keys[0], run.action, rec.is_first, agent.encoder(rec.obs / 255.0)))
        action = categorical(keys[1], agent.actor(latent))
        step = jax.vmap(self.env.step)(split(keys[2], NUM_ENVS), run.env, action)
        obs, env, reward, terminated, truncated, info = step
        outcome = {"reward": reward, "terminated": terminated, "truncated": truncated}
        outcome |= {"obs": as_bytes(obs), "final_obs": as_bytes(info["final_observation"])}
        rec, rows, mask = RECORDER.step(rec, action=action, extras={"latent": latent.astype(jnp.bfloat16)}, **outcome)
        score, done = run.score + reward, terminated | truncated
        run = Run(*run[:4], env, rec, latent, action, jnp.where(done, 0.0, score), run.replay)
        return run, rows, mask, (done, score)

    def learn(self, run: Run, rows: jb.Row, key: Array) -> tuple[Run, Array, dict[str, Array]]:
        """Make one update from windows [L, B, ...]."""
        keys = split(key)

        def loss(params: nnx.State) -> tuple[Array, tuple]:
            agent, frozen, slow = (nnx.merge(self.agent, x) for x in (params, stop_gradient(params), run.slow))
            losses, latents = agent.model_losses(rows, keys[0])
            start = stop_gradient(latents[::STRIDE]).reshape(-1, latents.shape[-1])
            behavior, spread = agent.behavior_losses(frozen, slow, start, run.spread, keys[1])
            return sum((losses | behavior).values()), (latents, spread, losses | behavior)

        grads, (latents, spread, losses) = jax.grad(loss, has_aux=True)(run.params)
        updates, optimizer = OPTIMIZER.update(grads, run.optimizer, run.params)
        params = optax.apply_updates(run.params, updates)
        slow = optax.incremental_update(params, run.slow, SLOW)
        return run._replace(params=params, slow=slow, optimizer=optimizer, spread=spread), latents, losses

    @partial(jax.jit, static_argnames=("self", "steps", "learn"), donate_argnames="run")
    def loop(self, run: Run, key: Array, steps: int, learn: bool = False) -> tuple:
        """Act, add, sample, learn, write back; returns the run, (done, score) [steps, E] and mean losses."""

        def step(run: Run, keys: Array) -> tuple[Run, tuple]:
            run, rows, mask, episodes = self.act(run, keys[0])
            replay, losses = self.replay.add(run.replay, rows, mask), {}
            if learn:
                batch = self.replay.sample(replay, keys[1])
                run, latents, losses = self.learn(run, batch.data, keys[2])
                # What is written depends on what was read, so the ring changes in place (else `jb.fence` sees to it).
                index, latents = jax.tree.map(lambda x: x[1:], batch.index), latents.astype(jnp.bfloat16)
                replay = self.replay.update(replay, index, rows={"extras": {"latent": latents}})
            return run._replace(replay=replay), (episodes, losses)

        run, (episodes, losses) = scan(step, run, split(key, (steps, 3)))
        return run, episodes, jax.tree.map(jnp.mean, losses)

    @partial(jax.jit, static_argnames="self", donate_argnames="replay")
    def only_replay(self, replay: jb.ReplayState, key: Array) -> jb.ReplayState:
        """Use the replay as a chunk of the loop does, and nothing else, to time it."""

        def step(replay: jb.ReplayState, key: Array) -> tuple[jb.ReplayState, None]:
            batch = jax.lax.optimization_barrier(self.replay.sample(replay, key))  # unread parts would not be sampled
            replay = self.replay.update(replay, batch.index, rows={"extras": batch.data.extras})
            return self.replay.add(replay, jax.tree.map(lambda x: x[:2], batch.data)), None

        return scan(step, replay, split(key, CHUNK))[0]


def as_bytes(obs: Array) -> Array:
    """Images [E, ...] in [0, 1] as vectors of bytes."""
    return jnp.round(obs * 255).astype(jnp.uint8).reshape(len(obs), -1)


def films(agent: Agent, rows: jb.Row, shape: tuple[int, ...], key: Array) -> np.ndarray:
    """Put windows [L, B, ...] above what the model foresees after ``CONTEXT`` rows, given the actions."""
    latents = [*agent.model_losses(jax.tree.map(lambda x: x[: CONTEXT + 1], rows), key)[1]]
    for action in rows.action[CONTEXT:-1]:
        latents.append(agent.step(latents[-1], (key, action, False, None))[0])
    images = np.stack([rows.obs[1:] / 255, sigmoid(agent.decoder(jnp.stack(latents)))], 2)  # [T, B, 2, pixels]
    images = images.reshape(FRAMES, -1, *shape[:2], int(np.prod(shape[2:])))
    colors = plt.get_cmap("Set2")(np.arange(images.shape[-1]))[:, :3]  # one for each channel
    frames = 0.1 + 0.9 * (images[..., None] * colors).max(-2).repeat(8, 2).repeat(8, 3)
    frames = np.pad(frames, ((0, 0), (0, 0), (4, 4), (4, 4), (0, 0)), constant_values=1)
    return np.hstack([np.vstack(strip) for strip in frames])


def picture(path: str, title: str, steps: list[int], scores: list[float], random: float, film: np.ndarray) -> None:
    """Draw the learning curve above two films of four strips."""
    figure, (curve, strips) = plt.subplots(2, figsize=(9, 8.5), height_ratios=(1, 1.3), layout="constrained")
    mean = [np.mean(scores[i - 100 : i]) for i in range(100, len(scores) + 1)]  # fewer would favor short episodes
    curve.plot(steps[len(steps) - len(mean) :], mean, color="C0", linewidth=2.5, label="mean of the last 100 episodes")
    curve.axhline(random, color="0.3", linestyle="--", label=f"random policy, measured: {random:.2f}")
    curve.set(title=title, xlabel="environment steps", ylabel="episode return")
    curve.legend(loc="center right")
    strips.imshow(film)
    strips.axvline(film.shape[1] * CONTEXT / FRAMES - 0.5, color="C3", linewidth=2)
    strips.set_yticks(film.shape[0] * (np.arange(4) + 0.5) / 4, ["truth", "model"] * 2)
    strips.set(title="the model sees up to the line and dreams beyond it", xticks=[])
    figure.savefig(path, dpi=150)


def main(argv: list[str] | None = None) -> None:
    """Judge a random policy (an untrained actor, whose last layer is zero), train, judge again, draw."""
    parser = options(__doc__, "dreamer.png", env="Catch-bsuite", steps=30_000)
    save_options(parser, every=10)
    args = parser.parse_args(argv)
    env, key = gymnax.make(args.env)[0], partial(jax.random.fold_in, jax.random.key(args.seed))
    shape = jax.eval_shape(env.reset, key(0))[0].shape
    if len(shape) < 2:
        parser.error(f"{args.env} observes {shape}, not images")
    saved = Checkpoints(args, env=args.env, steps=args.steps, seed=args.seed)
    agent, params = nnx.split(Agent(int(np.prod(shape)), env.num_actions, nnx.Rngs(args.seed)))
    dreamer = Dreamer(env, agent, REPLAY)
    # Policies are judged with another replay, whose windows stay inside an episode: they become the films.
    judge = Dreamer(env, agent, jb.Replay(32_768, NUM_ENVS, 2, jb.Sequences(FRAMES + 1, "within", time_major=True)))
    fresh = Run(params, jax.tree.map(jnp.copy, params), OPTIMIZER.init(params), jnp.float32(0))
    run, record = saved.newest(dreamer.begin(fresh, key(2)), {"random": None, "chunks": 0, "steps": [], "scores": []})
    if record["random"] is None:
        print("compiling and judging a random policy", flush=True)
        _, (done, score), _ = judge.loop(judge.begin(fresh, key(0)), key(1), TRIAL)
        record["random"] = float(score[done].mean())
        run, _, _ = dreamer.loop(run, key(3), WARMUP)
    copy, alone = jax.tree.map(jnp.copy, run.replay), np.inf
    for i in range(5):  # the quickest of five, of which the first compiles
        copy, seconds = timed(dreamer.only_replay, copy, key(4 + i))
        alone = min(alone, seconds)
    starts, scores = range(WARMUP * NUM_ENVS, args.steps, CHUNK * NUM_ENVS), record["scores"]
    with Bars("{task.description}") as progress:
        task = progress.add_task("compiling", total=args.steps)
        for chunk, at in list(enumerate(starts, 1))[record["chunks"] :]:
            (run, *seen), seconds = timed(dreamer.loop, run, key(8 + chunk), CHUNK, learn=True)
            (done, score), losses = jax.device_get(seen)
            record["steps"] += (at + NUM_ENVS * (1 + np.nonzero(done)[0])).tolist()
            scores += score[done].tolist()
            record["chunks"] = chunk
            saved.save(chunk, run, record, last=chunk == len(starts))
            text = f"return {np.mean(scores[-100:]):.2f}, {done.size / seconds:.0f} steps/s"
            text += f", replay {alone / seconds:.1%} (timed alone)\n"
            text += " ".join(f"{name} {value:.2f}" for name, value in losses.items())
            progress.update(task, completed=at + done.size, description=text)
            progress.say(f"{at + done.size:,} of {args.steps:,} steps: {text.splitlines()[0]}")
    saved.close()
    run, (done, score), _ = judge.loop(judge.begin(run, key(9 + len(starts))), key(10 + len(starts)), TRIAL)
    random = record["random"]
    print(result := f"{args.env}: return {score[done].mean():.2f} over {done.sum()} episodes; random {random:.2f}")
    rows = judge.replay.sample(run.replay, key(11 + len(starts))).data
    film = films(nnx.merge(agent, run.params), rows, shape, key(12 + len(starts)))
    picture(args.out, result, record["steps"], scores, random, film)


if __name__ == "__main__":
    main()
