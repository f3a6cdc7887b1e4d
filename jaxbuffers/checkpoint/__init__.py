"""Checkpoints: all that changes in a run, in one file that is there as a whole or not at all."""

from jaxbuffers.checkpoint.cursor import Durable
from jaxbuffers.checkpoint.manager import Manager
from jaxbuffers.checkpoint.restoring import Restored, metadata, restore
from jaxbuffers.checkpoint.saving import save

__all__ = ["Durable", "Manager", "Restored", "metadata", "restore", "save"]
