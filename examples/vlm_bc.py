"""Behaviour cloning of a small vision-language policy: demonstrations with text, in one file.

    pip install ".[examples]"
    python examples/vlm_bc.py                                            # go to what is named, two minutes
    python examples/vlm_bc.py --level BabyAI-PickupLoc-v0 --episodes 4000 --steps 6000
    python examples/vlm_bc.py --resume                                   # go on from what the last run saved

BabyAI's bot (Chevalier-Boisvert et al. 2019) shows how to carry out missions such as "go to the red ball" in MiniGrid.
Missions and actions are text: they live in a `jb.TextTable` on disk, and the rows of the demonstrations hold their ids.
The policy sees the 7 x 7 cells before the agent and the words of its mission, which steer its features (Perez et al.,
"FiLM", 2018), and imitates the bot in jitted steps that sample from the replay (Pomerleau 1991).
"""

import contextlib
import io
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import minigrid  # noqa: F401  registers the levels
import numpy as np
import optax
from flax import nnx
from jax import Array
from minigrid.utils.baby_ai_bot import BabyAIBot
from running import Bars, options

import jaxbuffers as jb

ACTIONS = ["turn left", "turn right", "move forward", "pick up", "drop", "toggle", "done"]
CELLS = (11, 6, 3)  # kinds of object, colours, states of a door
VOCABULARY, WORDS, WIDTH = 1024, 16, 32  # words are told apart by a checksum; the most words of a mission; features
BATCH, LEARNING_RATE, CHUNK = 128, 2e-3, 100  # CHUNK steps run in one call
CAPACITY, TRIALS, FRAMES = 2**17, 200, 6
KINDS = ("ball", "box", "key", "door")  # what missions ask for, by their last word


class Policy(nnx.Module):
    """What to do, from what is seen and what was asked for."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.cells = nnx.Linear(sum(CELLS), WIDTH, rngs=rngs)
        self.words = nnx.Embed(VOCABULARY, WIDTH, rngs=rngs)
        self.places = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.mission = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.film = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.first, self.second = (nnx.Linear(9 * WIDTH, WIDTH, rngs=rngs) for _ in range(2))
        self.hidden = nnx.Linear(49 * WIDTH, 2 * WIDTH, rngs=rngs)
        self.out = nnx.Linear(2 * WIDTH, len(ACTIONS), rngs=rngs)

    def __call__(self, image: Array, tokens: Array, mask: Array) -> Array:
        """Map cells uint8 [B, 7, 7, 3] and tokens int32 [B, L] to logits [B, A]."""
        parts = [jax.nn.one_hot(image[..., i], size) for i, size in enumerate(CELLS)]
        x = self.cells(jnp.concatenate(parts, axis=-1))
        words = jnp.tanh(self.words(tokens) + self.places(jnp.arange(tokens.shape[1]))[None])
        said = jnp.sum(jnp.where(mask[..., None], words, 0.0), axis=1)
        steer = self.film(jax.nn.relu(self.mission(said)))[:, None, None, :]
        for conv, part in zip((self.first, self.second), jnp.split(steer, 2, axis=-1), strict=True):
            scale, shift = jnp.split(part, 2, axis=-1)
            x = x + jax.nn.relu(conv(neighbours(x)) * (1 + scale) + shift)
        return self.out(jax.nn.relu(self.hidden(x.reshape(len(x), -1))))


def neighbours(x: Array) -> Array:
    """Put the features of the nine cells around each cell side by side: [B, 7, 7, W] to [B, 7, 7, 9 W]."""
    wide = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    return jnp.concatenate([wide[:, i : i + 7, j : j + 7] for i in range(3) for j in range(3)], axis=-1)


def tokenize(text: str) -> list[int]:
    """Number the words of a text, each by its checksum: nothing to learn, nothing to save."""
    return [zlib.crc32(word.encode()) % VOCABULARY for word in text.split()]


def demonstrate(level: str, episodes: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Let the bot solve missions; yield trajectories of transitions."""
    env = gym.make(level)
    for episode in range(episodes):
        obs, steps, action, over = _reset(env, seed + episode), [], None, False
        bot = BabyAIBot(env.unwrapped)
        while not over:
            action = bot.replan(action)
            after, reward, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
            step = {"observation": obs["mission"], "image_features": obs["image"], "action": ACTIONS[action]}
            step |= {"next_observation": after["mission"], "next_image_features": after["image"]}
            steps.append(step | {"reward": float(reward), "done": bool(terminated)})
            obs = after
        yield steps


