"""Trajectories of web and computer-use agents: what they are made of, and a pool to learn from."""

from jaxbuffers.trajectories.action_text import action_of, parse_action, render_action
from jaxbuffers.trajectories.actions import Back, Click, Goto, Scroll, Stop, Type, TypedAction, Wait
from jaxbuffers.trajectories.components import PENDING, Action, Observation, Response, Reward, Task
from jaxbuffers.trajectories.lines import read_jsonl, write_jsonl
from jaxbuffers.trajectories.parsing import GRAMMARS, Grammar, parse_response, render_response
from jaxbuffers.trajectories.trajectory import Step, Trajectory

__all__ = [
    "GRAMMARS",
    "PENDING",
    "Action",
    "Back",
    "Click",
    "Goto",
    "Grammar",
    "Observation",
    "Response",
    "Reward",
    "Scroll",
    "Step",
    "Stop",
    "Task",
    "Trajectory",
    "Type",
    "TypedAction",
    "Wait",
    "action_of",
    "parse_action",
    "parse_response",
    "read_jsonl",
    "render_action",
    "render_response",
    "write_jsonl",
]
