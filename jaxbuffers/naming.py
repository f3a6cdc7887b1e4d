"""Configurations as they are written: a function in them by its name, not by its address in memory."""

import dataclasses
from types import FunctionType
from typing import Any


def written(configuration: Any) -> str:
    """Return what makes the configuration again, where its functions are imported by name.

    >>> import jaxbuffers as jb
    >>> def parity(rows):
    ...     return rows % 2
    >>> jb.Clustered(parity, groups=2)
    Clustered(by=parity, groups=2)
    """
    parts = ((field.name, getattr(configuration, field.name)) for field in dataclasses.fields(configuration))
    shown = (f"{name}={part.__qualname__ if isinstance(part, FunctionType) else repr(part)}" for name, part in parts)
    return f"{type(configuration).__qualname__}({', '.join(shown)})"
