"""A web agent learns to click from an expert's attempts in a real browser: filtered behaviour cloning.

    pip install ".[web]" && apt-get install chromium chromium-driver
    python examples/web_agent.py                  # play, learn, and play again: four minutes
    python examples/web_agent.py --recorded       # learn from recorded attempts, without a browser: half a minute

A scripted expert, noisy and sometimes wrong, plays tasks of MiniWoB++. Screenshots, accessibility trees, prompts and
answers go into a `jb.TrajectoryPool`. A small vision-language policy (what is asked in words; the name, the place and
the pixels of every element) clones the steps that the pool's filters keep: those of successful attempts after which the
screen changed. Another policy clones all steps. Both play pages that nobody saw before.
"""

import re
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from PIL import Image
from running import Bars, options
from web_pages import HEIGHT, TASKS, WIDTH, Agent, Element, expert, missing, play, read_tree, record, replayed, wanted
from web_report import clicks, picture, report

import jaxbuffers as jb
from jaxbuffers.trajectories import (
    Click,
    action_of,
    by_columns,
    draw_recent,
    iteration,
    parse_response,
    render_action,
    same_screenshot,
    successful,
)

VOCABULARY, FEATURES, SIDE = 4096, 48, 8  # words are told apart by a checksum; the pixels of an element, SIDE x SIDE
SAID, NAMED, MOST = 24, 6, 32  # words of a task and of an element, elements of a page
BATCH, LEARNING_RATE, DECAY, CHUNK = 64, 1e-3, 0.3, 50  # CHUNK steps run in one call
FORGET = 0.4  # how many words are left out while learning
EXPERT = 0  # the iteration of the expert's attempts
RECORDED = Path(__file__).parent / "web_agent.tar.xz"
KEEP = successful() & ~same_screenshot()  # what is worth learning from
HELD_OUT = by_columns(lambda columns: columns["task_id"] % 5 == 0)  # pages that are never learned from


class Page(NamedTuple):
    """What a policy sees. N pages, M elements, in numbers; 0 is no word."""

    said: Any  # int32 [N, SAID]
    names: Any  # int32 [N, M, NAMED], kind and name
    places: Any  # float32 [N, M, 5], left, top, width, height, and whether it is marked
    pixels: Any  # uint8 [N, M, SIDE, SIDE, 3]
    there: Any  # bool [N, M]


