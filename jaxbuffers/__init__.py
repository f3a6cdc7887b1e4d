"""Replay buffers for JAX: immutable, exact and in place."""

from jaxbuffers import filters, returns
from jaxbuffers.batch import Batch, Draw, Index
from jaxbuffers.episode_rows import episode_rows
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    EmptyReplayError,
    IncompleteError,
    MissingFieldError,
    PriorityError,
    ShapeError,
    StaleIndexError,
    StructureError,
    TextFileError,
    TextTableFullError,
    UnknownTextError,
    WrongProcessError,
    debug_checks,
)
from jaxbuffers.fence import fence
from jaxbuffers.flattening import swap_and_flatten01, unflatten_and_swap01
from jaxbuffers.gymnasium import final_observations
from jaxbuffers.host import BatchDataset, Collated, Demonstrations, HostBatch, HostReplay, WindowDataset, collate
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
from jaxbuffers.textfield import text
from jaxbuffers.texts import Remap, TextTable, TokenBatch, Tokens, intern_messages, lookup_messages
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
    "BatchDataset",
    "ByEpisode",
    "Candidates",
    "Clustered",
    "Collated",
    "ConfigurationError",
    "Counted",
    "Demonstrations",
    "Draw",
    "DtypeError",
    "EmptyReplayError",
    "Episode",
    "Episodes",
    "Flat",
    "FrameStack",
    "Hindsight",
    "HostBatch",
    "HostReplay",
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
    "PriorityError",
    "RankBased",
    "RateLimiter",
    "RateLimiterState",
    "Reader",
    "Recent",
    "Recorder",
    "RecorderState",
    "Remap",
    "Replay",
    "ReplayState",
    "Rollout",
    "RolloutState",
    "Row",
    "Sampler",
    "Sequences",
    "ShapeError",
    "StaleIndexError",
    "StructureError",
    "TextFileError",
    "TextTable",
    "TextTableFullError",
    "TokenBatch",
    "Tokens",
    "Transition",
    "Transitions",
    "Uniform",
    "UnknownTextError",
    "View",
    "Weighted",
    "WindowDataset",
    "WithoutReplacement",
    "WrongProcessError",
    "collate",
    "debug_checks",
    "episode_rows",
    "fence",
    "filters",
    "final_observations",
    "importance_weights",
    "intern_messages",
    "lookup_messages",
    "minibatches",
    "returns",
    "stats",
    "swap_and_flatten01",
    "text",
    "unflatten_and_swap01",
]
