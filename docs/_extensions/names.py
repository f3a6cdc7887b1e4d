"""Turns the backquoted names of docstrings into links, and fails the build for one that names nothing.

Docstrings read like Markdown: one pair of backquotes around the name of an object, two around other code. A name is
looked up where it stands: in its class, in its module, then in ``jaxbuffers``.
"""

import builtins
import dataclasses
import importlib
import re
import sys
from types import ModuleType
from typing import Any

from docutils import nodes
from public_names import public_names
from sphinx.application import Sphinx
from sphinx.util import logging

import jaxbuffers

LOGGER = logging.getLogger(__name__)
_NAME = re.compile(r"(?<![`:\w])`([A-Za-z_][\w.]*)`(?!`)")
_COLON = "\x01"  # napoleon reads what is before a colon in the first line of a property or constant as its type
_AXIS = re.compile(r"((?:^|: )\s*[A-Z])\.(?=\s|$)")  # "B." alone would begin a list


def _follow(start: Any, parts: list[str]) -> Any:
    """Return an attribute of an attribute; the fields of a dataclass count."""
    for part in parts:
        fields = getattr(start, "__dataclass_fields__", {})
        start = fields[part] if part in fields else getattr(start, part)
    return start


_PUBLIC = {id(_follow(jaxbuffers, name.split(".")[1:])): name for name in public_names()}


def _owners(full_name: str) -> tuple[type | None, Any, Any]:
    """Return where an object stands, from its documented name: its class, if it has one, and the modules it is in."""
    here, documented, defined = None, jaxbuffers, jaxbuffers
    found: Any = jaxbuffers
    for part in full_name.split(".")[1:]:
        found = getattr(found, part, None)
        if isinstance(found, ModuleType):
            documented = defined = found
        else:
            here = found if isinstance(found, type) else here
            defined = sys.modules.get(getattr(found, "__module__", ""), defined)
    return here, defined, documented


def _name_of(owner: Any, first: str) -> str:
    """Return the name under which the reference has an attribute of a class or a module, if it has it."""
    if isinstance(owner, type):
        return f"{_PUBLIC.get(id(owner), f'{owner.__module__}.{owner.__qualname__}')}.{first}"
    return _PUBLIC.get(id(getattr(owner, first)), f"{owner.__name__}.{first}")


def resolve(name: str, full_name: str) -> str | None:
    """Return the full name of what the docstring of ``full_name`` calls ``name``; None if there is no such thing."""
    parts = name.split(".")
    for owner in (*_owners(full_name), jaxbuffers, jaxbuffers.errors, builtins):
        try:
            _follow(owner, parts)
        except (AttributeError, TypeError):
            continue
        return ".".join([_name_of(owner, parts[0]), *parts[1:]])
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
            lines[i] = _NAME.sub(role, _AXIS.sub(r"\1\\.", line))
    if what in ("property", "data") and lines:
        lines[0] = lines[0].replace(": ", f"{_COLON} ")


def _signature(
    app: Sphinx, what: str, full_name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write what a dataclass makes by default, which its signature calls ``<factory>``."""
    fields = dataclasses.fields(obj) if signature and isinstance(obj, type) and dataclasses.is_dataclass(obj) else ()
    for field in fields:
        if field.default_factory is not dataclasses.MISSING:
            signature = signature.replace("<factory>", repr(field.default_factory()), 1)
    return signature, returns


def _restore(app: Sphinx, what: str, full_name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def _call_them_attributes(app: Sphinx, doctree: nodes.document) -> None:
    for name in doctree.findall(nodes.field_name):
        if name.astext() == "Variables":
            name.children = [nodes.Text("Attributes")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx, before the sections of docstrings are read."""
    app.connect("autodoc-process-docstring", _link, priority=100)
    app.connect("autodoc-process-docstring", _restore, priority=900)
    app.connect("autodoc-process-signature", _signature)
    app.connect("doctree-read", _call_them_attributes)
    return {"parallel_read_safe": True}