class Policy(nnx.Module):
    """Which element to click."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.words = nnx.Embed(VOCABULARY, FEATURES, rngs=rngs)
        self.look = nnx.Linear(SIDE * SIDE * 3, FEATURES, rngs=rngs)
        self.see = nnx.Linear(FEATURES, FEATURES, rngs=rngs)
        self.place = nnx.Linear(5, FEATURES, rngs=rngs)
        self.steer = nnx.Linear(FEATURES, 2 * FEATURES, rngs=rngs)
        self.first = nnx.Linear(3 * FEATURES + NAMED + 1, FEATURES, rngs=rngs)
        self.second = nnx.Linear(FEATURES, FEATURES, rngs=rngs)
        self.out = nnx.Linear(FEATURES, 1, rngs=rngs)

    def __call__(self, page: Page, key: Array | None = None) -> Array:
        """Return logits [B, M]; with a key, random words mean nothing, so that tasks are not learned by heart."""
        known, named = page.said > 0, page.names > 0
        if key is not None:
            one, other = jax.random.split(key)
            known = known & jax.random.bernoulli(one, 1 - FORGET, known.shape)
            named = named & jax.random.bernoulli(other, 1 - FORGET, named.shape)
        said = self.words(page.said) * known[..., None]
        name = jnp.sum(self.words(page.names) * named[..., None], axis=2)
        seen = self.see(jax.nn.relu(self.look(page.pixels.reshape(*page.pixels.shape[:2], -1) / 255.0)))
        # What is asked for is found by its words: the same word in the name, or one for what is seen.
        same = (page.said[:, None, None] == page.names[..., None]) & (page.names > 0)[..., None]
        shown = jnp.einsum("bsf,bmf->bms", said, seen).max(axis=-1, keepdims=True)
        parts = [name, seen, self.place(page.places), jnp.any(same, axis=-1), shown]
        scale, shift = jnp.split(self.steer(jnp.sum(said, axis=1)), 2, axis=-1)
        hidden = jax.nn.relu(self.first(jnp.concatenate(parts, axis=-1)) * (1 + scale[:, None]) + shift[:, None])
        hidden = hidden + jax.nn.relu(self.second(hidden))
        return jnp.where(page.there, self.out(hidden)[..., 0], -jnp.inf)


def numbered(text: str, most: int) -> list[int]:
    """Number the first words of a text, each by its checksum: nothing to learn, nothing to save."""
    found = [1 + zlib.crc32(word.encode()) % (VOCABULARY - 1) for word in re.findall(r"[\w#]+", text)]
    return (found + [0] * most)[:most]


def encoded(said: str, elements: list[Element], screenshot: np.ndarray) -> Page:
    """Put what is asked and seen into numbers, without the axis N; the screenshot may be of any size."""
    if len(elements) > MOST:
        raise ValueError(f"the page has {len(elements)} elements, and the policy looks at {MOST}")
    found, image = Page(numbered(said, SAID), *_nothing()), Image.fromarray(screenshot)
    across, down = image.width / WIDTH, image.height / HEIGHT
    for i, each in enumerate(elements):
        box = (each.left, each.top, each.left + each.width, each.top + each.height)
        found.names[i] = numbered(f"{each.kind} {each.name}", NAMED)
        found.places[i] = (*np.array(box) / WIDTH, each.marked)
        cut = [limit * scale for limit, scale in zip(box, (across, down) * 2, strict=True)]
        found.pixels[i] = image.resize((SIDE, SIDE), Image.Resampling.BOX, cut)
        found.there[i] = True
    return found._replace(said=np.array(found.said, np.int32))


def _nothing() -> tuple[np.ndarray, ...]:
    shapes = ((NAMED,), np.int32), ((5,), np.float32), ((SIDE, SIDE, 3), np.uint8), ((), np.bool_)
    return tuple(np.zeros((MOST, *shape), dtype) for shape, dtype in shapes)


class Lessons(NamedTuple):
    """Steps of the expert, [N] each."""

    pages: Page
    clicked: Array  # int32, which element
    wanted: Array  # bool [N, M], which elements the task wants clicked next
    kept: np.ndarray  # bool, whether the filters keep it
    held_out: np.ndarray  # bool
    task: np.ndarray  # int64, the place of its task in TASKS


def lessons(pool: jb.TrajectoryPool) -> Lessons:
    """Read all steps of the expert, and what each filter says of them."""
    samples, steps = pool.get_training_samples(filter=iteration(EXPERT)), pool.steps()
    ours = iteration(EXPERT).mask(steps)
    pages, clicked, right = [], [], []
    for sample, id, step in zip(samples, samples.trajectory.tolist(), samples.step.tolist(), strict=True):
        asked, tree = sample["message"][-1]["content"].split("\n", 1)
        elements = read_tree(tree)
        said, image = asked.removeprefix("Task: "), pool.image(id, step)
        pages.append(encoded(said, elements, image))
        target = wanted(said, elements, image)[0]
        named = [each == target or (target.name and each.name == target.name) for each in elements]
        right.append([bool(each) for each in named] + [False] * (MOST - len(elements)))
        click = action_of(parse_response(sample["action"]))
        clicked.append(max(i for i, each in enumerate(elements) if each.holds(click.x, click.y)))
    names = steps.of_steps(steps.columns["domain"])[ours]
    task = np.array([TASKS.index(name) for name in names])
    whole = Page(*(jnp.asarray(np.stack(part)) for part in zip(*pages, strict=True)))
    return Lessons(
        whole, jnp.array(clicked), jnp.array(right), KEEP.mask(steps)[ours], HELD_OUT.mask(steps)[ours], task
    )


class Learner:
    """A policy that clones steps."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.key = name, jax.random.key(seed)
        self.graph, self.params = nnx.split(Policy(nnx.Rngs(seed)))
        self.optimizer = optax.adamw(LEARNING_RATE, weight_decay=DECAY)
        self.moments = self.optimizer.init(self.params)
        self.curve: list[float] = []  # accuracy on pages that were held out, after each chunk

    @partial(jax.jit, static_argnums=0)
    def chunk(self, params: Any, moments: Any, pages: Page, clicked: Array, eligible: Array, key: Array) -> tuple:
        """Take CHUNK steps of behaviour cloning, each on steps of the pool drawn without replacement."""

        def loss(params: Any, pages: Page, clicked: Array, key: Array) -> Array:
            logits = nnx.merge(self.graph, params)(pages, key)
            return optax.softmax_cross_entropy_with_integer_labels(logits, clicked).mean()

        def advance(carry: tuple, key: Array) -> tuple:
            params, moments = carry
            to_draw, to_forget = jax.random.split(key)
            place, there = draw_recent(to_draw, eligible, min(BATCH, len(eligible)))
            place = jnp.where(there, place, place[0])  # where there are fewer, the first again
            grads = jax.grad(loss)(params, jax.tree.map(lambda part: part[place], pages), clicked[place], to_forget)
            updates, moments = self.optimizer.update(grads, moments, params)
            return (optax.apply_updates(params, updates), moments), None

        return jax.lax.scan(advance, (params, moments), jax.random.split(key, CHUNK))[0]

    def train(self, lessons: Lessons, eligible: np.ndarray, chunks: int, show: Callable) -> None:
        """Clone some steps for some chunks."""
        for _ in range(chunks):
            self.key, key = jax.random.split(self.key)
            arguments = lessons.pages, lessons.clicked, jnp.asarray(eligible), key
            self.params, self.moments = self.chunk(self.params, self.moments, *arguments)
            self.curve.append(float(np.mean(self.right(lessons)[lessons.held_out])))
            show(advance=1, note=f"{self.name}: {self.curve[-1]:.0%} of the clicks right on pages held out")

    @partial(jax.jit, static_argnums=0)
    def logits(self, params: Any, pages: Page) -> Array:
        """Return logits [B, M]."""
        return nnx.merge(self.graph, params)(pages)

    def right(self, lessons: Lessons) -> np.ndarray:
        """Return for which steps the likeliest element is one that the task wants, bool [N]."""
        chosen = jnp.argmax(self.logits(self.params, lessons.pages), -1)
        return np.asarray(jnp.take_along_axis(lessons.wanted, chosen[:, None], 1)[:, 0])

    def agent(self, seed: int) -> Agent:
        """Return an agent that draws what to click, as a language model draws its words."""
        rng = np.random.default_rng(seed)

        def answer(said: str, page: list[Element], screenshot: np.ndarray) -> str:
            seen = jax.tree.map(lambda part: part[None], encoded(said, page, screenshot))
            logits = np.asarray(self.logits(self.params, seen)[0], np.float64)
            likely = np.exp(logits - logits.max())
            chosen = page[rng.choice(len(likely), p=likely / likely.sum())]
            x, y = chosen.left + chosen.width // 2, chosen.top + chosen.height // 2
            click = Click(WIDTH - 2, HEIGHT - 2) if chosen == page[0] else Click(x, y)
            return f"Thought: {chosen.kind} {chosen.name}\nAction: {render_action(click)}"

        return answer


