"""What the examples share: options, bars, keys, curves of several seeds, and runs that are saved and resumed."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from jax import Array
from jax.random import fold_in, split
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import jaxbuffers as jb


def options(doc: str, out: str, **more: Any) -> argparse.ArgumentParser:
    """Return a parser that says what the program does, and knows ``--seed``, ``--out`` and more."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=doc.split("\n")[0], formatter_class=formatter)
    helps = {
        "env": "an environment of gymnax",
        "episodes": "to play",
        "steps": "environment steps",
        "seeds": "how many to train at once",
    }
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=helps[name])
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")
    parser.add_argument("--out", "--output", default=out, help="where to save the picture")
    return parser


def save_options(parser: argparse.ArgumentParser, every: int) -> None:
    """Add the options of a run that can be killed at any moment."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--save", metavar="DIR", help="begin a run, and save it there again and again")
    where.add_argument("--resume", metavar="DIR", help="go on with the run that was begun with --save DIR")
    parser.add_argument("--save-every", type=counted, default=every, metavar="N", help="chunks from save to save")


def counted(text: str) -> int:
    """Return a number of at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


class Bars(Progress):
    """Progress bars with a text beside them, a template of rich."""

    def __init__(self, text: str) -> None:
        super().__init__(BarColumn(20), TimeRemainingColumn(), TextColumn(text))
        self.said = time.perf_counter()

    def say(self, text: str) -> None:
        """Print a line every ten seconds where no bar can move, as in a log."""
        if not self.console.is_terminal and time.perf_counter() > self.said + 10:
            print(text, flush=True)
            self.said = time.perf_counter()


def timed(function: Callable, *arguments: Any, **named: Any) -> tuple[Any, float]:
    """Call a function; return its result once it is there, and how many seconds that took."""
    started = time.perf_counter()
    result = jax.block_until_ready(function(*arguments, **named))
    return result, time.perf_counter() - started


def numbered_keys(key: Array, seeds: int) -> Callable[[int], Array]:
    """Return what gives keys [S] by a number: a run that is resumed asks for those that come then."""
    return lambda number: split(fold_in(key, number), seeds)


def means(last: list[list[float]], episodes: tuple, number: int) -> list[float]:
    """Take in what was done and the scores [S, T, E]; return for each seed the mean of its last so many scores.

    ``last`` begins as ``[[nan]]`` for each seed, so that there is no mean of fewer, which would favor short episodes.
    """
    for scores, done, score in zip(last, *jax.device_get(episodes), strict=True):
        scores[:] = [*scores, *score[done].tolist()][-number:]
    return [float(np.mean(scores)) for scores in last]


def picture(path: str, title: str, results: dict[str, tuple], steps: int, episodes: int) -> None:
    """Draw for each result a curve, a band from the worst to the best seed, and where the greedy policies ended.

    Args:
      path: of the file.
      title: of the picture.
      results: training scores [C, S], a random policy's mean, and greedy ones [S, N], by name.
      steps: environment steps of one chunk.
      episodes: how many training scores are means of.
    """
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, (curves, _, scores) in results.items():
        at = np.arange(1, len(curves) + 1) * steps
        (line,) = axes.plot(at, curves.mean(1), linewidth=2, label=f"{name}: {scores.mean():.1f} in the end")
        axes.fill_between(at, curves.min(1), curves.max(1), color=line.get_color(), alpha=0.15, linewidth=0)
        axes.plot(np.full(len(scores), at[-1]), scores.mean(1), "o", color=line.get_color(), clip_on=False, zorder=3)
    random = results[name][1]  # the same for all
    axes.axhline(random, color="0.3", linestyle="--", label=f"random policy: {random:.1f}")
    axes.set(title=title, xlabel="environment steps", ylabel=f"return, mean of {episodes} episodes", xlim=(0, at[-1]))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


class Checkpoints:
    """Where a run is saved, if anywhere: all that changes in it, and a record of what has happened, as JSON.

    A run that is resumed goes on from a whole chunk, with the keys that come then: it ends with the same bits.
    """

    def __init__(self, args: argparse.Namespace, name: str = "", **about: Any) -> None:
        folder = args.resume or args.save
        if args.resume and not Path(folder).is_dir():
            raise SystemExit(f"{folder} does not exist; begin a run with --save {folder}.")
        self.manager = jb.checkpoint.Manager(Path(folder) / name, keep=2) if folder else None
        self.every, self.about, self.folder = args.save_every, about, folder
        if self.manager and self.manager.steps():
            if not args.resume:
                raise SystemExit(f"{folder} holds a run; --resume {folder} goes on with it.")
            said = self.manager.metadata()
            if not isinstance(said, dict) or "about" not in said:
                raise SystemExit(f"{folder} holds checkpoints of another program.")
            if (saved := said["about"]) != about:
                raise SystemExit(f"{folder} holds the run {saved}, this would be {about}: give the same options.")

    def newest(self, run: Any, record: dict[str, Any], store: Any = None) -> tuple[Any, dict[str, Any]]:
        """Return the run and the record that were saved last; these if there are none.

        An `EpisodeStore` loses the episodes that came later: the resumed run makes them again.
        """
        if not self.manager or not self.manager.steps():
            return run, record
        found = self.manager.restore(run, store=store, later="drop")
        print(f"going on after chunk {found.step} of {self.folder}", flush=True)
        return found.tree, found.metadata["record"]

    def save(
        self, chunk: int, run: Any, record: dict[str, Any], last: bool = False, store: Any = None, wait: bool = False
    ) -> None:
        """Save every so many chunks, and the last; the run may be donated right after."""
        if self.manager and (chunk % self.every == 0 or last):
            said = {"about": self.about, "record": record}
            self.manager.save(chunk, run, store=store, metadata=said, background=not wait)

    def close(self) -> None:
        """Wait until all is on the disk."""
        if self.manager:
            self.manager.close()
