"""Learn from a data set, then go on in the environment: TD3 + BC offline, then old and new experience half and half.

    pip install ".[examples,grain,minari]"
    python examples/offline.py                                   # a car in a valley, three seeds: some minutes
    python examples/offline.py --seeds 1 --save run; kill it, then --resume run

The car is too weak to drive out of the valley and has to swing, at a price for each push; nothing is won before it is
out, so who begins with nothing never learns that there is a way. For each seed:

1. A medium driver, who pushes the wrong way every third time, plays; Minari records; an `EpisodeStore` takes it in.
2. TD3 + BC learns from the store alone. Worker processes read the batches, and a run that is killed goes on there.
3. It goes on online, with half of every batch from the store and half from the ring of new experience. It still
   imitates what is in the batch: a policy that no longer does has soon forgotten the way out.
4. For comparison, the same learner begins online with nothing, nor anybody to imitate, for as many steps.

Fujimoto and Gu, "A Minimalist Approach to Offline Reinforcement Learning", 2021; Ball et al., "Efficient Online
Reinforcement Learning with Offline Data", 2023 (RLPD: half and half, and LayerNorm in the critics; without its large
ensemble). Policy and critics are updated together here; the policy of TD3 only every second time.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import minari
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.lax import scan, stop_gradient
from jax.random import bits, fold_in, normal, split, uniform
from running import Bars, Checkpoints, options, save_options

import jaxbuffers as jb

ENV, NUM_ENVS, TRIAL, EVERY = "MountainCarContinuous-v0", 4, 10, 200  # episodes of a trial; steps from trial to trial
EPISODES, MISTAKES = 30, 0.35  # of the data set; which part of the driver's pushes goes the wrong way
WARMUP = 1_000, 200  # steps before the first update: from nothing, at random; with a data set
BATCH, UPDATES, VIEW = 128, 10, jb.Transitions(gamma=0.99)  # UPDATES from each batch that workers read
CRITICS, UNITS, LEARNING_RATE, SLOW = 2, 64, 1e-3, 0.01
NOISE, SMOOTHING, CLIP, ALPHA = 0.1, 0.2, 0.5, 2.5  # of actions; of the target's actions; weight of the values


class MLP(nnx.Sequential):
    """Two hidden layers, normalized."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> None:
        layers: list[Any] = []
        for size in (inputs, UNITS):
            layers += [nnx.Linear(size, UNITS, rngs=rngs), nnx.LayerNorm(UNITS, rngs=rngs), nnx.relu]
        super().__init__(*layers, nnx.Linear(UNITS, outputs, rngs=rngs))


class Agent(NamedTuple):
    """All that learning changes."""

    params: dict[str, nnx.State]  # of the policy, and of the critics, stacked [CRITICS, ...]
    target: dict[str, nnx.State]  # an average of past parameters
    optimizer: optax.OptState