def successes(pool: jb.TrajectoryPool) -> dict[str, list[float]]:
    """Return the share of successful attempts at each task, for each agent."""
    who, domain, reward = (pool.metadata[name] for name in ("who", "domain", "reward"))
    return {
        name: [float(np.mean(reward[(who == name) & (domain == task)])) for task in TASKS]
        for name in dict.fromkeys(who)
    }


def accuracies(lessons: Lessons, learner: Learner) -> list[float]:
    """Return the share of right clicks at each task, on pages that were held out."""
    right = learner.right(lessons)
    return [float(np.mean(right[lessons.held_out & (lessons.task == i)])) for i in range(len(TASKS))]


def main(argv: list[str] | None = None) -> None:
    """Play or read, learn, and play again."""
    parser = options(__doc__, "web_agent.png")
    parser.add_argument("--attempts", type=int, default=40, help="of the expert at each task")
    parser.add_argument("--trials", type=int, default=12, help="of each policy at each task")
    parser.add_argument("--steps", type=int, default=500, help=f"of behaviour cloning, a multiple of {CHUNK}")
    parser.add_argument("--recorded", action="store_true", help="use recorded attempts, and no browser")
    parser.add_argument("--record", metavar="FILE", help="write the expert's attempts into a file such as the recorded")
    parser.add_argument("--report", default="web_agent.html", help="where to save the report of trajectories")
    args = parser.parse_args(argv)
    lacking = None if args.recorded else missing()
    if lacking:
        print(f"{lacking}.\nWithout a browser, this learns from recorded attempts.")
    playing = not args.recorded and not lacking
    learners = [Learner(name, args.seed) for name in ("untrained", "all steps", "kept steps")]
    with Bars("{task.description:9} {task.fields[note]}") as bars:

        def bar(name: str, total: int) -> Callable:
            return partial(bars.update, bars.add_task(name, total=total, note=""))

        pool = jb.TrajectoryPool(images="bytes") if playing else replayed(RECORDED)
        if playing:
            seeds, show = range(args.seed, args.seed + args.attempts), bar("watch", len(TASKS) * args.attempts)
            play(pool, expert(np.random.default_rng(args.seed)), "expert", EXPERT, seeds, show)
        if args.record:
            record(pool, args.record)
        learned = lessons(pool)
        eligible = {"all steps": ~learned.held_out, "kept steps": ~learned.held_out & learned.kept}
        for learner in learners[1:]:
            learner.train(learned, eligible[learner.name], args.steps // CHUNK, bar("clone", args.steps // CHUNK))
        if playing:
            trials = range(10**6 + args.seed, 10**6 + args.seed + args.trials)  # pages never seen
            for number, learner in enumerate(learners, EXPERT + 1):
                play(
                    pool, learner.agent(args.seed), learner.name, number, trials, bar("play", len(TASKS) * args.trials)
                )
            results, what = successes(pool), "success in the browser"
        else:
            results = {learner.name: accuracies(learned, learner) for learner in learners}
            what = "right clicks on pages held out"
    print(pool)
    print(f"{learned.kept.sum()} of {len(learned.kept)} steps of the expert are kept: {KEEP!r}")
    print(f"{what}: " + ", ".join(f"{name} {np.mean(shares):.0%}" for name, shares in results.items()))
    worth = KEEP & iteration(EXPERT) & ~HELD_OUT
    report(args.report, pool, {"successful()": successful(), "~same_screenshot()": ~same_screenshot()}, worth)
    curves = {learner.name: learner.curve for learner in learners[1:]}
    picture(args.out, curves, CHUNK, results, what, clicks(pool))


if __name__ == "__main__":
    main()
