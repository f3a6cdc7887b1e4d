"""Step and Trajectory: the components in order, and what is known of an attempt as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from typing_extensions import override

from jaxbuffers.errors import TrajectoryError
from jaxbuffers.trajectories import kinds, strict_json
from jaxbuffers.trajectories.component import Component, mapping_of
from jaxbuffers.trajectories.components import PENDING, Action, Observation, Response, Reward, Task
from jaxbuffers.trajectories.kinds import Kind, or_none

_PARTS: dict[str, type[Component]] = {
    "observation": Observation,
    "action": Action,
    "response": Response,
    "reward": Reward,
}


def _part(kind: type[Component]) -> Kind:
    def check(place: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise kinds.refused(place, f"a{'n' if kind.__name__[0] in 'AO' else ''} {kind.__name__}", value)
        return value

    return check


@dataclass(frozen=True)
class Step(Component):
    """One step: what was seen, what was done and said, and how well it went.

    Attributes:
      observation: what the agent saw.
      action: what it did then.
      response: the answer of the model that decided it.
      reward: None where nobody said.
      same_as_next_screenshot: whether the next step shows the same; None to compare the images.
      extra: other keys, where they were kept.
    """

    observation: Observation
    action: Action
    response: Response
    reward: Reward | None = None
    same_as_next_screenshot: bool | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    kinds: ClassVar[dict[str, Kind]] = {
        "observation": _part(Observation),
        "action": _part(Action),
        "response": _part(Response),
        "reward": or_none(_part(Reward)),
        "same_as_next_screenshot": or_none(kinds.flag),
    }

    @classmethod
    @override
    def of_fields(cls, fields: dict[str, Any], extra: dict[str, Any], unknown: str) -> "Step":
        made = dict(fields)
        for name, kind in _PARTS.items():
            if made.get(name) is None:
                if name == "reward":
                    continue
                raise TrajectoryError("missing", f"Step.{name}", "is missing.")
            try:
                made[name] = kind.from_dict(made[name], unknown)
            except TrajectoryError as error:
                raise error.within(f"Step.{name}") from error
        return super().of_fields(made, extra, unknown)


def _steps(place: str, value: Any) -> tuple[Step, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise kinds.refused(place, "a sequence of steps", value)
    if not value:
        raise TrajectoryError("short", place, "has no steps.")
    for i, step in enumerate(value):
        if not isinstance(step, Step):
            raise kinds.refused(f"{place}[{i}]", "a Step", step)
    return tuple(value)


@dataclass(frozen=True)
class Trajectory(Component):
    """One attempt at a task.

    Attributes:
      steps: the steps, one at least.
      iteration: of the training run that collected it.
      process: which process collected it.
      policy_version: of the policy that acted.
      group_id: the same for all attempts that are compared with one another.
      columns: whatever else is known of it, each an int of 64 bits, a finite float, a bool or a str.
      extra: other keys, where they were kept.

    >>> from jaxbuffers.trajectories import Action, Observation, Response, Step, Task, Trajectory
    >>> step = Step(Observation(Task("Go north")), Action(action_string="north"), Response("Action: north"))
    >>> trajectory = Trajectory([step], iteration=3)
    >>> len(trajectory), trajectory.reward, Trajectory.from_json(trajectory.to_json()) == trajectory
    (1, -1.0, True)
    """

    steps: Sequence[Step]
    iteration: int | None = None
    process: int | None = None
    policy_version: int | None = None
    group_id: int | str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    kinds: ClassVar[dict[str, Kind]] = {
        "steps": _steps,
        "iteration": or_none(kinds.integer),
        "process": or_none(kinds.integer),
        "policy_version": or_none(kinds.integer),
        "group_id": or_none(kinds.name),
        "columns": kinds.columns,
    }
    reserved: ClassVar[frozenset[str]] = frozenset({"task"})

    def __len__(self) -> int:
        """How many steps it has."""
        return len(self.steps)

    @property
    def task(self) -> Task:
        """The task, as the first step has it."""
        return self.steps[0].observation.task

    @property
    def outcome(self) -> Reward:
        """The reward of the last step; a pending one where it has none."""
        return self.steps[-1].reward or Reward()

    @property
    def reward(self) -> float:
        """The number of `outcome`: -1 while it is pending."""
        return self.outcome.reward

    @property
    def pending(self) -> bool:
        """Whether it has not been judged yet."""
        return self.reward == PENDING

    @override
    def to_dict(self) -> dict[str, Any]:
        """Return all of it as dictionaries and lists; a task that all steps share is written once, under "task"."""
        steps = [step.to_dict() for step in self.steps]
        found = {name: getattr(self, name) for name in self.kinds if name not in ("steps", "columns")}
        shared = all(step.observation.task == self.task for step in self.steps)
        if shared:
            for step in steps:
                step["observation"].pop("task")
        task = {"task": self.task.to_dict()} if shared else {}
        return {**task, "steps": steps, **found, "columns": dict(self.columns)} | self.extra

    @classmethod
    @override
    def from_dict(cls, data: Any, unknown: str = "refuse") -> "Trajectory":
        """Make a trajectory of dictionaries.

        Args:
          data: a mapping as `to_dict` returns it, or a list of steps. A step is a mapping, or an object, with
            "observation", "action", "response" and perhaps "reward", and these are again mappings or objects.
          unknown: what to do with other keys: "refuse" them, or "keep" them in ``extra``.

        Raises:
          TrajectoryError: naming the step and the field.
        """
        if isinstance(data, Sequence) and not isinstance(data, str | bytes):
            data = {"steps": data}
        if isinstance(data, Mapping) and "task" in data:
            data = dict(data)
            task = data.pop("task")
            steps = data.get("steps")
            if isinstance(steps, Sequence) and not isinstance(steps, str | bytes):
                data["steps"] = [_with_task(i, step, task, unknown) for i, step in enumerate(steps)]
        return super().from_dict(data, unknown)

    @classmethod
    @override
    def of_fields(cls, fields: dict[str, Any], extra: dict[str, Any], unknown: str) -> "Trajectory":
        given, steps = fields.get("steps"), []
        if isinstance(given, Sequence) and not isinstance(given, str | bytes):
            for i, step in enumerate(given):
                try:
                    steps.append(Step.from_dict(step, unknown))
                except TrajectoryError as error:
                    raise error.within(f"Trajectory.steps[{i}]") from error
            fields = {**fields, "steps": steps}
        return super().of_fields(fields, extra, unknown)

    def to_json(self) -> str:
        """Return all of it as one line of JSON; half a surrogate pair is kept, as an escape.

        Two halves side by side, which no decoder makes, are read again as the one character.
        """
        return strict_json.dumps_ascii(self.to_dict())

    @classmethod
    def from_json(cls, line: str | bytes, unknown: str = "refuse") -> "Trajectory":
        """Make a trajectory of a line of JSON, its text or its bytes in UTF-8.

        Raises:
          TrajectoryError: it is no JSON, or no trajectory; naming the step and the field.
        """
        try:
            data = strict_json.loads(line.decode() if isinstance(line, bytes) else line)
        except ValueError as error:
            raise TrajectoryError("value", "Trajectory", f"is no JSON: {error}.") from error
        return cls.from_dict(data, unknown)


def _with_task(number: int, step: Any, task: Any, unknown: str) -> Any:
    if isinstance(step, Step):
        return step
    found = dict(mapping_of("Step", step))
    observation = found.get("observation")
    if isinstance(observation, Mapping) and "task" not in observation:
        found["observation"] = {**observation, "task": task}
    elif isinstance(observation, Mapping):
        place = f"Trajectory.steps[{number}].observation.task"
        own, whole = (_task_at(*each, unknown) for each in ((place, observation["task"]), ("Trajectory.task", task)))
        if own != whole:
            raise TrajectoryError("value", place, "is another than the task of the trajectory; say one of the two.")
    return found


def _task_at(place: str, task: Any, unknown: str) -> Task:
    try:
        return Task.from_dict(task, unknown)
    except TrajectoryError as error:
        raise error.within(place) from error
