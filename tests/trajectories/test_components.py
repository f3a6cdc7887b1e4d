"""The components hold what they were given, refuse what they cannot hold by name, and survive dictionaries and JSON."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget

from jaxbuffers.errors import ConfigurationError, TrajectoryError
from jaxbuffers.trajectories import (
    Action,
    Observation,
    Response,
    Reward,
    Step,
    Task,
    Trajectory,
    read_jsonl,
    write_jsonl,
)
from trajectories.made import as_original, trajectory

TEXT = st.text(st.characters(codec=None, categories=None))  # half surrogate pairs too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXT, x, max_size=3),
    max_leaves=6,
)
INT64 = st.integers(-(2**63), 2**63 - 1)
NAME = INT64 | TEXT
UNKNOWN = st.dictionaries(st.sampled_from(["x_1", "späť", "extra", ""]), JSON, max_size=2)


def maybe(strategy):
    return st.none() | strategy


TASKS = st.builds(
    Task, TEXT, maybe(TEXT), maybe(TEXT), maybe(TEXT), maybe(NAME), JSON, JSON, maybe(INT64), maybe(NAME),
    maybe(INT64), maybe(INT64), UNKNOWN,
)  # fmt: skip
MESSAGE = st.builds(lambda role, content, more: {**more, "role": role, "content": content}, TEXT, TEXT, UNKNOWN)
MESSAGES = st.lists(MESSAGE, min_size=1, max_size=2)
REWARD = st.floats(allow_nan=False, allow_infinity=False)
STEPS = st.builds(
    Step,
    st.builds(Observation, TASKS, maybe(TEXT), JSON, st.dictionaries(TEXT, JSON, max_size=2), UNKNOWN),
    st.builds(Action, JSON, maybe(TEXT), UNKNOWN),
    st.builds(Response, TEXT, st.dictionaries(TEXT, JSON, max_size=2), maybe(MESSAGES), UNKNOWN),
    maybe(st.builds(Reward, REWARD, JSON, st.booleans(), st.booleans(), JSON, UNKNOWN)),
    maybe(st.booleans()),
    UNKNOWN,
)  # fmt: skip
TRAJECTORIES = st.builds(
    Trajectory, st.lists(STEPS, min_size=1, max_size=2), maybe(INT64), maybe(INT64), maybe(INT64), maybe(NAME),
    st.dictionaries(TEXT, st.none() | INT64 | st.booleans() | REWARD | TEXT, max_size=2), UNKNOWN,
)  # fmt: skip


@settings(max_examples=budget(30, 1000), deadline=None)
@given(TRAJECTORIES)
def test_every_trajectory_survives_dictionaries_and_json(made):
    assert Trajectory.from_dict(made.to_dict(), unknown="keep") == made
    assert Trajectory.from_json(made.to_json(), unknown="keep") == made
    assert "\n" not in made.to_json()
    assert made.to_json().isascii()


@settings(max_examples=budget(15, 500), deadline=None)
@given(st.lists(TRAJECTORIES, max_size=3))
def test_files_of_json_lines_hold_every_trajectory(tmp_path_factory, several):
    path = tmp_path_factory.mktemp("lines") / "some.jsonl"
    assert write_jsonl(path, several) == len(several)
    assert list(read_jsonl(path, unknown="keep")) == several


def test_a_task_that_all_steps_share_is_written_once():
    made = trajectory(3, steps=4)
    assert made.to_json().count('"task 3"') == 1
    other = dataclasses.replace(made.steps[1].observation, task=Task("another"))
    mixed = Trajectory([made.steps[0], dataclasses.replace(made.steps[1], observation=other)])
    assert Trajectory.from_json(mixed.to_json()) == mixed


def test_the_originals_lists_of_dictionaries_of_objects():
    made = trajectory(3, still=[1])
    assert Trajectory.from_dict(as_original(made)) == made
    assert Trajectory.from_dict({"steps": as_original(made), "iteration": 4}).iteration == 4


def test_a_line_that_is_none_is_named(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text(trajectory().to_json() + "\n\n{}\n")
    lines = read_jsonl(path)
    assert next(lines) == trajectory()
    with pytest.raises(TrajectoryError, match=r"some.jsonl:3.steps is missing"):
        next(lines)
    path.write_text('{"steps": []')
    with pytest.raises(TrajectoryError, match=r"some.jsonl:1 is no JSON: Expecting"):
        list(read_jsonl(path))


NOT_JSON = [{"a": object()}]
CONTENT = [{"role": "", "content": 3}]
TWICE = '[{"role": "a", "role": "b"}]'
WRONG = {  # where: (what, place, reason)
    "task_name": (lambda: Task(3), "Task.task_name", "type"),
    "domain": (lambda: Task("", b"x"), "Task.domain", "type"),
    "difficulty": (lambda: Task("", difficulty=1.5), "Task.difficulty", "type"),
    "bool for int": (lambda: Task("", max_steps=True), "Task.max_steps", "type"),
    "int of 65 bits": (lambda: Task("", task_id=2**63), "Task.task_id", "value"),
    "object in JSON": (lambda: Task("", evaluator_reference=NOT_JSON), "Task.evaluator_reference[0]['a']", "type"),
    "tuple in JSON": (lambda: Action(("a",)), "Action.action", "type"),
    "NaN in JSON": (lambda: Action([math.nan]), "Action.action[0]", "value"),
    "array in JSON": (lambda: Action(np.zeros(2)), "Action.action", "type"),
    "key": (lambda: Action({1: 2}), "Action.action has a key that", "type"),
    "task": (lambda: Observation("task"), "Observation.task", "type"),
    "metadata": (lambda: Observation(Task(""), page_metadata=[1]), "Observation.page_metadata", "type"),
    "raw_response": (lambda: Response(None), "Response.raw_response", "type"),
    "prompt, half of it": (lambda: Response("", raw_prompt='[{"role": "user"'), "Response.raw_prompt", "prompt"),
    "prompt in words": (lambda: Response("", raw_prompt="Go on."), "Response.raw_prompt", "prompt"),
    "prompt, an array": (lambda: Response("", raw_prompt=np.zeros(2)), "Response.raw_prompt", "prompt"),
    "prompt, empty": (lambda: Response("", raw_prompt=[]), "Response.raw_prompt", "prompt"),
    "prompt, no role": (lambda: Response("", raw_prompt=[{"content": ""}]), "Response.raw_prompt[0]", "prompt"),
    "prompt, a key twice": (lambda: Response("", raw_prompt=TWICE), "Response.raw_prompt", "prompt"),
    "content": (lambda: Response("", raw_prompt=CONTENT), "Response.raw_prompt[0]['content']", "prompt"),
    "reward": (lambda: Reward("1"), "Reward.reward", "type"),
    "reward NaN": (lambda: Reward(math.nan), "Reward.reward", "value"),
    "reward too exact": (lambda: Reward(2**53 + 1), "Reward.reward", "value"),
    "reward too large": (lambda: Reward(10**400), "Reward.reward", "value"),
    "reward too long": (lambda: Reward(10**5000), "Reward.reward", "value"),
    "int too long": (lambda: Task("", task_id=10**5000), "Task.task_id", "value"),
    "int too long in JSON": (lambda: Action({"x": [10**5000]}), "Action.action['x'][0]", "value"),
    "int too long as text": (lambda: Task([10**5000]), "Task.task_name", "type"),
    "prompt too large": (lambda: Response("", raw_prompt="[1e999]"), "Response.raw_prompt", "prompt"),
    "blocked": (lambda: Reward(1, is_blocked=1), "Reward.is_blocked", "type"),
    "extra": (lambda: Reward(1, extra={"reward": 2}), "Reward.extra", "value"),
    "no steps": (lambda: Trajectory([]), "Trajectory.steps", "short"),
    "no step": (lambda: Trajectory([3]), "Trajectory.steps[0]", "type"),
    "columns": (lambda: Trajectory(trajectory().steps, columns={"a": [1]}), "Trajectory.columns['a']", "type"),
    "NaN in columns": (
        lambda: Trajectory(trajectory().steps, columns={"a": math.nan}), "Trajectory.columns['a']", "value",
    ),
    "int of 65 bits in columns": (
        lambda: Trajectory(trajectory().steps, columns={"a": 2**63}), "Trajectory.columns['a']", "value",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_held_is_refused_by_name(name):
    make, place, reason = WRONG[name]
    with pytest.raises(TrajectoryError) as caught:
        make()
    assert (caught.value.place, caught.value.reason) == (place, reason)
    assert str(caught.value).startswith(place)


def test_what_is_missing_or_unknown_is_named_by_its_step_and_field():
    whole = trajectory().to_dict()

    def caught(data, **options):
        with pytest.raises(TrajectoryError) as error:
            Trajectory.from_dict(data, **options)
        return error.value.place, error.value.reason

    for part in ("observation", "action", "response"):
        for missing in ("no key", "None"):
            data = json.loads(json.dumps(whole))
            if missing == "None":
                data["steps"][1][part] = None
            else:
                del data["steps"][1][part]
            assert caught(data) == (f"Trajectory.steps[1].{part}", "missing")
    data = json.loads(json.dumps(whole))
    data["steps"][2]["response"]["logprob"] = -1.5
    assert caught(data) == ("Trajectory.steps[2].response.logprob", "unknown")
    kept = Trajectory.from_dict(data, unknown="keep")
    assert kept.steps[2].response.extra == {"logprob": -1.5}
    assert kept.to_dict() == data
    del data["task"]["task_name"]
    assert caught(data, unknown="keep") == ("Trajectory.steps[0].observation.task.task_name", "missing")
    data = json.loads(json.dumps(whole))
    data["steps"][1]["observation"]["task"] = {"task_name": "another"}
    assert caught(data) == ("Trajectory.steps[1].observation.task", "value")
    data["steps"][1]["observation"]["task"] = whole["task"]
    assert Trajectory.from_dict(data) == trajectory()
    data["steps"][1]["observation"]["task"] = {"task_name": np.zeros(2)}
    assert caught(data) == ("Trajectory.steps[1].observation.task.task_name", "type")
    data["steps"][1]["observation"]["task"] = whole["task"]
    data["task"] = {"task_name": np.zeros(2)}
    assert caught({**data, "steps": data["steps"][1:2]}) == ("Trajectory.task.task_name", "type")
    data = json.loads(json.dumps(whole))
    assert caught(whole | {"steps": 3}) == ("Trajectory.steps", "type")
    assert caught(3) == ("Trajectory", "type")
    with pytest.raises(ConfigurationError, match="unknown must be one of 'refuse', 'keep'"):
        Trajectory.from_dict(whole, unknown="drop")


def test_components_are_frozen_and_do_not_share_their_values():
    metadata = {"url": ["a"]}
    observation = Observation(Task(""), page_metadata=metadata)
    metadata["url"].append("b")
    assert observation.page_metadata == {"url": ["a"]}
    with pytest.raises(dataclasses.FrozenInstanceError):
        observation.image_path = "x"


def test_texts_of_other_classes_become_plain_ones():
    class Loud(str):
        def __str__(self):
            return self.upper()

    hard = Loud("hard")
    task = Task(hard, domain=np.str_("a"), difficulty=hard, reference_answer={hard: [np.str_("b")]})
    assert task == Task("hard", domain="a", difficulty="hard", reference_answer={"hard": ["b"]})
    texts = [task.task_name, task.domain, task.difficulty, *task.reference_answer, *task.reference_answer["hard"]]
    assert {type(each) for each in texts} == {str}


def test_identity_and_outcome():
    assert Task("a", task_id=3, trajectory_index=0).identity == 0
    assert Task("a", task_id=3).identity == 3
    assert Task("a").identity == "a"
    steps = trajectory(reward=0.5).steps
    assert (Trajectory(steps).reward, Trajectory(steps).pending) == (0.5, False)
    assert (Trajectory([dataclasses.replace(steps[0], reward=None)]).reward, Reward().reward) == (-1, -1)
    assert Trajectory([dataclasses.replace(steps[0], reward=None)]).pending


def test_json_too_deep_is_refused():
    deep = "[" * 100_000
    with pytest.raises(TrajectoryError, match="too deep"):
        Response("", raw_prompt=deep)
    nested = []
    for _ in range(100):
        nested = [nested]
    with pytest.raises(TrajectoryError, match="64 lists and dicts deep"):
        Action(nested)