def _reset(env: gym.Env, seed: int) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):  # levels print when they draw anew
        return env.reset(seed=seed)[0]


class Learner:
    """Policy, optimizer and demonstrations."""

    def __init__(self, folder: Path, level: str, seed: int) -> None:
        features = jax.ShapeDtypeStruct((7, 7, 3), np.uint8)
        self.table = jb.TextTable(folder / "texts.sqlite")
        self.demos = jb.Demonstrations(CAPACITY, features, batch_size=BATCH, gamma=0.99, table=self.table, seed=seed)
        self.tokens = jb.Tokens(self.table, tokenize, max_len=WORDS)
        self.graph, self.params = nnx.split(Policy(nnx.Rngs(seed)))
        self.optimizer = optax.adam(LEARNING_RATE)
        self.moments = self.optimizer.init(self.params)
        self.key, self.folder, self.level = jax.random.key(seed), folder, level
        self.curve: list[list[float]] = []  # loss and accuracy, for each chunk
        self.trials: list[dict[str, Any]] = []  # what `judge` has found so far

    def language(self) -> tuple[jb.Remap, Array, Array, Array]:
        """Return what jitted code needs to know of the texts: the numbers of the missions and actions, and tokens."""
        ids = self.table.ids()
        texts = self.table.lookup(ids)
        action = np.array([ACTIONS.index(text) if text in ACTIONS else -1 for text in texts], np.int32)
        words = self.tokens(ids)
        return jb.Remap.of(ids.tolist(), list(range(len(ids)))), jnp.asarray(action), *map(jnp.asarray, words[:2])

    @partial(jax.jit, static_argnames="self", donate_argnames=("params", "moments"))
    def chunk(self, params: Any, moments: Any, replay: jb.ReplayState, language: tuple, key: Array) -> tuple:
        """Take CHUNK steps of behaviour cloning; returns losses and accuracies [CHUNK] too."""
        number, action, tokens, mask = language

        def loss(params: Any, step: jb.Transition) -> tuple[Array, Array]:
            told, shown = number(step.obs["observation"]), action[number(step.action)]
            logits = nnx.merge(self.graph, params)(step.obs["image_features"], tokens[told], mask[told])
            right = jnp.mean(jnp.argmax(logits, -1) == shown)
            return optax.softmax_cross_entropy_with_integer_labels(logits, shown).mean(), right

        def advance(carry: tuple, key: Array) -> tuple:
            params, moments = carry
            batch = self.demos.buffer.replay.sample(replay, key)
            (value, right), grads = jax.value_and_grad(loss, has_aux=True)(params, batch.data)
            updates, moments = self.optimizer.update(grads, moments)
            return (optax.apply_updates(params, updates), moments), (value, right)

        carry, curves = jax.lax.scan(advance, (params, moments), jax.random.split(key, CHUNK))
        return *carry, *curves

    def train(self, chunks: int, show: Callable) -> None:
        """Imitate for some chunks."""
        language, replay = self.language(), self.demos.buffer.state
        for _ in range(chunks):
            self.key, key = jax.random.split(self.key)
            self.params, self.moments, losses, right = self.chunk(self.params, self.moments, replay, language, key)
            self.curve.append([float(losses.mean()), float(right.mean())])
            show(advance=1, note=f"accuracy {self.curve[-1][1]:.3f}")

    @partial(jax.jit, static_argnames="self")
    def act(self, params: Any, image: Array, tokens: Array, mask: Array, key: Array) -> Array:
        """Draw actions int32 [B]."""
        return jax.random.categorical(key, nnx.merge(self.graph, params)(image, tokens, mask))

    def judge(self, name: str, trials: int, seed: int, frames: int = 0) -> list:
        """Try new missions side by side and note the successes; returns some last frames with their missions."""
        envs = [gym.make(self.level, render_mode="rgb_array") for _ in range(trials)]
        obs = [_reset(env, seed + i) for i, env in enumerate(envs)]
        kinds = np.array([_kind(o["mission"]) for o in obs])
        playing, success, shots = np.ones(trials, bool), np.zeros(trials, bool), []
        words = self.tokens(self.table.intern([o["mission"] for o in obs]))
        for key in jax.random.split(jax.random.key(seed), envs[0].unwrapped.max_steps):
            action = np.asarray(self.act(self.params, np.stack([o["image"] for o in obs]), *words[:2], key))
            for i in np.flatnonzero(playing):
                before = envs[i].render() if len(shots) < frames else None
                obs[i], reward, terminated, truncated, _ = envs[i].step(int(action[i]))
                playing[i], success[i] = not (terminated or truncated), reward > 0
                if before is not None and success[i]:
                    shots.append((before, obs[i]["mission"], ACTIONS[action[i]]))
            if not playing.any():
                break
        won = {str(kind): [int(success[kinds == kind].sum()), int(sum(kinds == kind))] for kind in np.unique(kinds)}
        self.trials.append({"name": name, "steps": len(self.curve) * CHUNK, "won": won})
        return shots

    def save(self) -> None:
        """Save all of it in one file, which is there as a whole or not at all."""
        path, notes = self.folder / "run", {"level": self.level, "curve": self.curve, "trials": self.trials}
        jb.checkpoint.save(path, self._learned(), metadata=notes, overwrite=True)

    def load(self) -> None:
        """Go back to what was saved."""
        found = jb.checkpoint.restore(self.folder / "run", self._learned())
        _, self.params, self.moments, self.key = found.tree  # the demonstrations have taken theirs
        self.curve, self.trials = found.metadata["curve"], found.metadata["trials"]

    def _learned(self) -> tuple:
        return self.demos, self.params, self.moments, self.key

    def close(self) -> None:
        """Let go of the file of texts."""
        self.table.close()


