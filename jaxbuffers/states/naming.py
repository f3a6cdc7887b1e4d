"""Configurations as they are written: a function in them by its name, not by its address in memory."""

import dataclasses
import re
from typing import Any


def written(value: Any) -> str:
    """Write a configuration, the same in every process: what makes it again, where its functions are in reach.

    >>> import jaxbuffers as jb
    >>> def parity(rows):
    ...     return rows % 2
    >>> jb.Clustered(parity, groups=2)
    Clustered(by=parity, groups=2)
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = (f"{each.name}={written(getattr(value, each.name))}" for each in dataclasses.fields(value))
        return f"{type(value).__qualname__}({', '.join(parts)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(written, value))}{',' * (len(value) == 1)})"
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
