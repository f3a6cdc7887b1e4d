"""Which episodes are meant: by a mask over the table, by a function of its columns, or by ids."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.episodes.table import Table
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError, StructureError
from jaxbuffers.row import refuse_masked


def chosen(table: Table, where: Any) -> np.ndarray:
    """Return where the episodes are that a mask or a function chooses; all, for None."""
    if where is None:
        return np.arange(len(table))
    mask = of_columns(where, table) if callable(where) else where
    refuse_masked("where", mask)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise DtypeError(f"where must be a bool array of NumPy, one for each episode, got {_described(mask)}.")
    if mask.shape != (len(table),):
        raise ShapeError(
            f"where has shape {mask.shape}, the store has {len(table)} episodes. Make it of store.metadata anew, or "
            f"give a function of the columns: where=lambda columns: columns['length'] > 10."
        )
    return np.flatnonzero(mask)


def metadata_of(table: Table) -> dict[str, np.ndarray]:
    """Return the columns of a table."""
    return {name: table[name] for name in table.names()}


def of_columns(function: Callable[[dict[str, np.ndarray]], Any], table: Table) -> Any:
    """Return what a function says of the columns; where one is missing, the error says which there are."""
    columns = metadata_of(table)
    try:
        return function(columns)
    except KeyError as error:
        error.add_note(f"The columns of the store are {', '.join(columns)}.")
        raise


def once(ids: np.ndarray) -> np.ndarray:
    """Return ids; refuse them if one stands there twice."""
    if len(np.unique(ids)) < len(ids):
        raise ConfigurationError("ids names an episode twice.")
    return ids


def integers(name: str, values: Any) -> np.ndarray:
    """Return an int or some as int64 ``[n]``; refuse what is none."""
    refuse_masked(name, values)
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise DtypeError(f"{name} must be integers, got {_described(values)}.")
    if array.ndim > 1:
        raise ShapeError(f"{name} must be one integer or an array [n], got shape {array.shape}.")
    if array.dtype == np.uint64 and (array >= 2**63).any():
        raise DtypeError(f"{name} must fit 64 bits with a sign, got {array.max()}.")
    return array.reshape(-1).astype(np.int64)


def integer(name: str, value: Any, minimum: int) -> int:
    """Return an int that 64 bits hold; refuse others."""
    if (found := positive(name, value, minimum)) >= 2**63:
        raise ConfigurationError(f"{name} must be less than 2**63, got {found}.")
    return found


def one_id(value: Any) -> int:
    """Return the id of an episode; refuse what is none."""
    try:
        if not isinstance(value, bool | np.bool_):
            return operator.index(value)
    except TypeError:
        pass
    raise DtypeError(f"an episode is looked up by its id, an int; got {_described(value)}.")


def per_episode(name: str, values: Any, count: int) -> list[Any]:
    """Return a value for each of some episodes, from one for all or one for each."""
    if isinstance(values, Mapping):
        raise StructureError(f"{name} must be one value or a list of them, got a {type(values).__name__}.")
    if isinstance(values, list | tuple) or np.ndim(values):
        refuse_masked(name, values)
        given = list(values)
        if len(given) != count:
            raise ShapeError(f"{name} has {len(given)} values for {count} episodes.")
        return given
    return [values] * count


def _described(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") else f"{type(x).__name__}"
