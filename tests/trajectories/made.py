"""Trajectories for tests, as plain as possible."""

import json

from jaxbuffers.trajectories import Action, Observation, Response, Reward, Step, Task, Trajectory

SYSTEM = {"role": "system", "content": "You browse the web."}


def prompt(number, step):
    """A system prompt, and a message for each page so far."""
    return [SYSTEM, *({"role": "user", "content": f"{number}: page {k}"} for k in range(step + 1))]


def trajectory(number=0, steps=3, reward=1.0, blocked=False, images=None, task=None, still=(), **known):
    """A trajectory whose every text says which one it is; ``still`` steps show the same as the next."""
    task = task or Task(f"task {number}", "Entertainment", "Music", "http://localhost", number % 5, task_id=number)
    return Trajectory(
        [
            Step(
                Observation(
                    task, images[i] if images else f"{number}/{i}.png", f"[{i}] link", {"url": f"/{number}/{i}"}
                ),
                Action({"key": "click", "x": number, "y": i}, f"click({number}, {i})"),
                Response(f"Action: click({number}, {i})", {"action": f"click({number}, {i})"}, prompt(number, i)),
                Reward(reward, "seen", blocked, True) if i == steps - 1 else Reward(0.0, submit=False),
                i in still if still and i < steps - 1 else None,
            )
            for i in range(steps)
        ],
        **known,
    )


class Thing:
    """An object of another program, with nothing but attributes."""

    def __init__(self, **fields):
        vars(self).update(fields)


def as_original(made):
    """What the original holds: a list of dicts, of objects, and prompts as JSON text."""
    return [
        {
            "observation": Thing(
                task=Thing(**{name: value for name, value in vars(step.observation.task).items() if name != "extra"}),
                image_path=step.observation.image_path,
                ac_tree=step.observation.ac_tree,
                page_metadata=step.observation.page_metadata,
            ),
            "action": Thing(action=step.action.action, action_string=step.action.action_string),
            "response": Thing(
                raw_response=step.response.raw_response,
                answering_tokens=step.response.answering_tokens,
                raw_prompt=json.dumps(step.response.raw_prompt),
            ),
            "reward": Thing(**{name: value for name, value in vars(step.reward).items() if name != "extra"}),
        }
        | ({} if step.same_as_next_screenshot is None else {"same_as_next_screenshot": step.same_as_next_screenshot})
        for step in made.steps
    ]
