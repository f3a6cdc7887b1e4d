"""A pool returns what it was given, keeps it on disk, and refuses or sets aside what it cannot take."""

import dataclasses
import json

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.errors import ConfigurationError, StoreError, TrajectoryError, UnknownEpisodeError
from jaxbuffers.trajectories import Response, Reward, Step, Task, Trajectory, TrajectoryPool, write_jsonl
from trajectories.made import Thing, as_original, trajectory


def with_verdicts(made, same=()):
    """The trajectory as a pool returns it: it has compared the screenshots."""
    steps = [dataclasses.replace(step, same_as_next_screenshot=i in same) for i, step in enumerate(made.steps)]
    return dataclasses.replace(made, steps=tuple(steps))


SEVERAL = [
    trajectory(0, 2, still=[0]),
    trajectory(
        1, 1, reward=0, iteration=3, process=1, policy_version=7, group_id="g", columns={"note": "x", "score": 0.5}
    ),
    trajectory(2, 3, reward=-1.0, group_id="h", columns={"good": True}),
    Trajectory(
        [
            dataclasses.replace(
                trajectory(3).steps[0],
                observation=dataclasses.replace(
                    trajectory(3).steps[0].observation, ac_tree={"role": ["a"]}, extra={"k": 1}, image_path=None
                ),
                response=Response(
                    "\ud800", {"action": {"a": None}}, [{"role": "user", "content": [{"text": "a"}], "n": 1}]
                ),
                reward=None,
                extra={"when": 3.5},
            )
        ],
        extra={"host": "a"},
    ),
]  # fmt: skip


def check_all(pool, ids):
    for i, made, same in zip(ids, SEVERAL, ([0], [], [], []), strict=True):
        assert pool.trajectory(int(i)) == with_verdicts(made, same)
    assert len(pool) == len(SEVERAL)
    assert pool.num_steps == 7


def test_every_trajectory_comes_back_as_it_was():
    pool = TrajectoryPool()
    check_all(pool, pool.extend(SEVERAL))
    assert next(iter(pool)) == pool.trajectory(0)
    columns = pool.metadata
    order = np.argsort(columns["id"])
    assert columns["task_name"][order].tolist() == ["task 0", "task 1", "task 2", "task 3"]
    assert columns["reward"][order].tolist() == [1, 0, -1, -1]
    assert columns["length"][order].tolist() == [2, 1, 3, 1]
    assert np.ma.getmaskarray(columns["iteration"])[order].tolist() == [True, False, True, True]
    with pytest.raises(UnknownEpisodeError):
        pool.trajectory(4)


def test_a_pool_on_disk_is_there_again_and_the_same(tmp_path):
    with TrajectoryPool(tmp_path / "pool", prompt_messages=5) as pool:
        ids = pool.extend(SEVERAL)
        check_all(pool, ids)
        samples = list(pool.get_training_samples())
    with TrajectoryPool(tmp_path / "pool") as pool:
        check_all(pool, ids)
        assert list(pool.get_training_samples()) == samples
        assert pool.add(trajectory(9)) == 4
    with pytest.raises(StoreError, match="made with prompt_messages=5, got 6"):
        TrajectoryPool(tmp_path / "pool", prompt_messages=6)
    with TrajectoryPool.open(tmp_path / "pool") as pool:
        assert len(pool) == 5
        with pytest.raises(StoreError, match="other processes write"):
            pool.add(trajectory())


def test_a_store_of_other_rows_is_no_pool(tmp_path):
    with jb.EpisodeStore(tmp_path / "store") as store:
        store.add_episode({"obs": np.zeros(3, np.float32)})
    for read in (TrajectoryPool, TrajectoryPool.open):
        with pytest.raises(StoreError, match="it is no pool"):
            read(tmp_path / "store")
    with pytest.raises(StoreError, match="is no pool, and no folder in it is one"):
        TrajectoryPool.open(tmp_path / "nothing")


def test_what_steps_share_is_stored_once():
    pool = TrajectoryPool()
    steps = 8
    pool.add(trajectory(0, steps))
    # A task, a system prompt, two rewards; and for each step its path, tree, page, action, the string of it, response,
    # tokens and message.
    assert len(pool.texts) == 2 + 8 * steps + 2
    before = len(pool.texts)
    pool.add(trajectory(0, steps))
    assert len(pool.texts) == before


def test_the_originals_lists_of_dictionaries_are_taken_and_the_messages_given_back():
    pool = TrajectoryPool()
    made = trajectory(5, 3, still=[1])
    pool.add(as_original(made))
    assert pool.trajectory(0) == with_verdicts(made, [1])
    assert [sample["message"] for sample in pool.get_training_samples()] == [
        made.steps[i].response.raw_prompt for i in (0, 2)
    ]


