"""Replay buffers for JAX: immutable, exact and in place.

The words of the docstrings (row, stream, time, window, legal, rank, ...) are in ``docs/glossary.md``, the axis letters
too: T rows kept of each stream, E streams, B windows in a batch, L rows in a window, N rows added at once.
"""

import importlib
from typing import TYPE_CHECKING

from jaxbuffers import errors
from jaxbuffers.batch import Batch, Draw, Index
from jaxbuffers.environments.episode_rows import episode_rows
from jaxbuffers.environments.gymnasium import final_observations
from jaxbuffers.environments.recorder import Recorder, RecorderState
from jaxbuffers.errors import debug_checks
from jaxbuffers.fence import fence
from jaxbuffers.onpolicy import filters, returns
from jaxbuffers.onpolicy.flattening import swap_and_flatten01, unflatten_and_swap01
from jaxbuffers.onpolicy.minibatches import Minibatch, Minibatches, minibatches
from jaxbuffers.onpolicy.rollout import Flat, Rollout, RolloutState
from jaxbuffers.rate_limiter import RateLimiter, RateLimiterState
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import Row, text
from jaxbuffers.samplers import (
    ByEpisode,
    Candidates,
    Clustered,
    Counted,
    Mix,
    OnlineFirst,
    Prioritized,
    RankBased,
    Recent,
    Sampler,
    Uniform,
    Weighted,
    WithoutReplacement,
    WrappingSampler,
    importance_weights,
)
from jaxbuffers.sharding import Sharded
from jaxbuffers.stats import stats
from jaxbuffers.storage.ring import Ring
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
    WrappingView,
)
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal

__version__ = "0.1.0"

__all__ = [
    "Added",
    "Batch",
    "BatchDataset",
    "ByEpisode",
    "Candidates",
    "Clustered",
    "Collated",
    "Counted",
    "Demonstrations",
    "Draw",
    "Episode",
    "EpisodeStore",
    "EpisodeWriter",
    "Episodes",
    "Flat",
    "FrameStack",
    "Hindsight",
    "HostBatch",
    "HostReplay",
    "Inbox",
    "InboxBlock",
    "Index",
    "Items",
    "Legal",
    "Minibatch",
    "Minibatches",
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
    "Remap",
    "Replay",
    "ReplayState",
    "Ring",
    "Rollout",
    "RolloutState",
    "Row",
    "Sampler",
    "Sequences",
    "Sharded",
    "StoredEpisode",
    "TextTable",
    "TokenBatch",
    "Tokens",
    "TrajectoryPool",
    "Transition",
    "Transitions",
    "Turnover",
    "Uniform",
    "View",
    "Weighted",
    "WindowDataset",
    "Windows",
    "WithoutReplacement",
    "WrappingSampler",
    "WrappingView",
    "checkpoint",
    "collate",
    "datasets",
    "debug_checks",
    "episode_rows",
    "episodes",
    "errors",
    "fence",
    "filters",
    "final_observations",
    "importance_weights",
    "intern_messages",
    "loading",
    "lookup_messages",
    "minibatches",
    "planet",
    "returns",
    "stats",
    "swap_and_flatten01",
    "text",
    "trajectories",
    "unflatten_and_swap01",
]


if TYPE_CHECKING:
    from jaxbuffers import checkpoint, datasets, episodes, loading, planet, trajectories
    from jaxbuffers.episodes import EpisodeStore, EpisodeWriter, StoredEpisode
    from jaxbuffers.host import (
        BatchDataset,
        Collated,
        Demonstrations,
        HostBatch,
        HostReplay,
        Inbox,
        InboxBlock,
        WindowDataset,
        collate,
    )
    from jaxbuffers.texts import Remap, TextTable, TokenBatch, Tokens, intern_messages, lookup_messages
    from jaxbuffers.trajectories import TrajectoryPool
else:  # rooms on the host are imported by those who use them: a training loop on the device starts in half the time
    _LATER = {
        "episodes": ("EpisodeStore", "EpisodeWriter", "StoredEpisode"),
        "host": (
            "BatchDataset",
            "Collated",
            "Demonstrations",
            "HostBatch",
            "HostReplay",
            "Inbox",
            "InboxBlock",
            "WindowDataset",
            "collate",
        ),
        "texts": ("Remap", "TextTable", "TokenBatch", "Tokens", "intern_messages", "lookup_messages"),
        "trajectories": ("TrajectoryPool",),
    }
    _ROOMS = ("checkpoint", "datasets", "episodes", "loading", "planet", "trajectories")

    def __getattr__(name: str) -> object:
        if name in _ROOMS:
            return importlib.import_module(f"jaxbuffers.{name}")
        for room, names in _LATER.items():
            if name in names:
                value = globals()[name] = getattr(importlib.import_module(f"jaxbuffers.{room}"), name)
                return value
        hint = f" It is jb.errors.{name}." if name.endswith("Error") and hasattr(errors, name) else ""
        raise AttributeError(f"module 'jaxbuffers' has no attribute {name!r}.{hint}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
