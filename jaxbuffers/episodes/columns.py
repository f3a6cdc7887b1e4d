"""The user's own columns of the catalog: int, float, bool or str, declared by name or by their first value."""

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbuffers.episodes import records
from jaxbuffers.episodes.table import FIXED, TYPES
from jaxbuffers.errors import ConfigurationError, DtypeError

_RESERVED = {name.lower() for name in (*FIXED, *records.COLUMNS, "rowid", "oid", "_rowid_")}
_PYTHON = {int: "int", float: "float", bool: "bool", str: "str"}


def declared(columns: Any) -> dict[str, str]:
    """Return declarations, types or their names, as names."""
    if not isinstance(columns, Mapping):
        raise ConfigurationError(f"columns must be a dict such as {{'success': bool}}, got {columns!r}.")
    found: dict[str, str] = {}
    for name, kind in columns.items():
        known = _PYTHON.get(kind) if isinstance(kind, type) else kind
        if not isinstance(known, str) or known not in TYPES:
            raise ConfigurationError(f"column {name!r} must be int, float, bool or str, got {kind!r}.")
        check_name(name, found)
        found[name] = known
    return found


def check_name(name: Any, others: Mapping[str, str]) -> None:
    """Refuse a name that no column can have."""
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise ConfigurationError(f"a column needs a name of ASCII letters, digits and underscores, got {name!r}.")
    if name in others:
        return
    if name.lower() in _RESERVED or name.lower() in {other.lower() for other in others}:
        raise ConfigurationError(f"no column can be called {name!r}: the catalog has one of that name already.")


def merged(types: Mapping[str, str], given: Mapping[str, str], path: str) -> dict[str, str]:
    """Return the columns with further declarations, which must agree."""
    for name, kind in given.items():
        check_name(name, types)
        if types.get(name, kind) != kind:
            raise ConfigurationError(f"column {name!r} of {path} is {types[name]}; it cannot be declared {kind}.")
    return {**types, **given}


def settled(metadata: Any, types: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Check the values of one episode; return those that are there, and the columns with those that are new.

    Raises:
      DtypeError: a value is not of its column's type; nothing is cast.
      ConfigurationError: a name cannot be a column's.
    """
    if not isinstance(metadata, Mapping):
        raise DtypeError(f"metadata must be a dict of columns, got {type(metadata).__name__}.")
    found, known = {}, dict(types)
    for name, given in metadata.items():
        check_name(name, known)
        value = given.item() if isinstance(given, np.generic) or (hasattr(given, "item") and not given.shape) else given
        if value is None:
            if name not in known:
                raise DtypeError(f"column {name!r} has no type yet: declare it, columns={{{name!r}: float}}.")
            continue
        if type(value) not in _PYTHON:
            raise DtypeError(f"{name!r} must be an int, a float, a bool or a str, got {reprlib.repr(given)}.")
        kind = known.setdefault(name, _PYTHON[type(value)])
        found[name] = _value(name, value, kind)
    return {name: value for name, value in found.items() if value == value}, known


def _value(name: str, value: Any, kind: str) -> Any:
    if kind == "float" and type(value) is int and abs(value) <= 2**53:
        return float(value)
    if type(value) is float:
        value += 0.0  # one zero: SQLite has no other
    if _PYTHON[type(value)] != kind:
        raise DtypeError(f"column {name!r} is {kind}, got {value!r}: nothing is cast. Convert it first.")
    if kind == "int" and not -(2**63) <= value < 2**63:
        raise DtypeError(f"{name!r} must fit 64 bits, got {value}.")
    if kind == "str":
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DtypeError(f"{name!r} has half a surrogate pair, which no UTF-8 has: {value!r}.") from error
    return value
