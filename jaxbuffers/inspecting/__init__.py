"""A look inside a store, a text file or a checkpoint: ``python -m jaxbuffers inspect PATH``."""

from jaxbuffers.inspecting.looking import inspect

__all__ = ["inspect"]
