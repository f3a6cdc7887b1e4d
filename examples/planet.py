"""PlaNet: learn a model of the world from images, and plan in it; there is no policy to learn.

    pip install ".[examples]"
    python examples/planet.py                # push a puck to a light, seen in images: five minutes on two CPU cores
    python examples/planet.py --save run     # kill it at any moment, then --resume run

Episodes go into a `jb.planet.Memory` on disk as they end, and the model (planet_model.py) learns from sequences of
them. Before each step the cross-entropy method looks for the forces of which the model expects most, and the first of
them is taken. In the end it prints how the returns grew, that of the plans and that of random forces, and leaves a
picture: the curve, and what the model foresees beside what happened. The method is that of Hafner, Lillicrap, Fischer,
Villegas, Ha, Lee and Davidson, "Learning Latent Dynamics for Planning from Pixels", 2019, at a small size.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.random import normal, split, uniform
from planet_model import DETER, STOCH, WorldModel
from running import Bars, Checkpoints, options, save_options

import jaxbuffers as jb

STEPS, NUM_ENVS, FIRST, TRIALS = 50, 4, 40, 32  # of an episode; episodes at once, at random first, to judge a policy
NOISE = 0.3  # added to plans while learning
UPDATES, BATCH, LENGTH = 12, 16, 20  # updates for each new episode, from so many sequences of so many steps
OPTIMIZER = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(2e-3))
SHOWN, CONTEXT, ZOOM = range(0, 37, 3), 7, 6  # steps of a film, how many of them the model sees, pixels for a pixel


class Puck(NamedTuple):
    """A puck on a table with walls, and where it should go: float32 [2] each, positions from -1 to 1."""

    position: Array
    velocity: Array
    goal: Array


def place(key: Array) -> Puck:
    """Put a puck and a goal anywhere."""
    position, goal = uniform(key, (2, 2), minval=-0.9, maxval=0.9)
    return Puck(position, jnp.zeros(2), goal)


def push(puck: Puck, force: Array) -> tuple[Puck, Array]:
    """Push with a force in [-1, 1]^2; walls throw back. The reward is near 1 at the goal, and near 0 far from it."""
    velocity = 0.85 * puck.velocity + 0.06 * force
    position = puck.position + velocity
    velocity = jnp.where(jnp.abs(position) > 1, -0.5 * velocity, velocity)
    position = jnp.clip(position, -1, 1)
    distance = jnp.linalg.norm(position - puck.goal)
    return Puck(position, velocity, puck.goal), jnp.exp(-2 * distance)


def draw(puck: Puck) -> Array:
    """Draw an orange puck in the green light of its goal: uint8 [32, 32, 3]."""
    image = jnp.array([28.0, 32.0, 44.0])
    for center, size, color in ((puck.goal, 4.0, [70.0, 200.0, 170.0]), (puck.position, 3.0, [255.0, 160.0, 60.0])):
        distance = jnp.hypot(*(jnp.mgrid[:32, :32] - (15.5 + 12 * center)[:, None, None]))
        image += jnp.exp(-0.5 * (distance / size) ** 2)[..., None] * (jnp.array(color) - image)
    return jnp.round(image).astype(jnp.uint8)


class Run(NamedTuple):
    """All that changes in a run, but for the episodes."""

    params: nnx.State
    optimizer: optax.OptState


class PlaNet(NamedTuple):
    """All that stays the same in a run."""

    model: nnx.GraphDef

    @partial(jax.jit, static_argnames="self", donate_argnames="run")
    def learn(self, run: Run, steps: jb.planet.Steps, key: Array) -> tuple[Run, dict[str, Array]]:
        """Make one update from sequences [L, B, ...]; also returns the losses."""

        def loss(params: nnx.State) -> tuple[Array, dict[str, Array]]:
            losses = nnx.merge(self.model, params).losses(steps, key)
            return sum(losses.values()), losses

        grads, losses = jax.grad(loss, has_aux=True)(run.params)
        updates, optimizer = OPTIMIZER.update(grads, run.optimizer, run.params)
        return Run(optax.apply_updates(run.params, updates), optimizer), losses

    @partial(jax.jit, static_argnames="self")
    def act(self, params: nnx.State, noise: Any, latent: Array, action: Array, image: Array, key: Array) -> tuple:
        """Take in images [E, ...], and plan: returns latents [E, D] and actions [E, 2]."""
        model, keys = nnx.merge(self.model, params), split(key)
        latent, _, _ = model.step(latent, action, model.encode(image))
        action = jax.vmap(model.plan)(latent, split(keys[0], len(latent)))
        return latent, jnp.clip(action + noise * normal(keys[1], action.shape), -1, 1)

    def chunk(self, run: Run, memory: jb.planet.Memory, key: Array) -> tuple[Run, dict[str, Array]]:
        """Learn from the memory, then play and remember; at random while there is nothing to learn from."""
        keys, losses, act, count = split(key, 3), {}, at_random, FIRST
        if len(memory):
            new = FIRST if len(memory) == FIRST else NUM_ENVS
            for update in split(keys[0], UPDATES * new):
                sample, noise = split(update)
                steps, _ = memory.sample(BATCH, LENGTH, time_first=True, key=sample)
                run, losses = self.learn(run, steps, noise)
            act, count = partial(self.act, run.params, NOISE), NUM_ENVS
        for episode in play(act, places(split(keys[1], count)), keys[2]):
            memory.append(episode)
        return run, losses


def at_random(latent: Array, action: Array, image: Array, key: Array) -> tuple[Array, Array]:
    """Act without looking."""
    return latent, uniform(key, action.shape, minval=-1, maxval=1)


places, draws, pushes = (jax.jit(jax.vmap(function)) for function in (place, draw, push))


def play(act: Callable, pucks: Puck, key: Array) -> list[jb.planet.Episode]:
    """Play an episode with each of the pucks [E]; ``act`` maps latent, action, image and key to the next two."""
    images, latent, action = draws(pucks), jnp.zeros((len(pucks.goal), DETER + STOCH)), jnp.zeros_like(pucks.goal)
    episodes = [jb.planet.Episode(image) for image in np.asarray(images)]
    for now in split(key, STEPS):
        latent, action = act(latent, action, images, now)
        pucks, rewards = pushes(pucks, action)
        images = draws(pucks)
        for episode, *step in zip(episodes, *jax.device_get((action, images, rewards)), strict=True):
            episode.append(*step, terminal=False)  # only time ends an episode
    return episodes


def film(model: WorldModel, episode: jb.planet.Episode) -> np.ndarray:
    """Put the images of an episode above what the model foresees after ``CONTEXT`` of them, given the actions."""
    latents, images = [jnp.zeros(DETER + STOCH)], np.stack(episode.observation)
    for t, action in enumerate([np.zeros(2, np.float32), *episode.action[: SHOWN[-1]]]):
        latents.append(model.step(latents[-1], action, model.encode(images[t]) if t < CONTEXT else None)[0])
    foreseen = np.clip(model.decode(jnp.stack(latents[1:])), 0, 1)
    frames = np.stack([images[SHOWN] / 255, foreseen[SHOWN]])
    frames = (np.round(frames * 63) / 63).repeat(ZOOM, 2).repeat(ZOOM, 3)  # fewer colors, for a smaller file
    frames = np.pad(frames, ((0, 0), (0, 0), (ZOOM, ZOOM), (ZOOM, ZOOM), (0, 0)), constant_values=1)
    return np.vstack([np.hstack(strip) for strip in frames])


def picture(path: str, title: str, returns: np.ndarray, random: float, final: float, films: list[np.ndarray]) -> None:
    """Draw the learning curve above the films."""
    figure, (curve, *strips) = plt.subplots(3, figsize=(10, 7.8), height_ratios=(1.6, 1, 1), layout="constrained")
    number, last = np.arange(1, len(returns) + 1), min(20, len(returns))
    curve.axvspan(0, FIRST, color="0.93", label="played at random")
    curve.plot(number, returns, "o", color="C1", markersize=4, alpha=0.45, markeredgewidth=0, label="an episode")
    mean = np.convolve(returns, np.full(last, 1 / last), "valid")
    curve.plot(number[last - 1 :], mean, color="C0", linewidth=2.5, label=f"mean of the last {last}")
    curve.axhline(final, color="C2", linestyle="--", label=f"plans in the end, without noise: {final:.1f}")
    curve.axhline(random, color="0.3", linestyle="--", label=f"random forces: {random:.1f}")
    curve.set(
        title=title, xlabel="episodes", ylabel=f"return, at most {STEPS}", xlim=(0, len(returns)), ylim=(0, STEPS)
    )
    curve.legend(loc="lower right", framealpha=0.9)
    for axes, strip, how in zip(strips, films, ("plans", "random forces"), strict=True):
        height, width = strip.shape[0] / 2, strip.shape[1] / len(SHOWN)
        axes.imshow(strip, interpolation="nearest")
        axes.axvline(width * sum(t < CONTEXT for t in SHOWN) - 0.5, color="C3", linewidth=2.5)
        axes.set_yticks([height / 2, 3 * height / 2], ["truth", "model"])
        axes.set_xticks(width * (np.arange(len(SHOWN)) + 0.5), [f"step {t}" for t in SHOWN], fontsize=8)
        axes.set_title(f"pushed by {how}: the model sees {CONTEXT} images, up to the line, and foresees the others")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def train(planet: PlaNet, memory: jb.planet.Memory, saved: Checkpoints, chunks: int, run: Run, key: Callable) -> Run:
    """Go on from what was saved until there are so many chunks of episodes."""
    run, record = saved.newest(run, {}, memory.store)
    if not record:
        if len(memory):
            raise SystemExit(f"{memory.store.path} holds episodes of another program.")
        record = {"chunks": 0}
        saved.save(0, run, record, store=memory.store, wait=True)  # before the first episode
    with Bars("{task.description}") as progress:
        task = progress.add_task("compiling", total=chunks)
        for chunk in range(record["chunks"] + 1, chunks + 1):
            run, losses = planet.chunk(run, memory, key(chunk))
            saved.save(chunk, run, {"chunks": chunk}, last=chunk == chunks, store=memory.store)
            text = f"{len(memory)} episodes, return {memory.store.metadata['return'][-20:].mean():.1f}; "
            text += " ".join(f"{name} {value:.2f}" for name, value in losses.items())
            progress.update(task, completed=chunk, description=text)
            progress.say(text)
    saved.close()
    return run


def main(argv: list[str] | None = None) -> None:
    """Learn, judge the plans and random forces from the same places, draw."""
    parser = options(__doc__, "planet.png", episodes=320)
    save_options(parser, every=5)
    args, started = parser.parse_args(argv), time.perf_counter()
    saved = Checkpoints(args, "model", episodes=args.episodes, seed=args.seed)
    graph, params = nnx.split(WorldModel(nnx.Rngs(args.seed)))
    planet, key = PlaNet(graph), partial(jax.random.fold_in, jax.random.key(args.seed))
    chunks = 1 + max(0, args.episodes - FIRST) // NUM_ENVS
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.save or args.resume or scratch)
        with jb.planet.Memory(path=folder / "episodes") as memory:
            run = train(planet, memory, saved, chunks, Run(params, OPTIMIZER.init(params)), key)
            returns = memory.store.metadata["return"]  # a column of the store: the curve needs no other record
    keys, acts = split(key(0)), (partial(planet.act, run.params, 0.0), at_random)
    trials = places(split(keys[0], TRIALS))
    played = [play(act, trials, keys[1]) for act in acts]
    final, random = (float(np.mean([np.sum(episode.reward) for episode in episodes])) for episodes in played)
    curve = " ".join(f"{returns[i : i + FIRST].mean():.1f}" for i in range(0, len(returns), FIRST))
    print(
        f"{len(returns)} episodes in {time.perf_counter() - started:.0f} s; their returns, {FIRST} by {FIRST}: {curve}"
    )
    result = f"PlaNet on a puck seen as images: return {final:.1f} over {TRIALS} episodes; random {random:.1f}"
    print(result, flush=True)
    model, farthest = nnx.merge(graph, run.params), np.square(trials.position - trials.goal).sum(-1).argmax()
    picture(args.out, result, returns, random, final, [film(model, episodes[farthest]) for episodes in played])


if __name__ == "__main__":
    main()
