"""Replay buffers for JAX: immutable, exact and in place."""

from jaxbuffers import filters, returns
from jaxbuffers.batch import Batch, Draw, Index
from jaxbuffers.episode_rows import episode_rows
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    IncompleteError,
    MissingFieldError,
    ShapeError,
    StructureError,
    debug_checks,
)
from jaxbuffers.fence import fence
from jaxbuffers.flattening import swap_and_flatten01, unflatten_and_swap01
from jaxbuffers.gymnasium import final_observations
from jaxbuffers.minibatches import Minibatch, Minibatches, minibatches
from jaxbuffers.rate_limiter import RateLimiter, RateLimiterState
from jaxbuffers.recorder import Recorder, RecorderState
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.rollout import Flat, Rollout, RolloutState
from jaxbuffers.row import Row
from jaxbuffers.samplers import (
    ByEpisode,
    Candidates,
    Clustered,
    Counted,
    Legal,
    Mix,
    OnlineFirst,
    Prioritized,
    RankBased,
    Recent,
    Sampler,
    Uniform,
    Weighted,
    WithoutReplacement,
    importance_weights,
)
from jaxbuffers.stats import stats
from jaxbuffers.views import (
    Episode,
    Episodes,
    FrameStack,
    Hindsight,
    Items,
    Reader,
    Sequences,
    Transition,
    Transitions,
    View,
)

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "ByEpisode",
    "Candidates",
    "Clustered",
    "ConfigurationError",
    "Counted",
    "Draw",
    "DtypeError",
    "Episode",
    "Episodes",
    "Flat",
    "FrameStack",
    "Hindsight",
    "IncompleteError",
    "Index",
    "Items",
    "Legal",
    "Minibatch",
    "Minibatches",
    "MissingFieldError",
    "Mix",
    "OnlineFirst",
    "Prioritized",
    "RankBased",
    "RateLimiter",
    "RateLimiterState",
    "Reader",
    "Recent",
    "Recorder",
    "RecorderState",
    "Replay",
    "ReplayState",
    "Rollout",
    "RolloutState",
    "Row",
    "Sampler",
    "Sequences",
    "ShapeError",
    "StructureError",
    "Transition",
    "Transitions",
    "Uniform",
    "View",
    "Weighted",
    "WithoutReplacement",
    "debug_checks",
    "episode_rows",
    "fence",
    "filters",
    "final_observations",
    "importance_weights",
    "minibatches",
    "returns",
    "stats",
    "swap_and_flatten01",
    "unflatten_and_swap01",
]
