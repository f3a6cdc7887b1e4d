"""Samplers: where to point."""

from jaxbuffers.samplers.base import Legal, Sampler
from jaxbuffers.samplers.uniform import Uniform

__all__ = ["Legal", "Sampler", "Uniform"]
