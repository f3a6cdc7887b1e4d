"""A trajectory as the rows and columns of a store, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbuffers.errors import TrajectoryError
from jaxbuffers.row import text
from jaxbuffers.trajectories import strict_json
from jaxbuffers.trajectories.components import PENDING, Action, Observation, Response, Reward, Task
from jaxbuffers.trajectories.trajectory import Step, Trajectory

NONE = -1  # the id of no text
COLUMNS: dict[str, type] = {  # of every pool, whatever its trajectories have
    "task_name": str,
    "domain": str,
    "subdomain": str,
    "website": str,
    "attempt_level": int,
    "max_steps": int,
    "trajectory_index": int,
    "reward": float,
    "evaluation": str,
    "is_blocked": bool,
    "submit": bool,
    "invalid_page": bool,
    "iteration": int,
    "process": int,
    "policy_version": int,
    "used_at": int,
    "used_with": int,
    "used_until": int,  # the last step for which trajectories had been taken when it came
}
NAMED = ("difficulty", "task_id", "group_id")  # ints or texts, whichever the first trajectory has
OF_TASK = ("task_name", "domain", "subdomain", "website", "attempt_level", "max_steps", "trajectory_index")
TEXTS = (
    "task",
    "image_path",
    "screenshot",
    "ac_tree",
    "page_metadata",
    "action",
    "action_string",
    "raw_response",
    "answering_tokens",
    "outcome",
    "extra",
)


def row(messages: int) -> dict[str, Any]:
    """Describe a row of a pool whose prompts have so many messages at most."""
    flags = dict.fromkeys(("same_as_next", "is_first", "is_last", "is_terminal"), np.bool_(False))
    return {**dict.fromkeys(TEXTS, text), "raw_prompt": text[messages], **flags}


def invalid_page(trajectory: Trajectory) -> bool:
    """Whether it says that its page could not be opened; see `predicates.invalid_page`."""
    if len(trajectory) != 1:
        return False
    step = trajectory.steps[0]
    action = step.action.action
    return (
        step.observation.image_path == ""
        or (isinstance(action, dict) and (action.get("key") == "invalid_url" or "invalid_url" in action))
        or "Invalid URL" in (step.action.action_string or "")
    )


def columns_of(trajectory: Trajectory) -> dict[str, Any]:
    """Return what the catalog says of a trajectory.

    Raises:
      TrajectoryError: a column of its own has the name of one of the pool's.
    """
    for name in trajectory.columns:
        if name in COLUMNS or name in NAMED:
            raise TrajectoryError("value", f"Trajectory.columns[{name!r}]", "has the name of a column of the pool.")
    task, outcome = trajectory.task, trajectory.outcome
    found = {name: getattr(task, name) for name in OF_TASK}
    found |= {name: getattr(trajectory, name) for name in ("iteration", "process", "policy_version")}
    named = {"difficulty": task.difficulty, "task_id": task.task_id, "group_id": trajectory.group_id}
    found |= {name: value for name, value in named.items() if value is not None}
    return {
        **found,
        "reward": trajectory.reward,
        "evaluation": None if outcome.evaluation is None else strict_json.dumps(outcome.evaluation),
        "is_blocked": any(step.reward is not None and step.reward.is_blocked for step in trajectory.steps),
        "submit": outcome.submit,
        "invalid_page": invalid_page(trajectory),
        **{name: value for name, value in trajectory.columns.items() if value is not None},
    }


def texts_of(step: Step, task: str, digest: str | None, whole: dict[str, Any]) -> list[str | None]:
    """Return the texts of a step, in the order of `TEXTS`; ``whole`` is extra of the trajectory, for its first."""
    seen, did, said, reward = step.observation, step.action, step.response, step.reward
    extra = {
        "step": step.extra,
        "observation": seen.extra,
        "action": did.extra,
        "response": said.extra,
        "trajectory": whole,
    }
    if not isinstance(seen.ac_tree, str | None):
        extra["ac_tree"] = {"": seen.ac_tree}
    kept = {name: value for name, value in extra.items() if value}
    return [
        task,
        seen.image_path,
        digest,
        seen.ac_tree if isinstance(seen.ac_tree, str) else None,
        strict_json.dumps(seen.page_metadata) if seen.page_metadata else None,
        None if did.action is None else strict_json.dumps(did.action),
        did.action_string,
        said.raw_response,
        strict_json.dumps(said.answering_tokens) if said.answering_tokens else None,
        None if reward is None else strict_json.dumps(reward.to_dict()),
        strict_json.dumps(kept) if kept else None,
    ]


def task_of(task: Task) -> str:
    """Return a task as a text."""
    return strict_json.dumps(task.to_dict())


def messages_of(step: Step) -> list[str]:
    """Return the messages of a step's prompt as texts."""
    return [strict_json.dumps(message) for message in step.response.raw_prompt or ()]


def trajectory_of(rows: Mapping[str, np.ndarray], words: Mapping[int, str], columns: Mapping[str, Any]) -> Trajectory:
    """Undo it all, with the reward and the evaluation that the catalog has now."""
    steps: list[Step] = []
    whole: dict[str, Any] = {}
    for i in range(len(rows["task"])):
        said = {name: words.get(int(rows[name][i])) for name in TEXTS}
        extra = _json(said["extra"], {})
        whole = extra.get("trajectory", whole)
        prompt = [strict_json.loads(words[m]) for m in rows["raw_prompt"][i].tolist() if m != NONE]
        tree = extra["ac_tree"][""] if "ac_tree" in extra else said["ac_tree"]
        response = said["raw_response"]
        assert response is not None
        steps.append(
            Step(
                Observation(
                    Task.from_dict(_json(said["task"], {}), "keep"),
                    said["image_path"],
                    tree,
                    _json(said["page_metadata"], {}),
                    extra.get("observation", {}),
                ),
                Action(_json(said["action"], None), said["action_string"], extra.get("action", {})),
                Response(response, _json(said["answering_tokens"], {}), prompt or None, extra.get("response", {})),
                None if said["outcome"] is None else Reward.from_dict(_json(said["outcome"], {}), "keep"),
                bool(rows["same_as_next"][i]),
                extra.get("step", {}),
            )
        )
    steps[-1] = _judged(steps[-1], columns)
    return Trajectory(
        steps,
        columns.get("iteration"),
        columns.get("process"),
        columns.get("policy_version"),
        columns.get("group_id"),
        columns={name: value for name, value in columns.items() if name in _users(columns)},
        extra=whole,
    )


def _judged(step: Step, columns: Mapping[str, Any]) -> Step:
    before = step.reward
    if before is None and columns["reward"] == PENDING:
        return step
    evaluation = _json(columns.get("evaluation"), None)
    return dataclasses.replace(
        step, reward=dataclasses.replace(before or Reward(), reward=columns["reward"], evaluation=evaluation)
    )


def _users(columns: Mapping[str, Any]) -> set[str]:
    fixed = {"id", "length", "stream", "return", "ending", "time", "segment", "offset"}
    return set(columns) - fixed - set(COLUMNS) - set(NAMED)


def _json(written: str | None, missing: Any) -> Any:
    return missing if written is None else strict_json.loads(written)
