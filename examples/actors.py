"""Actors apart: Gymnasium environments in Ray actors feed one learner, which sends its weights back.

    pip install ".[examples,ray]"
    python examples/actors.py                                    # CartPole, two actors: about a minute
    python examples/actors.py --here                             # the same without Ray, in one process
    python examples/actors.py --save run; kill it, then --resume run

Each actor is asked for some rows with the newest weights, and asked again only while the inbox has room for its next
answer, so a slow learner holds them up. An actor may be killed: it is replaced, and its open episode is truncated.
Ctrl-C and SIGTERM end the run with a checkpoint. The method is double Q-learning with n-step returns.
"""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from actor_processes import Here, OnRay, Signals
from cart_pole_actor import Actor, Weights, values
from jax import Array
from running import Bars, Checkpoints, counted, options, save_options

import jaxbuffers as jb

NUMBER, WAITING = 64, 256  # rows in an answer and of an actor in a block; rows of an actor that can wait
CAPACITY, BATCH, VIEW = 100_000, 128, jb.Transitions(n_step=5, gamma=0.99)
SAMPLES_PER_ROW, WARMUP = 16, 1_000
MAX_STALENESS, EVERY = 500, 25  # updates that a policy may be behind, and from one to the next
UNITS, LEARNING_RATE, SLOW = 128, 1e-3, 0.01
COMPARED = 20_000  # rows of the single process that Ray is compared with
TOGETHER = 25  # blocks in a point of the picture
EXPLORING, EPSILON, TRIAL = 0.2, 0.02, 20  # explore less and less for this part of the time; episodes to judge


class Run(NamedTuple):
    """All that changes in the learner; donated to every call."""

    weights: Weights
    target: Weights
    optimizer: optax.OptState
    age: Array  # updates so far
    key: Array
    replay: jb.ReplayState
    limiter: jb.RateLimiterState


