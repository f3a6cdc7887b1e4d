"""Whole episodes outside the device, on disk or in the host's memory."""

from jaxbuffers.checkpoint.tree import register
from jaxbuffers.episodes.batches import Place, StoreBatches
from jaxbuffers.episodes.episode import StoredEpisode
from jaxbuffers.episodes.laws import (
    EpisodesByLength,
    Law,
    RecentEpisodes,
    ShuffledEpochs,
    UniformWindows,
    WeightedEpisodes,
)
from jaxbuffers.episodes.mixture import MixedBatch, Mixture
from jaxbuffers.episodes.open_rows import WRITER
from jaxbuffers.episodes.refill import Refilled
from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.episodes.tee import Tee
from jaxbuffers.episodes.writer import EpisodeWriter

__all__ = [
    "EpisodeStore",
    "EpisodeWriter",
    "EpisodesByLength",
    "Law",
    "MixedBatch",
    "Mixture",
    "Place",
    "RecentEpisodes",
    "Refilled",
    "ShuffledEpochs",
    "StoreBatches",
    "StoredEpisode",
    "Tee",
    "UniformWindows",
    "WeightedEpisodes",
]

register(EpisodeWriter, WRITER)
