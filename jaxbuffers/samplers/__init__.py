"""Samplers: where to point."""

from jaxbuffers.samplers.base import Legal, Sampler
from jaxbuffers.samplers.prioritized import Prioritized, importance_weights
from jaxbuffers.samplers.uniform import Uniform

__all__ = ["Legal", "Prioritized", "Sampler", "Uniform", "importance_weights"]
