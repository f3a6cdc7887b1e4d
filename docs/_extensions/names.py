"""Turns the backquoted names of docstrings into links, and fails the build for one that names nothing.

Docstrings read like Markdown: one pair of backquotes around the name of an object, two around other code. A name is
looked up where it stands: in its class, in its module, then in ``jaxbuffers``.
"""

import builtins
import importlib
import re
import sys
from types import ModuleType
from typing import Any

import jaxbuffers
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
_NAME = re.compile(r"(?<![`:\w])`([A-Za-z_][\w.]*)`(?!`)")
_PUBLIC = {
    id(value): f"jaxbuffers.{name}" for name in jaxbuffers.__all__ if callable(value := getattr(jaxbuffers, name))
}


def _owner(full_name: str) -> tuple[type | None, Any]:
    """Return the class, or None, and the module in which an object stands, from its documented name."""
    here, found = None, sys.modules[full_name.split(".")[0]]
    module = found
    for part in full_name.split(".")[1:]:
        found = getattr(found, part, None)
        here = found if isinstance(found, type) else here
        module = found if isinstance(found, ModuleType) else sys.modules.get(getattr(found, "__module__", ""), module)
    return here, module


def _follow(start: Any, parts: list[str]) -> Any:
    for part in parts:
        fields = getattr(start, "__dataclass_fields__", {})
        start = fields[part] if part in fields else getattr(start, part)
    return start


def resolve(name: str, full_name: str) -> str | None:
    """Return the full name of what a docstring calls ``name``, or None if there is no such thing."""
    here, module = _owner(full_name)
    parts = name.split(".")
    for start in (here, module, jaxbuffers, jaxbuffers.errors, builtins):
        try:
            first = _follow(start, parts[:1])
            _follow(first, parts[1:])
        except (AttributeError, TypeError):
            continue
        if start is here:
            return ".".join([_PUBLIC.get(id(here), full_name), *parts])
        return ".".join(
            [_PUBLIC.get(id(first), f"{getattr(first, '__module__', '')}.{parts[0]}".lstrip(".")), *parts[1:]]
        )
    for cut in range(len(parts), 0, -1):
        try:
            _follow(importlib.import_module(".".join(parts[:cut])), parts[cut:])
        except (ImportError, AttributeError):
            continue
        return name
    return None


def _link(app: Sphinx, what: str, full_name: str, obj: Any, options: Any, lines: list[str]) -> None:
    def role(match: re.Match[str]) -> str:
        target = resolve(match[1], full_name)
        if target is None:
            LOGGER.warning(f"the docstring of {full_name} says `{match[1]}`, which is no name there")
            return match[0]
        return f":py:obj:`{match[1]} <{target}>`"

    doctest = False
    for i, line in enumerate(lines):
        doctest = line.lstrip().startswith(">>>") or (doctest and bool(line.strip()))
        if not doctest:
            lines[i] = _NAME.sub(role, line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx, before the sections of docstrings are read."""
    app.connect("autodoc-process-docstring", _link, priority=100)
    return {"parallel_read_safe": True}