class TD3:
    """The learner: pure functions of an `Agent`. Observations and actions are between -1 and 1 inside."""

    def __init__(self) -> None:
        spaces = gymnasium.make(ENV)
        self.low, self.high = spaces.observation_space.low, spaces.observation_space.high
        self.most = spaces.action_space.high  # and the least is its negative
        self.sizes = {"policy": (len(self.low), len(self.most)), "critics": (len(self.low) + len(self.most), 1)}
        self.graphs = {name: nnx.split(MLP(*sizes, nnx.Rngs(0)))[0] for name, sizes in self.sizes.items()}
        self.optimizer = optax.adam(LEARNING_RATE)

    @partial(jax.jit, static_argnames="self")
    def begin(self, key: Array) -> Agent:
        """Return new networks."""

        def new(name: str, key: Array) -> nnx.State:
            return nnx.split(MLP(*self.sizes[name], nnx.Rngs(key)))[1]

        policy, *critics = split(key, 1 + CRITICS)
        params = {"policy": new("policy", policy), "critics": jax.vmap(partial(new, "critics"))(jnp.stack(critics))}
        return Agent(params, jax.tree.map(jnp.copy, params), self.optimizer.init(params))

    def scaled(self, obs: Array) -> Array:
        """Return observations between -1 and 1."""
        return (obs - self.low) / (self.high - self.low) * 2 - 1

    def policy(self, params: dict[str, nnx.State], obs: Array) -> Array:
        """Map observations [B, O] to actions [B, A]."""
        return jnp.tanh(nnx.merge(self.graphs["policy"], params["policy"])(self.scaled(obs)))

    def value(self, params: dict[str, nnx.State], obs: Array, action: Array) -> tuple[Array, Array]:
        """Map observations and actions to the least of what the critics say, [B], and to all of it, [CRITICS, B]."""
        x = jnp.concatenate([self.scaled(obs), action], -1)
        values = jax.vmap(lambda params: nnx.merge(self.graphs["critics"], params)(x)[:, 0])(params["critics"])
        return values.min(0), values

    @partial(jax.jit, static_argnames="self")
    def act(self, params: dict[str, nnx.State], obs: Array, key: Array, noise: Any = 0.0) -> Array:
        """Choose actions [E, A] of the environment, with noise; entirely at random where it is infinite."""
        action = self.policy(params, obs)
        noisy = jnp.clip(action + noise * normal(key, action.shape), -1, 1)
        return self.most * jnp.where(jnp.isinf(noise), uniform(key, action.shape, minval=-1), noisy)

    @partial(jax.jit, static_argnames=("self", "updates"), donate_argnames="agent")
    def learn(self, agent: Agent, data: jb.Transition, key: Array, imitation: float, updates: int) -> Agent:
        """Make some updates, each from its share of a batch [updates * B], which mixes all sources of the batch."""
        batches = jax.tree.map(lambda x: x.reshape(-1, updates, *x.shape[1:]).swapaxes(0, 1), data)

        def update(agent: Agent, batch: tuple[jb.Transition, Array]) -> tuple[Agent, None]:
            grads = jax.grad(self.loss)(agent.params, agent.target, *batch, imitation)
            changes, optimizer = self.optimizer.update(grads, agent.optimizer, agent.params)
            params = optax.apply_updates(agent.params, changes)
            return Agent(params, optax.incremental_update(params, agent.target, SLOW), optimizer), None

        return scan(update, agent, (batches, split(key, updates)))[0]

    def loss(self, params: Any, target: Any, data: jb.Transition, key: Array, imitation: float) -> Array:
        """How far the critics are off, how bad they find the policy, and how unlike the data it is."""
        action, chosen = data.action / self.most, self.policy(params, data.obs)
        noise = jnp.clip(SMOOTHING * normal(key, action.shape), -CLIP, CLIP)
        after = jnp.clip(self.policy(target, data.next_obs) + noise, -1, 1)
        future, _ = self.value(target, data.next_obs, after)
        # The discount is gamma, and 0 where the episode terminated; one cut by a time limit goes on in theory.
        errors = self.value(params, data.obs, action)[1] - stop_gradient(data.reward + data.discount * future)
        value, _ = self.value(stop_gradient(params), data.obs, chosen)
        gain = ALPHA * value.mean() / stop_gradient(jnp.abs(value).mean())
        return (errors**2).mean(1).sum() - gain + imitation * ((chosen - action) ** 2).mean()

    def trial(self, params: dict[str, nnx.State], noise: float = 0.0) -> float:
        """Play one episode in each of TRIAL new environments, always the same; return the mean of the returns."""
        envs, key = gymnasium.make_vec(ENV, num_envs=TRIAL), jax.random.key(0)
        playing, score = np.full(TRIAL, True), np.zeros(TRIAL)
        obs, _ = envs.reset(seed=10_000)
        while playing.any():
            key = fold_in(key, 0)
            obs, reward, terminated, truncated, _ = envs.step(np.asarray(self.act(params, obs, key, noise)))
            score += np.where(playing, reward, 0.0)
            playing &= ~(terminated | truncated)
        return float(score.mean())


Trials = Iterator[tuple[int, Agent, float]]  # steps so far; the agent, which the next step will donate; its mean return


def recorded(name: str, seed: int) -> Any:
    """Let the medium driver play, and have Minari make a data set of it."""
    env, random = minari.DataCollector(gymnasium.make(ENV)), np.random.default_rng(seed)
    for episode in range(EPISODES):
        (obs, _), over = env.reset(seed=EPISODES * seed + episode), False
        while not over:
            onward = 1.0 if obs[1] >= 0 else -1.0  # as the car moves
            action = -onward if random.random() < MISTAKES else onward
            obs, _, terminated, truncated, _ = env.step(np.array([action], np.float32))
            over = terminated or truncated
    about = {"description": "Swings, and errs.", "author": "examples/offline.py", "algorithm_name": "scripted"}
    return env.create_dataset(name, **about, author_email="none", code_permalink="examples/offline.py", eval_env=ENV)


