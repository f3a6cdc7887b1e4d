"""A pool of web trajectories: prompts, responses and pages as text; learn from steps of those that succeeded."""

import json

import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb

ROUNDS = 4
FIELDS = {
    "task": jb.text,
    "prompt": jb.text[2 * ROUNDS],  # the messages, of which prompts share most
    "response": jb.text,
    "action": jb.text,
    "image_path": jb.text,
    "tree": jb.text,
    "metadata": jb.text,
    "trajectory_reward": np.float32,
    "number": np.int32,
}
SYSTEM = json.dumps({"role": "system", "content": "You browse the web."})


def trajectory(number, reward, steps=3, still=()):
    """Steps whose screenshot is that of the step before, where they are named in ``still``."""
    found, shown = [], 0
    for i in range(steps):
        shown = shown if i in still else i
        found.append(
            {
                "task": f"task {number}",
                "prompt": [
                    SYSTEM,
                    *(json.dumps({"role": "user", "content": f"{number}: page {k}"}) for k in range(i + 1)),
                ],
                "response": f"Thought: go on.\nAction: click({number}, {i})",
                "action": f"click({number}, {i})",
                "image_path": f"{number}/{shown}.png",
                "tree": f"[1] RootWebArea '{number}' [{shown}] link",
                "metadata": json.dumps({"title": f"{number}", "url": f"http://localhost/{number}/{i}"}),
            }
        )
    return {"reward": reward, "steps": found}


POOL = [
    trajectory(0, 1.0, still=[1]),
    trajectory(1, 0.0),  # failed
    trajectory(2, -1.0),  # not yet judged
    trajectory(3, 1.0, steps=2),
    trajectory(4, 0.5),
    trajectory(5, 1.0, steps=4, still=[1, 2]),
]
ELIGIBLE = ["click(0, 1)", "click(0, 2)", "click(3, 0)", "click(3, 1)", "click(5, 2)", "click(5, 3)"]


def recent(windows):
    """Weights (rank + 1) ** 2."""
    return 2 * jnp.log((windows.rank + 1).astype(jnp.float32))


def pool(capacity=32, sampler=None, chosen=None, table=None):
    """Keep the steps of the chosen trajectories after which the screen changed, in order."""
    buffer = jb.HostReplay(jb.Replay(capacity, None, 4, jb.Items(), sampler or jb.Uniform()), FIELDS, table=table)
    reward = np.array([each["reward"] for each in POOL], np.float32)
    judged = reward >= 0
    chosen = jb.filters.successful(reward, threshold=1.0, mask=judged) if chosen is None else chosen(reward, judged)
    for number in np.flatnonzero(chosen):
        steps = POOL[number]["steps"]
        for i, step in enumerate(steps):
            if i + 1 == len(steps) or step["image_path"] != steps[i + 1]["image_path"]:
                buffer.insert(**step, trajectory_reward=POOL[number]["reward"], number=int(number))
    return buffer


def test_all_samples_in_order():
    items = list(jb.WindowDataset(pool()))
    assert [item["action"] for item in items] == ELIGIBLE
    given = {step["action"]: step for each in POOL for step in each["steps"]}
    for item in items:
        step = given[item["action"]]
        assert [message for message in item["prompt"] if message is not None] == step["prompt"]
        assert all(item[name] == step[name] for name in step if name != "prompt")
        assert item["trajectory_reward"] == 1


def test_failures_are_learned_from_too_where_they_are_wanted_and_what_is_not_judged_never():
    buffer = pool(chosen=lambda reward, judged: judged)
    assert {item["number"].item() for item in jb.WindowDataset(buffer)} == {0, 1, 3, 4, 5}
    best = pool(chosen=lambda reward, judged: jb.filters.top_quantile(reward, 0.8, judged))
    assert {item["number"].item() for item in jb.WindowDataset(best)} == {0, 3, 4, 5}


def test_a_batch_of_prompts_and_responses():
    batch = pool().sample(8)
    assert set(batch["action"]) <= set(ELIGIBLE)
    for response, action, prompt in zip(batch["response"], batch["action"], batch["prompt"], strict=True):
        assert response.endswith(action)
        assert prompt[0] == SYSTEM
    np.testing.assert_array_equal(batch["trajectory_reward"], np.ones(8))


def test_recent_samples_come_more_often_and_none_twice_in_a_batch():
    buffer = pool(sampler=jb.Weighted(recent))
    counts = np.zeros(6)
    for _ in range(400):
        places = [ELIGIBLE.index(action) for action in buffer.sample(1)["action"]]
        counts[places] += 1
        assert len(set(buffer.sample(5)["action"])) == 5
    share = np.arange(1, 7) ** 2 / np.sum(np.arange(1, 7) ** 2)
    np.testing.assert_allclose(counts / 400, share, atol=0.125)  # five standard deviations of the largest


def test_texts_are_stored_once_and_freed_with_their_steps():
    buffer = pool(capacity=2)
    kept = [step for each in POOL for step in each["steps"] if step["action"] in ELIGIBLE[-2:]]
    buffer.sweep()
    texts = {text for step in kept for text in [*step["prompt"], *(step[name] for name in step if name != "prompt")]}
    assert len(buffer.table) == len(texts)
    assert set(buffer.table.lookup(buffer.table.ids())) == texts


def test_a_pool_in_a_file_is_there_again(tmp_path):
    with jb.TextTable(tmp_path / "texts.sqlite") as table:
        first = pool(table=table)
        table.commit()
        (tmp_path / "pool").write_bytes(first.to_bytes())
        items = list(jb.WindowDataset(first))
    with jb.TextTable(tmp_path / "texts.sqlite") as table:
        again = jb.HostReplay(first.replay, FIELDS, table=table)
        again.from_bytes((tmp_path / "pool").read_bytes())
        np.testing.assert_equal(list(jb.WindowDataset(again)), items)