def _kind(mission: str) -> str:
    word = mission.split()[-1]
    return word if word in KINDS else "other"


def rate(trial: dict[str, Any], kind: str | None = None) -> float:
    """Return the share of the missions that were fulfilled; of one kind, or of all."""
    counts = trial["won"].values() if kind is None else [trial["won"][kind]]
    won, tried = np.sum(list(counts), axis=0)
    return float(won / tried)


def picture(path: str, title: str, curve: np.ndarray, trials: list[dict[str, Any]], shots: list) -> None:
    """Draw the imitation, the successes before and after, and what was seen when missions were fulfilled."""
    figure = plt.figure(figsize=(11, 7), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.3, 1])
    left, right = top.subplots(1, 2, width_ratios=[1.3, 1])
    left.plot(np.arange(1, len(curve) + 1) * CHUNK, curve[:, 1], color="#2a6f97", label="actions like the expert's")
    steps, rates = [trial["steps"] for trial in trials], [rate(trial) for trial in trials]
    left.plot(steps, rates, "o--", color="#e07a1f", label=f"success in {TRIALS} new missions")
    for x, y in zip(steps, rates, strict=True):
        above = x > 0 and curve[x // CHUNK - 1, 1] < y  # on the side where the curve is not
        offset = (0, 7 if above else -16)
        left.annotate(f"{y:.0%}", (x, y), offset, textcoords="offset points", ha="center", color="#e07a1f")
    left.set(title=title, xlabel="steps of behaviour cloning", ylim=(-0.05, 1.1))
    left.xaxis.set_major_formatter("{x:,.0f}")
    left.legend(loc="center right", frameon=False)
    groups = [*trials[-1]["won"], "all"]
    ends = [("before", trials[0], "0.7"), (f"after {trials[-1]['steps']:,} steps", trials[-1], "#2a6f97")]
    for shift, (name, trial, color) in zip((-0.2, 0.2), ends, strict=True):
        heights = [rate(trial, None if group == "all" else group) for group in groups]
        bars = right.bar(np.arange(len(groups)) + shift, heights, 0.38, color=color, label=name)
        right.bar_label(bars, fmt="{:.0%}", padding=2)
    right.set_xticks(range(len(groups)), groups)
    right.set(title="success by what the mission asks for", ylim=(0, 1.25))
    right.legend(loc="upper center", ncols=2, frameon=False)
    for axes in (left, right):
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_yticks(np.linspace(0, 1, 5))
        axes.spines[["top", "right"]].set_visible(False)
    for axes, (frame, mission, action) in zip(bottom.subplots(1, FRAMES), shots, strict=False):
        axes.imshow(frame)
        axes.set_title(mission, fontsize=8)
        axes.set_xlabel(f"about to {action}", fontsize=8)
        axes.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """Collect, imitate, judge, save; then reload and go on."""
    parser = options(__doc__, "vlm_bc.png")
    parser.add_argument("--level", default="BabyAI-GoToLocal-v0", help="a level of BabyAI")
    parser.add_argument("--episodes", type=int, default=3000, help="demonstrations")
    parser.add_argument("--steps", type=int, default=3000, help=f"of behaviour cloning, a multiple of {CHUNK}")
    parser.add_argument("--more", type=int, default=500, help="further steps, after a save and a reload")
    parser.add_argument("--folder", default="vlm_bc", help="where to save; must not hold another run, unless to resume")
    parser.add_argument("--resume", action="store_true", help="begin with what --folder holds")
    args = parser.parse_args(argv)
    folder = Path(args.folder)
    saved, chunks, more = (folder / "run").exists(), args.steps // CHUNK, args.more // CHUNK
    if args.resume and not saved:
        parser.error(f"{folder} holds no run that was saved: leave out --resume")
    if saved and not args.resume:
        parser.error(f"{folder} holds another run: --resume it, name another --folder, or remove it")
    if args.resume and (level := jb.checkpoint.metadata(folder / "run")["level"]) != args.level:
        parser.error(f"{folder} is a run on {level}: name that --level")
    folder.mkdir(exist_ok=True)
    judge = partial(Learner.judge, trials=TRIALS, seed=10**6 + args.seed)  # missions never shown
    with Bars("{task.description:9} {task.fields[note]}") as bars:
        learner = Learner(folder, args.level, args.seed)
        if args.resume:
            learner.load()
        else:
            judge(learner, "untrained")
            bar = bars.add_task("watch", total=args.episodes, note="")
            for steps in demonstrate(args.level, args.episodes, args.seed):
                learner.demos.insert_trajectory(steps)
                bars.update(bar, advance=1, note=f"{len(learner.demos):,} steps, {len(learner.table)} texts")
            bar = bars.add_task("imitate", total=chunks, note="")
            learner.train(early := chunks // 6, partial(bars.update, bar))
            judge(learner, "after a sixth of the steps")
            learner.train(chunks - early, partial(bars.update, bar))
            judge(learner, "cloned")
            learner.save()
            learner.close()
            learner = Learner(folder, args.level, args.seed + 1)
            learner.load()
        bar = bars.add_task("go on", total=more, note="")
        learner.train(more, partial(bars.update, bar))
        shots = judge(learner, "reloaded and cloned on", frames=FRAMES)
        learner.save()
        learner.close()
    print("success: " + ", ".join(f"{trial['name']} {rate(trial):.0%}" for trial in learner.trials))
    picture(args.out, args.level, np.asarray(learner.curve), learner.trials, shots)


if __name__ == "__main__":
    main()
