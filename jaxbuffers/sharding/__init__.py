"""One replay over many devices."""

from jaxbuffers.sharding.sharded import Sharded

__all__ = ["Sharded"]
