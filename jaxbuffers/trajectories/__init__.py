"""Trajectories of web and computer-use agents: what they are made of, and a pool to learn from."""

from jaxbuffers.trajectories.action_text import action_of, parse_action, render_action
from jaxbuffers.trajectories.actions import Back, Click, Goto, Scroll, Stop, Type, TypedAction, Wait
from jaxbuffers.trajectories.advantages import group_advantages
from jaxbuffers.trajectories.components import PENDING, Action, Observation, Response, Reward, Task
from jaxbuffers.trajectories.filters import Filter, OfTrajectory
from jaxbuffers.trajectories.lines import read_jsonl, write_jsonl
from jaxbuffers.trajectories.parsing import GRAMMARS, Grammar, parse_response, render_response
from jaxbuffers.trajectories.pool import SetAside, TrajectoryPool
from jaxbuffers.trajectories.predicates import (
    attempt_level,
    blocked,
    by_columns,
    by_step,
    difficulty,
    domain,
    fresh,
    invalid_page,
    iteration,
    judged,
    latest,
    min_length,
    same_screenshot,
    successful,
    unused,
)
from jaxbuffers.trajectories.recency import draw_recent
from jaxbuffers.trajectories.samples import Samples
from jaxbuffers.trajectories.steps import Steps
from jaxbuffers.trajectories.taking import Taken
from jaxbuffers.trajectories.trajectory import Step, Trajectory

__all__ = [
    "GRAMMARS",
    "PENDING",
    "Action",
    "Back",
    "Click",
    "Filter",
    "Goto",
    "Grammar",
    "Observation",
    "OfTrajectory",
    "Response",
    "Reward",
    "Samples",
    "Scroll",
    "SetAside",
    "Step",
    "Steps",
    "Stop",
    "Taken",
    "Task",
    "Trajectory",
    "TrajectoryPool",
    "Type",
    "TypedAction",
    "Wait",
    "action_of",
    "attempt_level",
    "blocked",
    "by_columns",
    "by_step",
    "difficulty",
    "domain",
    "draw_recent",
    "fresh",
    "group_advantages",
    "invalid_page",
    "iteration",
    "judged",
    "latest",
    "min_length",
    "parse_action",
    "parse_response",
    "read_jsonl",
    "render_action",
    "render_response",
    "same_screenshot",
    "successful",
    "unused",
    "write_jsonl",
]
