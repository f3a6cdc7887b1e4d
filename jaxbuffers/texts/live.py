"""Which text ids are still referred to, by states and by what else holds rows."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Batch
from jaxbuffers.environments.recorder import RecorderState
from jaxbuffers.errors import DtypeError, StructureError
from jaxbuffers.onpolicy.minibatches import Minibatch, Minibatches
from jaxbuffers.onpolicy.rollout import Flat, RolloutState
from jaxbuffers.replay import ReplayState
from jaxbuffers.texts.columns import columns

# What holds rows, but does not know which of their fields are texts.
_UNMARKED: dict[type, Callable[[Any], Any]] = {
    RolloutState: lambda state: state.data,
    Flat: lambda flat: flat.data,
    Minibatch: lambda batch: batch.data,
    Minibatches: lambda batches: batches.data,
    Batch: lambda batch: batch.data,
    RecorderState: lambda state: state.obs,
}


class References(NamedTuple):
    """Ids that something refers to, int64 ``[n]`` each, repeated ones included.

    Attributes:
      named: ids, from fields that are marked.
      possible: integers that may be ids, from fields that bear no mark.
    """

    named: np.ndarray
    possible: np.ndarray


def references(states: Any, table: Any = None, pins: Any = ()) -> References:
    """Return what some states and pins refer to.

    What holds rows and has texts of its own says so: it has a method ``text_ids()`` that returns their ids, an integer
    array ``[n]``, and ``table`` where they are; a store of episodes calls them ``texts``. `HostReplay` and `HostBatch`
    are such.

    Args:
      states: a pytree of `ReplayState` (stacked by ``vmap`` too), `RolloutState`, `RecorderState`, batches, and objects
        with ``text_ids()``, and of nothing else.
      table: the table whose ids they must be; None for any.
      pins: a pytree of the same, and of int32 arrays of ids.

    Raises:
      StructureError: nothing is given, or something that is none of these, which is named; or one of another table.
      DtypeError: a pin is no array of ids.
    """
    held = jax.tree_util.tree_leaves_with_path(states, is_leaf=_holds_rows)
    if not held:
        raise StructureError(
            f"expected states of a replay, such as a buffer or buffer.state, got {type(states).__name__}; ids that are "
            f"held elsewhere go in as pins."
        )
    for path, leaf in held:
        if not _holds_rows(leaf):
            raise StructureError(
                f"states{_name(path)} is {_describe(leaf)}, which is no state, batch or buffer: give its ids as pins, "
                f"or leave it out. Nothing was freed."
            )
    pinned = jax.tree_util.tree_leaves_with_path(pins, is_leaf=_holds_rows)
    for what, leaves in (("states", held), ("pins", pinned)):
        for path, leaf in leaves:
            if table is not None and hasattr(leaf, "text_ids") and table_of(leaf) is not table:
                raise StructureError(
                    f"{what}{_name(path)} has its texts in another table, which has its own sweep: leave it out. "
                    f"Nothing was freed."
                )
    everything = [leaf for _, leaf in (*held, *pinned)]
    named = [ids for leaf in everything for ids in (_named(leaf) if _holds_rows(leaf) else [_pin(leaf)])]
    return References(_joined(named), _joined(ids for leaf in everything for ids in _possible(leaf)))


def ids_of(states: Any) -> np.ndarray:
    """Return every text id in the rows of some states, int64 ``[n]``, repeated ones included; see `references`."""
    return _joined(references(states))


def as_ids(pins: Any) -> np.ndarray:
    """Return the ids in a pytree of int32 arrays, batches and buffers, int64 ``[n]``."""
    leaves = jax.tree.leaves(pins, is_leaf=_holds_rows)
    return _joined([ids_of(leaf) if _holds_rows(leaf) else _pin(leaf) for leaf in leaves])


def table_of(held: Any) -> Any:
    """Return where the texts are of what knows their ids."""
    return held.texts if callable(held.table) else held.table


def _named(held: Any) -> Iterable[np.ndarray]:
    if hasattr(held, "text_ids"):
        return [held.text_ids()]
    return columns(held) if isinstance(held, ReplayState) else []


def _possible(held: Any) -> Iterable[np.ndarray]:
    """Return every integer of a size that an id has, whatever it means: keeping too much loses nothing."""
    for leaf in jax.tree.leaves(_UNMARKED[type(held)](held)) if type(held) in _UNMARKED else ():
        if jnp.issubdtype(leaf.dtype, jnp.integer) and leaf.dtype.itemsize >= 4:
            yield np.asarray(leaf)


def _pin(leaf: Any) -> np.ndarray:
    dtype = getattr(leaf, "dtype", None) or np.asarray(leaf).dtype
    if not jnp.issubdtype(dtype, jnp.signedinteger):
        raise DtypeError(f"pins must be text ids, int32 arrays; got {dtype}{list(np.shape(leaf))}.")
    return np.asarray(leaf)


def _joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *(array.ravel().astype(np.int64) for array in arrays)])


def _holds_rows(x: Any) -> bool:
    return isinstance(x, ReplayState) or type(x) in _UNMARKED or hasattr(x, "text_ids")


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path)


def _describe(leaf: Any) -> str:
    if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
        return f"{leaf.dtype}{list(leaf.shape)}"
    name = type(leaf).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
