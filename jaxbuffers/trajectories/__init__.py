"""Trajectories of web and computer-use agents: what they are made of, and a pool to learn from."""

from jaxbuffers.trajectories.components import PENDING, Action, Observation, Response, Reward, Task
from jaxbuffers.trajectories.lines import read_jsonl, write_jsonl
from jaxbuffers.trajectories.trajectory import Step, Trajectory

__all__ = [
    "PENDING",
    "Action",
    "Observation",
    "Response",
    "Reward",
    "Step",
    "Task",
    "Trajectory",
    "read_jsonl",
    "write_jsonl",
]