def test_json_lines_are_taken_and_the_wrong_one_is_named(tmp_path):
    path = tmp_path / "some.jsonl"
    write_jsonl(path, SEVERAL)
    pool = TrajectoryPool(unknown="keep")
    check_all(pool, pool.from_jsonl(path))
    path.write_text(f"{SEVERAL[0].to_json()}\n\n{json.dumps({'steps': [{}]})}\n{SEVERAL[0].to_json()}\n")
    with pytest.raises(TrajectoryError, match=r"some.jsonl:3.steps\[0\].observation is missing"):
        pool.from_jsonl(path)
    assert len(pool) == 5
    pool = TrajectoryPool(bad="set_aside")
    assert pool.from_jsonl(path).tolist() == [0, -1, 1]
    assert dict(pool.counts) == {"missing": 1}


def prompt_of(prompt):
    step = trajectory().steps[0]
    return [dataclasses.replace(step, response=Response("", {}, prompt))] * 2


def without(part):
    data = trajectory().to_dict()
    data["steps"][1][part] = None
    return data


def acting(action):
    data = trajectory().to_dict()
    data["steps"][1]["action"]["action"] = action
    return data


BAD = {
    "one step": (trajectory(steps=1), "short", "Trajectory.steps are 1, fewer than min_steps=2"),
    "no steps": ([], "short", "Trajectory.steps has no steps"),
    "many steps": (trajectory(steps=21), "long", "Trajectory.steps are 21, more than capacity=20"),
    "no action": (without("action"), "missing", r"Trajectory.steps\[1\].action is missing"),
    "no response": (without("response"), "missing", r"Trajectory.steps\[1\].response is missing"),
    "no observation": (without("observation"), "missing", r"Trajectory.steps\[1\].observation is missing"),
    "no prompt": (prompt_of(None), "prompt", r"Trajectory.steps\[0\].response.raw_prompt is missing"),
    "empty prompt": (prompt_of(""), "prompt", r"Trajectory.steps\[0\].response.raw_prompt is missing"),
    "broken prompt": (
        [{**as_original(trajectory())[0], "response": Thing(raw_response="", answering_tokens={}, raw_prompt="[{]")}],
        "prompt", r"Trajectory.steps\[0\].response.raw_prompt is no JSON",
    ),
    "long prompt": (
        prompt_of([{"role": "user", "content": ""}] * 5), "prompt", "has 5 messages; the pool .*prompt_messages=4",
    ),
    "invalid page": (
        Trajectory([dataclasses.replace(step, action=dataclasses.replace(step.action, action_string="Invalid URL: x"))
                    for step in trajectory(steps=1).steps]),
        "invalid_page", "could not be opened",
    ),
    "same as nothing": (
        Trajectory([dataclasses.replace(step, same_as_next_screenshot=True) for step in trajectory(steps=2).steps]),
        "value", r"steps\[1\].same_as_next_screenshot is True for the last step",
    ),
    "a column of the pool": (
        trajectory(columns={"reward": 1.0}), "value", r"columns\['reward'\] has the name of a column",
    ),
    "a column of the store": (trajectory(columns={"length": 1}), "type", "the catalog has one of that name"),
    "a column of another type": (trajectory(columns={"score": "high"}), "type", "column 'score' is float"),
    "a task id of another type": (trajectory(task=Task("a", task_id="seven")), "type", "column 'task_id' is int"),
    "an int too long": (acting(10**5000), "value", r"steps\[1\].action.action is an int of more than 4000 digits"),
    "something else": (3, "type", "Trajectory must be a dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_one_bad_trajectory_is_refused_by_name_or_counted_and_never_spoils_the_pool(name):
    bad, reason, message = BAD[name]
    good = [trajectory(i, columns={"score": 0.5}) for i in range(3)]
    pool = TrajectoryPool(capacity=20, prompt_messages=4, min_steps=2)
    with pytest.raises(TrajectoryError, match=message) as caught:
        pool.extend([good[0], good[1], bad, good[2]])
    assert caught.value.reason == reason
    assert list(pool) == [with_verdicts(each) for each in good[:2]]
    pool = TrajectoryPool(capacity=20, prompt_messages=4, min_steps=2, bad="set_aside")
    assert pool.extend([good[0], good[1], bad, good[2]]).tolist() == [0, 1, -1, 2]
    assert pool.add(bad) is None
    assert dict(pool.counts) == {reason: 2}
    assert [each.given for each in pool.set_aside] == [bad, bad]
    assert list(pool) == [with_verdicts(each) for each in good]


def test_pages_that_could_not_be_opened_are_kept_where_that_is_asked_for():
    step = trajectory(steps=1).steps[0]
    pages = [
        dataclasses.replace(step, observation=dataclasses.replace(step.observation, image_path="")),
        dataclasses.replace(step, action=dataclasses.replace(step.action, action={"key": "invalid_url"})),
        dataclasses.replace(step, action=dataclasses.replace(step.action, action={"invalid_url": "x"})),
        dataclasses.replace(step, action=dataclasses.replace(step.action, action_string="So: Invalid URL")),
        step,
    ]
    pool = TrajectoryPool(invalid_pages=True)
    pool.extend([[page] for page in pages] + [[pages[0], pages[0]]])
    assert pool.metadata["invalid_page"].tolist() == [True, True, True, True, False, False]
    assert TrajectoryPool(bad="set_aside").extend([[page] for page in pages]).tolist() == [-1, -1, -1, -1, 0]


@pytest.mark.parametrize("capacity", [{"capacity": 10}, {"max_trajectories": 3}])
def test_the_oldest_trajectories_leave_whole(capacity):
    lengths = [3, 5, 2, 4, 4, 1]
    many = [trajectory(i, length) for i, length in enumerate(lengths)]

    def kept(number):
        fits = (lambda some: sum(some) <= 10) if "capacity" in capacity else (lambda some: len(some) <= 3)
        return next(i for i in range(number + 1) if fits(lengths[i:number]))

    together = TrajectoryPool(**capacity)
    together.extend(many)
    pool = TrajectoryPool(**capacity)
    for number, each in enumerate(many, 1):
        pool.add(each)
        assert pool.metadata["id"].tolist() == list(range(kept(number), number))
        assert len(pool.get_training_samples()) == sum(lengths[kept(number) : number])
    assert list(together) == list(pool)


def test_swept_pools_have_no_texts_but_those_of_their_trajectories():
    pool = TrajectoryPool(max_trajectories=1)
    pool.add(trajectory(0, 3))
    alone = TrajectoryPool()
    alone.add(trajectory(1, 3))
    pool.add(trajectory(1, 3))
    assert pool.sweep() > 0
    assert set(pool.texts.lookup(pool.texts.ids())) == set(alone.texts.lookup(alone.texts.ids()))
    assert pool.trajectory(1) == alone.trajectory(0)


def test_judgements_come_late_and_last(tmp_path):
    made = trajectory(0, 2, reward=-1)
    path = tmp_path / "pool"
    with TrajectoryPool(path) as pool:
        ids = pool.extend([made, made, trajectory(1, reward=1), made, made])
        assert len(pool.get_training_samples()) == 3
        pool.judge(ids[0], reward=1, evaluation={"by": ["me"]})
        pool.judge(ids[[1, 3]], reward=[0, 1.0], evaluation=["bad", None])
        assert len(pool.get_training_samples()) == 7
        with pytest.raises(ConfigurationError, match=r"trajectory 2 was judged 1.0 already"):
            pool.judge([4, 2], reward=0)
        with pytest.raises(UnknownEpisodeError):
            pool.judge(9, reward=0)
        for wrong in ("1", None, float("nan")):
            with pytest.raises(TrajectoryError, match="reward must be"):
                pool.judge(1, reward=wrong, again=True)
        with pytest.raises(TrajectoryError, match=r"evaluation cannot be stored: .* surrogate"):
            pool.judge(4, reward=0, evaluation="\ud800")
        assert pool.trajectory(4).pending
        with pytest.raises(ConfigurationError, match="pending"):
            pool.judge(1, reward=-1, again=True)
        with pytest.raises(ConfigurationError, match="3 trajectories need as many"):
            pool.judge([0, 1, 2], reward=[0, 1], again=True)
    with TrajectoryPool(path) as pool:
        assert pool.metadata["reward"].tolist() == [1, 0, 1, 1, -1]
        last = [pool.trajectory(int(i)).steps[-1].reward for i in ids]
        assert last[0] == Reward(1.0, {"by": ["me"]}, False, True)
        assert last[1] == Reward(0.0, "bad", False, True)  # what was submitted stays
        assert last[3] == Reward(1.0, None, False, True)
        pool.judge(1, reward=0.5, again=True)
        assert pool.trajectory(1).reward == 0.5


def test_wrong_configurations_are_refused():
    for wrong in (
        {"capacity": 0}, {"max_trajectories": 0}, {"bad": "drop"}, {"images": "files"},
        {"compare": "names"}, {"seed": -1},
        {"prompt_messages": 0}, {"min_steps": 0}, {"shuffle": 1},
        {"filter": jb.trajectories.successful}, {"unknown": "x"},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            TrajectoryPool(**wrong)


def test_steps_without_a_step_are_refused():
    with pytest.raises(TrajectoryError, match=r"Step.observation must be an Observation"):
        Step(None, None, None)
