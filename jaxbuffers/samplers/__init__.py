"""Samplers: where to point."""

from jaxbuffers.samplers.base import Sampler
from jaxbuffers.samplers.by_episode import ByEpisode
from jaxbuffers.samplers.clustered import Clustered
from jaxbuffers.samplers.counted import Counted
from jaxbuffers.samplers.mix import Mix
from jaxbuffers.samplers.online_first import OnlineFirst
from jaxbuffers.samplers.prioritized import Prioritized, importance_weights
from jaxbuffers.samplers.rank_based import RankBased
from jaxbuffers.samplers.recent import Recent
from jaxbuffers.samplers.uniform import Uniform
from jaxbuffers.samplers.weighted import Candidates, Weighted
from jaxbuffers.samplers.without_replacement import WithoutReplacement
from jaxbuffers.samplers.wrapping import WrappingSampler

__all__ = [
    "ByEpisode",
    "Candidates",
    "Clustered",
    "Counted",
    "Mix",
    "OnlineFirst",
    "Prioritized",
    "RankBased",
    "Recent",
    "Sampler",
    "Uniform",
    "Weighted",
    "WithoutReplacement",
    "WrappingSampler",
    "importance_weights",
]
