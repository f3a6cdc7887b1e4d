"""Trajectories as JSON lines, one a line."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxbuffers.errors import TrajectoryError
from jaxbuffers.trajectories.trajectory import Trajectory


def write_jsonl(path: str | os.PathLike, trajectories: Iterable[Trajectory]) -> int:
    """Write trajectories to a file, one a line; return how many.

    >>> import pathlib, tempfile
    >>> from jaxbuffers.trajectories import Action, Observation, Response, Step, Task, Trajectory
    >>> from jaxbuffers.trajectories import read_jsonl, write_jsonl
    >>> step = Step(Observation(Task("Go north")), Action(action_string="north"), Response("Action: north"))
    >>> path = pathlib.Path(tempfile.mkdtemp(), "some.jsonl")
    >>> write_jsonl(path, [Trajectory([step])]), [len(each) for each in read_jsonl(path)]
    (1, [1])
    """
    count = 0
    with Path(path).open("w", encoding="ascii") as file:
        for each in trajectories:
            file.write(each.to_json() + "\n")
            count += 1
    return count


def read_jsonl(path: str | os.PathLike, unknown: str = "refuse") -> Iterator[Trajectory]:
    """Go through the trajectories of a file; empty lines are passed over.

    Raises:
      TrajectoryError: naming the line.
    """
    for number, line in lines_of(path):
        try:
            yield Trajectory.from_json(line, unknown)
        except TrajectoryError as error:
            raise error.within(f"{path}:{number}") from error


def lines_of(path: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
    """Go through the lines of a file that are not empty, with their numbers from 1; one need not be UTF-8."""
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
