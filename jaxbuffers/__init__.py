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
from jaxbuffers.rate_limiter import RateLimiter, RateLimiterState
from jaxbuffers.recorder import Recorder, RecorderState
from jaxbuffers.replay import Replay, ReplayState
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
    "FrameStack",
    "Hindsight",
    "Index",
    "Items",
    "Legal",
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
    "final_observations",
    "importance_weights",
    "stats",
]