def offline(td3: TD3, agent: Agent, path: Path, start: int, updates: int, workers: int, key: Array) -> Trials:
    """Learn from a store alone, from some batch on, which worker processes read; steps are batches here."""
    batches = jb.loading.StoreSteps(path, VIEW, UPDATES * BATCH, seed=int(bits(key)), steps=updates // UPDATES)
    if start == 0:
        yield 0, agent, td3.trial(agent.params)
    with jb.loading.Loader(batches, workers=workers, start=start) as loader:
        for batch in loader:
            agent = td3.learn(agent, batch.data, fold_in(key, loader.step), imitation=1.0, updates=UPDATES)
            if loader.step * UPDATES % EVERY == 0:
                yield loader.step, agent, td3.trial(agent.params)


def online(td3: TD3, agent: Agent, store: jb.EpisodeStore | None, steps: int, key: Array) -> Trials:
    """Learn in the environment, from its own experience alone or with half of every batch from a store."""
    envs, recorder = gymnasium.make_vec(ENV, num_envs=NUM_ENVS), jb.Recorder("next_step")
    obs, _ = envs.reset(seed=int(bits(key)))
    record, recording = jax.jit(recorder.step), recorder.init(obs)
    row = recorder.row(recording, action=np.zeros((NUM_ENVS, len(td3.most)), np.float32))
    ring = jb.HostReplay(jb.Replay(2 * steps, NUM_ENVS, BATCH, VIEW), row)
    parts = [(1, ring)] if store is None else [(0.5, ring), (0.5, store.source(VIEW))]
    mixture, warmup, imitation = jb.episodes.Mixture(*parts), WARMUP[store is not None], float(store is not None)
    yield 0, agent, td3.trial(agent.params)
    for step in range(NUM_ENVS, steps + 1, NUM_ENVS):
        keys = split(fold_in(key, step), 3)
        noise = np.inf if store is None and step <= warmup else NOISE
        action = np.asarray(td3.act(agent.params, obs, keys[0], noise))
        obs, reward, terminated, truncated, _ = envs.step(action)
        outcome = {"reward": reward.astype(np.float32), "terminated": terminated, "truncated": truncated}
        recording, rows, mask = record(recording, action=action, obs=obs, **outcome)
        ring.add(rows, mask)
        if step > warmup:
            data = mixture.sample(NUM_ENVS * BATCH, keys[1]).data
            agent = td3.learn(agent, data, keys[2], imitation, updates=NUM_ENVS)
        if step % EVERY == 0:
            yield step, agent, td3.trial(agent.params)


def follow(agent: Agent, trials: Trials, curve: list, show: Callable, save: Callable = lambda *_: None) -> Agent:
    """Let an agent learn, and keep what comes of it."""
    for step, agent, score in trials:
        curve.append([step, score])
        show(score)
        save(step, agent)
    return agent


def run(td3: TD3, args: argparse.Namespace, seed: int, folder: Path, show: Callable) -> dict[str, Any]:
    """Go through all phases with one seed; return what has happened."""
    saved = Checkpoints(args, f"seed-{seed}", steps=args.steps, updates=args.updates, seed=seed)
    data, keys = folder / f"data-{seed}", split(jax.random.key(seed), 5)
    nothing: dict[str, Any] = {"offline": [], "tuned": [], "nothing": []}
    begun, record = saved.newest({"agent": td3.begin(keys[0]), "batch": 0}, nothing)
    if not record["offline"]:
        shutil.rmtree(data, ignore_errors=True)  # what a run that was killed here has left
        os.environ["MINARI_DATASETS_PATH"] = str(data)
        episodes = jb.datasets.from_minari(recorded("mountaincar/medium-v0", seed), narrow=True)
        with jb.EpisodeStore(data / "store", row=episodes.row) as store:
            episodes.into(store)
            record["medium"] = float(store.metadata["return"].mean())
        record["random"] = td3.trial(begun["agent"].params, np.inf)
    if not record["nothing"]:

        def save(batch: int, agent: Agent) -> None:
            saved.save(len(record["offline"]), {"agent": agent, "batch": batch}, record)

        phase = offline(td3, begun["agent"], data / "store", begun["batch"], args.updates, args.workers, keys[1])
        agent = follow(begun["agent"], phase, record["offline"], partial(show, f"seed {seed}, offline"), save)
        with jb.EpisodeStore(data / "store", read_only=True) as store:
            phase = online(td3, agent, store, args.steps, keys[2])
            follow(agent, phase, record["tuned"], partial(show, f"seed {seed}, fine-tuning"))
        phase = online(td3, td3.begin(keys[3]), None, args.steps, keys[4])
        last = follow(agent, phase, record["nothing"], partial(show, f"seed {seed}, from nothing"))
        saved.save(len(record["offline"]) + 1, {"agent": last, "batch": args.updates // UPDATES}, record, last=True)
    saved.close()
    return record


def draw(path: str, records: list[dict[str, Any]]) -> None:
    """Draw both phases, with plain online training beside the second: the mean, and from the worst to the best seed."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained", width_ratios=(2, 3))
    for axes, name, color, unit, label in (
        (both[0], "offline", "C0", UPDATES, "TD3 + BC, from the data alone"),
        (both[1], "tuned", "C2", 1, "goes on, data and ring half and half"),
        (both[1], "nothing", "C1", 1, "begins with nothing"),
    ):
        curves = np.array([record[name] for record in records])  # [S, trials, 2]
        at, scores = curves[0, :, 0] * unit, curves[..., 1]
        axes.plot(at, scores.mean(0), color=color, linewidth=2, label=label)
        axes.fill_between(at, scores.min(0), scores.max(0), color=color, alpha=0.2, linewidth=0)
        axes.set_xlim(0, at[-1])
        axes.xaxis.set_major_formatter("{x:,.0f}")
    for axes, title, unit in zip(both, ("offline", "online"), ("updates", "environment steps"), strict=True):
        for name, style, label in (("medium", "--", "the data"), ("random", ":", "random policy")):
            axes.axhline(np.mean([record[name] for record in records]), color="0.3", linestyle=style, label=label)
        axes.set(title=title, xlabel=unit)
        axes.locator_params(axis="x", nbins=5)
        axes.legend(loc="center right", bbox_to_anchor=(1, 0.71))
    both[0].set_ylabel(f"return, mean of {TRIAL} episodes")
    figure.suptitle(f"{ENV}: mean, best and worst of {len(records)} seeds")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """Learn with every seed, say how it went, draw."""
    parser = options(__doc__, "offline.png", steps=4_000, seeds=3)
    parser.add_argument("--updates", type=int, default=2_000, help="of the offline phase")
    parser.add_argument("--workers", type=int, default=2, help="processes that read batches")
    save_options(parser, every=1)
    args = parser.parse_args(argv)
    args.steps, args.updates = (max(1, number // EVERY) * EVERY for number in (args.steps, args.updates))
    td3, records = TD3(), []
    with Bars("{task.description}: return {task.fields[r]:.1f}") as bars, tempfile.TemporaryDirectory() as temporary:
        task = bars.add_task("", total=args.seeds * ((2 * args.steps + args.updates) // EVERY + 3), r=np.nan)

        def show(what: str, score: float) -> None:
            bars.update(task, advance=1, description=what, r=score)
            bars.say(f"{what}: return {score:.1f}")

        for seed in range(args.seed, args.seed + args.seeds):
            records.append(run(td3, args, seed, Path(args.save or args.resume or temporary).resolve(), show))
    print(f"return, mean of the seeds and each, of {TRIAL} episodes:")
    names = {"random": "random", "medium": "the data", "offline": "offline", "tuned": "fine-tuned"}
    for name, words in (names | {"nothing": "from nothing"}).items():
        last = [record[name] if name in ("random", "medium") else record[name][-1][1] for record in records]
        print(f"  {words:<13}{np.mean(last):7.1f}   ({', '.join(f'{score:.1f}' for score in last)})")
    draw(args.out, records)


if __name__ == "__main__":
    main()
