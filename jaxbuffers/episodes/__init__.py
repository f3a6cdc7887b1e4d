"""Whole episodes outside the device, on disk or in the host's memory."""

from jaxbuffers.episodes.episode import StoredEpisode
from jaxbuffers.episodes.store import EpisodeStore
from jaxbuffers.episodes.writer import EpisodeWriter

__all__ = ["EpisodeStore", "EpisodeWriter", "StoredEpisode"]
