"""Replay buffers for JAX: immutable, exact and in place."""

from jaxbuffers.batch import Batch, Draw, Index
from jaxbuffers.episode_rows import episode_rows
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    MissingFieldError,
    ShapeError,
    StructureError,
    debug_checks,
)
from jaxbuffers.fence import fence
from jaxbuffers.gymnasium import final_observations
from jaxbuffers.recorder import Recorder, RecorderState
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import Row
from jaxbuffers.samplers import Legal, Prioritized, Sampler, Uniform, importance_weights
from jaxbuffers.views import Items, Reader, Sequences, Transition, Transitions, View

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "ConfigurationError",
    "Draw",
    "DtypeError",
    "Index",
    "Items",
    "Legal",
    "MissingFieldError",
    "Prioritized",
    "Reader",
    "Recorder",
    "RecorderState",
    "Replay",
    "ReplayState",
    "Row",
    "Sampler",
    "Sequences",
    "ShapeError",
    "StructureError",
    "Transition",
    "Transitions",
    "Uniform",
    "View",
    "debug_checks",
    "episode_rows",
    "fence",
    "final_observations",
    "importance_weights",
]
