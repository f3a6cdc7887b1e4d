"""Batches of stores read by other processes: sources for Grain and PyTorch's DataLoader, and a loader over Grain."""

from jaxbuffers.loading.loader import Loader, iter_dataset
from jaxbuffers.loading.raw import RawBatch, together
from jaxbuffers.loading.steps import StoreSteps
from jaxbuffers.loading.windows import StoreWindows

__all__ = ["Loader", "RawBatch", "StoreSteps", "StoreWindows", "iter_dataset", "together"]
