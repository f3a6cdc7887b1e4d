"""PlaNet's memory of whole episodes, over an `EpisodeStore`."""

from jaxbuffers.planet.episode import Episode
from jaxbuffers.planet.memory import Memory, Steps

__all__ = ["Episode", "Memory", "Steps"]
