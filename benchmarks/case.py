"""What a benchmark is: a record of the question, the work, who does it, and the ratio aimed at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

QUESTIONS = {
    "loop": "In a compiled loop",
    "python": "From Python",
    "first": "Import and first compilation",
    "training": "Whole training runs",
    "growth": "Growth with size",
    "texts": "Texts and trajectories of web agents",
    "disk": "On disk",
}


@dataclass(frozen=True)
class Side:
    """One of the two who do the work, ready to be timed.

    Attributes:
      run: does the work, and returns when it is finished.
      shown: what the work means: given to the contest's ``same``, before anything is timed.
      finish: called after the timing; raises if the numbers went astray meanwhile, and gives back what is held.
      note: a figure to be printed beside the times, such as the memory held.
      reads: the shapes of what is read in each iteration of a program, sorted; those of both sides must be equal.
    """

    run: Callable[[], Any]
    shown: Any = None
    finish: Callable[[], None] = lambda: None
    note: str = ""
    reads: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Contest:
    """Both sides, not yet made.

    Attributes:
      ours: makes our side.
      theirs: makes the peer's.
      same: takes what both sides have shown; raises `Difference` unless they mean the same.
      per: how many times one call of ``run`` does the work.
      before: called before each call of ``run``, and not timed.
      after: called once both sides were timed, for what only the timed work itself can show; raises `Difference`, or
        returns a ``note`` and, of training runs, the ``curves`` of each side.
    """

    ours: Callable[[], Side]
    theirs: Callable[[], Side]
    same: Callable[[Any, Any], None]
    per: int = 1
    before: Callable[[], None] = lambda: None
    after: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True)
class Case:
    """One comparison, measured in a process of its own.

    Attributes:
      name: unique; what ``--only`` looks for.
      question: a key of `QUESTIONS`.
      work: what is done once, in words.
      peer: whom we compare with.
      build: ``"module:function"`` in ``benchmarks``; the function takes ``args`` and returns a `Contest`.
      args: what it is called with.
      searched: whose compiled programs must have been searched for copies before the timing.
      goal: the ratio aimed at, the peer's time by ours.
      seconds: how long both sides are timed.
      rounds: how often each is timed at most.
      least: how often at least, however long that takes.
      axis: the argument that changes along a curve.
      points: its values; none for a case that is one row of a table.
      env: environment variables of the process.
    """

    name: str
    question: str
    work: str
    peer: str
    build: str
    args: Mapping[str, Any] = field(default_factory=dict)
    searched: tuple[str, ...] = ()
    goal: float | None = None
    seconds: float = 2.0
    rounds: int = 1001
    least: int = 3
    axis: str = ""
    points: tuple[Any, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def contest(self, point: Any = None) -> Contest:
        """Call the function that ``build`` names, for one point of the curve if there is one."""
        module, function = self.build.split(":")
        args = dict(self.args) | ({self.axis: point} if self.points else {})
        return getattr(import_module(f"benchmarks.{module}"), function)(**args)


class Difference(AssertionError):
    """The two sides do not mean the same, so there is nothing to compare."""
