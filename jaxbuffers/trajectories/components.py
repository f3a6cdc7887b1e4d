"""The parts of a step: Task, Observation, Action, Response and Reward."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from typing_extensions import override

from jaxbuffers.errors import TrajectoryError
from jaxbuffers.trajectories import kinds
from jaxbuffers.trajectories.component import Component
from jaxbuffers.trajectories.kinds import Kind, or_none

PENDING = -1.0  # the reward of what has not been judged yet


@dataclass(frozen=True)
class Task(Component):
    """What an agent was asked to do.

    Attributes:
      task_name: the task in words.
      domain: such as "Entertainment".
      subdomain: such as "Music".
      website: where it begins.
      difficulty: an int, or a name.
      evaluator_reference: what a judge is given, any JSON.
      reference_answer: the right answer, any JSON.
      attempt_level: 0 for a new task; it grows with failures.
      task_id: an int or a name.
      max_steps: after how many steps an attempt ends.
      trajectory_index: tells attempts at one task apart.
      extra: other keys, where they were kept.

    >>> from jaxbuffers.trajectories import Task
    >>> Task("Find a red door", website="https://example.org", difficulty="hard")  # doctest: +ELLIPSIS
    Task(task_name='Find a red door', domain=None, subdomain=None, website='https://example.org', difficulty='hard'...
    """

    task_name: str
    domain: str | None = None
    subdomain: str | None = None
    website: str | None = None
    difficulty: int | str | None = None
    evaluator_reference: Any = None
    reference_answer: Any = None
    attempt_level: int | None = 0
    task_id: int | str | None = None
    max_steps: int | None = None
    trajectory_index: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    kinds: ClassVar[dict[str, Kind]] = {
        "task_name": kinds.text,
        "domain": or_none(kinds.text),
        "subdomain": or_none(kinds.text),
        "website": or_none(kinds.text),
        "difficulty": or_none(kinds.name),
        "evaluator_reference": kinds.json_value,
        "reference_answer": kinds.json_value,
        "attempt_level": or_none(kinds.integer),
        "task_id": or_none(kinds.name),
        "max_steps": or_none(kinds.integer),
        "trajectory_index": or_none(kinds.integer),
    }

    @property
    def identity(self) -> int | str:
        """What tells it from other tasks: its ``trajectory_index``, else its ``task_id``, else its name."""
        given = (self.trajectory_index, self.task_id)
        return next((each for each in given if each is not None), self.task_name)


def _task(place: str, value: Any) -> Task:
    if not isinstance(value, Task):
        raise kinds.refused(place, "a Task", value)
    return value


@dataclass(frozen=True)
class Observation(Component):
    """What an agent saw.

    Attributes:
      task: the task.
      image_path: the file of the screenshot; "" or None if there is none.
      ac_tree: the accessibility tree, as text or any JSON.
      page_metadata: of the page, such as its title and url.
      extra: other keys, where they were kept.
    """

    task: Task
    image_path: str | None = None
    ac_tree: Any = None
    page_metadata: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    kinds: ClassVar[dict[str, Kind]] = {
        "task": _task,
        "image_path": or_none(kinds.text),
        "ac_tree": kinds.json_value,
        "page_metadata": kinds.dict_or_empty,
    }

    @classmethod
    @override
    def of_fields(cls, fields: dict[str, Any], extra: dict[str, Any], unknown: str) -> "Observation":
        if "task" in fields:
            try:
                fields = {**fields, "task": Task.from_dict(fields["task"], unknown)}
            except TrajectoryError as error:
                raise error.within("Observation.task") from error
        return super().of_fields(fields, extra, unknown)


@dataclass(frozen=True)
class Action(Component):
    """What an agent did.

    Attributes:
      action: the action as any JSON, such as a dict of its name and arguments.
      action_string: the action in words.
      extra: other keys, where they were kept.
    """

    action: Any = None
    action_string: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    kinds: ClassVar[dict[str, Kind]] = {"action": kinds.json_value, "action_string": or_none(kinds.text)}


@dataclass(frozen=True)
class Response(Component):
    """What the model was asked, and what it answered.

    Attributes:
      raw_response: all that it answered.
      answering_tokens: the parts of the answer, such as "thought" and "action"; see `parse_response`.
      raw_prompt: the messages that it was asked with, each a dict with "role" and "content". The JSON text of such a
        list is read; "" is None.
      extra: other keys, where they were kept.

    >>> from jaxbuffers.trajectories import Response
    >>> Response("Action: go", raw_prompt='[{"role": "user", "content": "Where?"}]').raw_prompt
    [{'role': 'user', 'content': 'Where?'}]
    """

    raw_response: str
    answering_tokens: dict[str, Any] = field(default_factory=dict)
    raw_prompt: list[dict[str, Any]] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    kinds: ClassVar[dict[str, Kind]] = {
        "raw_response": kinds.text,
        "answering_tokens": kinds.dict_or_empty,
        "raw_prompt": kinds.prompt_or_none,
    }


@dataclass(frozen=True)
class Reward(Component):
    """How well it went.

    Attributes:
      reward: a finite number; -1 while a judgement is pending.
      evaluation: what the judge said, any JSON.
      is_blocked: whether the website blocked the agent.
      submit: whether this step was submitted to the judge.
      submission_judgment: why, any JSON.
      extra: other keys, where they were kept.
    """

    reward: float = PENDING
    evaluation: Any = None
    is_blocked: bool = False
    submit: bool = False
    submission_judgment: Any = None
    extra: dict[str, Any] = field(default_factory=dict)

    kinds: ClassVar[dict[str, Kind]] = {
        "reward": kinds.number,
        "evaluation": kinds.json_value,
        "is_blocked": kinds.flag,
        "submit": kinds.flag,
        "submission_judgment": kinds.json_value,
    }