class Learner:
    """Pure functions of a `Run`; the limiter says how many updates a block is worth."""

    def __init__(self, row: dict, actions: int, actors: int, rows: int) -> None:
        self.row, self.sizes = row, (row["obs"].shape[0], UNITS, UNITS)
        self.actions, self.replay = actions, jb.Replay(CAPACITY // actors * actors, actors, BATCH, VIEW)
        self.limiter = jb.RateLimiter(SAMPLES_PER_ROW, WARMUP, tolerance=max(BATCH, actors * NUMBER * SAMPLES_PER_ROW))
        updates = max(1, rows * SAMPLES_PER_ROW // BATCH)
        self.optimizer = optax.adam(optax.linear_schedule(LEARNING_RATE, 0.0, updates))

    def begin(self, key: Array) -> Run:
        """Start with new weights and an empty replay."""
        make, keys = jax.nn.initializers.lecun_normal(), jax.random.split(key, 5)
        weights = {"state": make(keys[0], (UNITS, 1)), "advantage": make(keys[1], (UNITS, self.actions))}
        for i, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            weights |= {f"kernel{i}": make(keys[2 + i], (inputs, outputs)), f"bias{i}": jnp.zeros(outputs)}
        target, optimizer = jax.tree.map(jnp.copy, weights), self.optimizer.init(weights)
        return Run(weights, target, optimizer, jnp.int32(0), keys[4], self.replay.init(self.row), self.limiter.init())

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def step(self, run: Run, rows: dict, mask: Array) -> Run:
        """Add a block, and make the updates that are due."""
        replay = self.replay.add(run.replay, rows, mask)
        run = run._replace(replay=replay, limiter=self.limiter.insert(run.limiter, mask.sum(dtype=jnp.int32)))
        return jax.lax.fori_loop(0, self.limiter.due(run.limiter, BATCH), lambda _, run: self.update(run), run)

    def update(self, run: Run) -> Run:
        """Make one update from a batch."""
        data = self.replay.sample(run.replay, jax.random.fold_in(run.key, run.age)).data

        def loss(weights: Weights) -> Array:
            after = values(weights, data.next_obs).argmax(-1)  # the network chooses what follows, the target values it
            goal = data.reward + data.discount * pick(values(run.target, data.next_obs), after)
            return optax.huber_loss(pick(values(weights, data.obs), data.action), goal).mean()

        updates, optimizer = self.optimizer.update(jax.grad(loss)(run.weights), run.optimizer, run.weights)
        weights = optax.apply_updates(run.weights, updates)
        target, limiter = optax.incremental_update(weights, run.target, SLOW), self.limiter.sample(run.limiter, BATCH)
        return run._replace(weights=weights, target=target, optimizer=optimizer, age=run.age + 1, limiter=limiter)


def pick(values: Array, action: Array) -> Array:
    """Choose the value of an action: [B, A] and [B] to [B]."""
    return jnp.take_along_axis(values, action[:, None], -1)[:, 0]


class Training:
    """The loop: it asks actors, fills the inbox, and gives the learner a block whenever it is free."""

    def __init__(
        self, pool: Here | OnRay, learner: Learner, run: Run, record: dict, rows: int, saved: Checkpoints | None
    ) -> None:
        self.pool, self.learner, self.run, self.record, self.rows, self.saved = pool, learner, run, record, rows, saved
        self.actors = learner.replay.num_streams
        self.inbox = jb.Inbox(learner.row, self.actors, length=NUMBER, capacity=WAITING, max_staleness=MAX_STALENESS)
        self.can_insert = jax.jit(learner.limiter.can_insert)
        self.idle, self.afresh = set(range(self.actors)), set[int]()
        self.lives, self.version = [0] * self.actors, [0] * self.actors  # of the actors, and of their weights
        self.staleness: list[np.ndarray] = []
        self.began: tuple[float, int] | None = None  # when it was compiled, and how many steps had been taken
        self.send()

    def go(self, signals: Signals, show: Any = lambda **_: None) -> float:
        """Train until there are enough rows or a signal comes; return environment steps a second."""
        while self.record["rows"] < self.rows and not signals.by:
            self.ask()
            if (answer := self.pool.answer()) is not None:
                self.hear(*answer)
            if self.run.age.is_ready():  # the learner is free
                if self.began is None and self.record["blocks"]:
                    self.began = time.perf_counter(), self.record["steps"]
                if int(self.run.age) >= self.inbox.version + EVERY:
                    self.send()
                if self.can_insert(self.run.limiter, self.actors * NUMBER) and self.learn(at_least=NUMBER):
                    scores = [score for _, score in self.record["scores"][-TRIAL:]]
                    show(r=np.mean(scores or [np.nan]), completed=self.record["rows"])
                    self.save()
        began, steps = self.began or (time.perf_counter(), self.record["steps"])
        rate = (self.record["steps"] - steps) / max(time.perf_counter() - began, 1e-9)
        for actor in range(self.actors):
            self.inbox.lost(actor)
        while self.learn(at_least=1):  # what was waiting
            pass
        if self.staleness:  # there is something new
            self.record["blocks"] += 1  # a number that no earlier checkpoint has
            self.save(last=True, wait=True)
        return rate

    def ask(self) -> None:
        """Ask the actors whose next answer would find room: this is what holds them up."""
        epsilon = max(EPSILON, 1.0 - self.record["rows"] / self.rows / EXPLORING)
        for actor in sorted(self.idle):
            if self.inbox.waiting[actor] + NUMBER <= WAITING:
                self.pool.ask(actor, self.weights, epsilon, NUMBER, actor in self.afresh)
                self.version[actor] = self.inbox.version
                self.idle.remove(actor)
                self.afresh.discard(actor)

    def hear(self, actor: int, answer: tuple[dict, list[float]] | None) -> None:
        """Put what an actor has answered into the inbox; None says that it has died, and is replaced."""
        self.idle.add(actor)
        if answer is None:
            self.lives[actor] = self.inbox.lost(actor)
            self.record["replaced"] += 1
            print(f"actor {actor} died and is replaced; its episode is truncated", flush=True)
            return
        rows, scores = answer
        try:
            self.inbox.put(actor, rows, version=self.version[actor], life=self.lives[actor])
        except jb.errors.StaleRowsError:  # what is left out would be a gap: on with a new episode
            self.lives[actor] = self.inbox.lost(actor)
            self.afresh.add(actor)
            self.record["refused"] += NUMBER
            return
        self.record["scores"] += [[self.record["rows"], score] for score in scores]

    def learn(self, at_least: int) -> bool:
        """Hand a block to the learner, which goes on by itself; say whether there was one."""
        waiting = len(self.inbox)
        if (block := self.inbox.take(at_least)) is None:
            return False
        self.run = self.learner.step(self.run, block.rows, block.mask)
        self.staleness.append(staleness := block.staleness[block.mask])
        self.record["blocks"] += 1
        self.record["rows"] += len(staleness)
        self.record["steps"] += int((block.mask & ~block.rows["is_last"]).sum())
        self.record["queue"].append([self.record["rows"], waiting, *np.percentile(staleness, (50, 95)).tolist()])
        return True

    def save(self, **how: bool) -> None:
        """Save the run, if it is to be saved at all."""
        if self.saved:
            self.saved.save(self.record["blocks"], self.run, self.record, **how)

    def send(self) -> None:
        """Bring the weights to where actors find them."""
        self.inbox.announce(int(self.run.age))
        self.weights = self.pool.send(jax.device_get(self.run.weights))


def record() -> dict[str, Any]:
    """Return what has happened before anything has."""
    return {"rows": 0, "blocks": 0, "steps": 0, "replaced": 0, "refused": 0, "scores": [], "queue": []}


def spaces(env: str) -> tuple[dict, int]:
    """Return what a row is, and how many actions there are."""
    actor = Actor(env, 0)
    names = ("obs", "action", "reward", "is_first", "is_last", "is_terminal")
    row = zip(names, next(actor.rows), strict=True)
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in row}, int(actor.env.action_space.n)


def judge(env: str, weights: Weights, seed: int) -> list[float]:
    """Play some episodes greedily; return their scores."""
    actor = Actor(env, seed)
    actor.weights, actor.epsilon = jax.device_get(weights), 0.0
    while len(actor.scores) < TRIAL:
        next(actor.rows)
    return actor.scores


def picture(path: str, title: str, record: dict) -> None:
    """Draw the curve, how many rows waited, and how stale they were."""
    figure, axes = plt.subplots(3, 1, figsize=(9, 8), layout="constrained", sharex=True)
    at, scores = np.array(record["scores"]).reshape(-1, 2).T
    mean = np.convolve(scores, np.ones(TRIAL) / TRIAL, "valid") if len(scores) >= TRIAL else scores[:0]
    axes[0].plot(at, scores, ".", color="0.75", markersize=3, label="episodes")
    axes[0].plot(at[len(at) - len(mean) :], mean, linewidth=2, label=f"mean of {TRIAL}")
    queue = np.array(record["queue"]).reshape(-1, 4)
    parts = np.array_split(queue, -(-len(queue) // TOGETHER))  # blocks, some at a time
    rows, waiting, median, _ = np.array([part.mean(0) for part in parts]).T
    axes[1].plot(rows, waiting, label=f"mean of {TOGETHER} blocks")
    low, high = np.array([(part[:, 1].min(), part[:, 1].max()) for part in parts]).T
    axes[1].fill_between(rows, low, high, alpha=0.2, linewidth=0, label="least and most")
    axes[2].plot(rows, [np.percentile(part[:, 3], 95) for part in parts], label="95th percentile")
    axes[2].plot(rows, median, label="median")
    for axis, name in zip(axes, ("return", "rows waiting", "staleness in updates"), strict=True):
        axis.set(ylabel=name, ylim=(0, 1.2 * axis.get_ylim()[1]))
        axis.legend(loc="upper left", ncols=2)
    axes[0].set_title(title)
    axes[2].set_xlabel("rows")
    axes[2].xaxis.set_major_formatter("{x:,.0f}")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """Train, judge, compare, draw."""
    parser = options(__doc__, "actors.png", env="CartPole-v1", steps=200_000)
    parser.add_argument("--actors", type=counted, default=2, help="how many")
    parser.add_argument("--here", action="store_true", help="actors in this process, without Ray")
    save_options(parser, every=200)
    args = parser.parse_args(argv)
    saved = Checkpoints(args, env=args.env, steps=args.steps, actors=args.actors, seed=args.seed)
    begun = max(saved.manager.steps(), default=0) if saved.manager else 0
    seeds = [args.seed + 1_000_003 * begun + actor for actor in range(args.actors)]
    signals, pool = Signals(), None
    try:
        pool = (Here if args.here else OnRay)(args.env, seeds)  # before JAX starts its threads: Ray forks
        signals.hold()
        learner = Learner(*spaces(args.env), args.actors, args.steps)
        run, log = saved.newest(learner.begin(jax.random.key(args.seed)), record())
        with Bars("return {task.fields[r]:.1f}") as bar:
            training = Training(pool, learner, run, log, args.steps, saved)
            rate = training.go(signals, partial(bar.update, bar.add_task("", total=args.steps, r=np.nan)))
        if not args.here and not signals.by:
            pool.close()
            alone = learner.begin(jax.random.key(args.seed)), record(), min(args.steps, COMPARED)
            alone = Training(Here(args.env, seeds), learner, *alone, None).go(signals)
    finally:
        if pool:
            pool.close()
        saved.close()
        signals.release()
    run, how = training.run, "in this process" if args.here else "on Ray"
    if signals.by:
        more = f"--resume {saved.folder} goes on" if saved.folder else "nothing was saved"
        print(f"stopped by {signals.by} after {log['rows']} rows; {more}", flush=True)
        return
    scores = judge(args.env, run.weights, args.seed)
    stale = np.percentile(np.concatenate([*training.staleness, [0]]), 95)
    print(f"return {np.mean(scores):.1f} over {TRIAL} greedy episodes; {args.actors} actors {how}: {rate:.0f} steps/s")
    if not args.here:
        print(f"without Ray, all in one process: {alone:.0f} steps/s, measured over {COMPARED} rows")
    print(f"staleness, 95th percentile: {stale:.0f} updates; {log['refused']} rows were too stale")
    print(f"{int(run.age)} updates, {int(run.age) * BATCH / log['rows']:.2f} samples a row, ", end="")
    print(f"{int(run.limiter.violations)} against the limiter; {log['replaced']} actors replaced")
    picture(args.out, f"{args.env}: {args.actors} actors {how}, one learner", log)


if __name__ == "__main__":
    main()
