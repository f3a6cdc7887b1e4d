"""Checks of what the verbs of a `HostReplay` get besides rows; nothing of the caller's memory is kept."""

import operator
import threading
from typing import Any

import jax
import numpy as np

from jaxbuffers.batch import Index
from jaxbuffers.checks import check_index
from jaxbuffers.errors import ConfigurationError, DtypeError, PriorityError, StructureError
from jaxbuffers.replay import ReplayState
from jaxbuffers.row import Path, refuse_masked, show

ON_HOST = frozenset({np.ndarray, list, type(None), *np.sctypeDict.values()})  # types, which are quick to look up


try:
    from jax.extend.core import get_opaque_trace_state
except ImportError:  # before JAX 0.10
    from jax.core import get_opaque_trace_state

_tops: list[Any] = []


def _remember_top() -> None:
    _tops.append(get_opaque_trace_state())


_thread = threading.Thread(target=_remember_top)  # a new one traces nothing, whatever imports this module
_thread.start()
_thread.join()


def at_top() -> bool:
    """Say whether nothing is being traced in this thread."""
    return bool(get_opaque_trace_state() == _tops[0])


def outside_jit(result: jax.Array) -> None:
    """Refuse to keep a result that is traced: inside ``jit`` the arrays of a buffer would be lost."""
    if isinstance(result, jax.core.Tracer):
        raise StructureError(
            "a HostReplay is called inside a jitted function: its arrays would be lost. Hand batches in, or use the "
            "methods of jb.Replay on a state."
        )


def usable(path: Path, value: Any) -> Any:
    """Return an array, of NumPy a copy, as its owner may write to it again; refuse what has no values to take."""
    if type(value) is np.ndarray:
        return np.array(value)
    if isinstance(value, jax.core.Tracer):
        raise StructureError(f"{show(path)} is traced: inside jit use the methods of jb.Replay on its state.")
    if isinstance(value, jax.Array) and value.is_deleted():
        raise StructureError(f"{show(path)} is an array that has been deleted or donated.")
    refuse_masked(show(path), value)
    return np.array(value) if isinstance(value, np.ndarray) else value


def beside(state: ReplayState, arrays: dict[Path, Any]) -> None:
    """Refuse arrays that were put on other devices than the state: the whole replay would be moved, or JAX refuse."""
    ours = None
    for path, leaf in arrays.items():
        if type(leaf) not in ON_HOST and isinstance(leaf, jax.Array) and leaf.committed:
            ours = ours or state.ring.time.devices()
            if leaf.devices() != ours:
                raise StructureError(
                    f"{show(path)} is on {_names(leaf.devices())}, the replay on {_names(ours)}; put it there with "
                    f"jax.device_put, or give an array of NumPy."
                )


def addresses(index: Any) -> Index:
    """Return the index of a batch, or of any rows."""
    check_index(index)
    return Index(usable(("index", "stream"), index.stream), usable(("index", "time"), index.time))


def priorities(priority: Any) -> np.ndarray:
    """Return priorities that are finite and not negative; their shape is for `Replay.update` to check."""
    if getattr(priority, "dtype", None) != np.float32:
        got = getattr(priority, "dtype", type(priority).__name__)
        raise DtypeError(f"priority must be float32, got {got}; nothing is cast.")
    array = np.array(usable(("priority",), priority))
    if (bad := ~(np.isfinite(array) & (array >= 0))).any():
        raise PriorityError(f"priorities must be finite and not negative, got {array[bad][:3]}.")
    return array


def written(mask: Any) -> Any:
    """Return the mask of an `add`, whose shape and dtype are for `Replay.add` to check."""
    if not isinstance(mask, np.ndarray | np.generic | jax.Array):
        raise DtypeError(f"mask must be a bool array, one entry for each row, got {mask!r}. Write numpy.array(mask).")
    return usable(("mask",), mask)


def first_key(seed: Any) -> jax.Array:
    """Return the key of a seed."""
    try:
        if not isinstance(seed, bool | np.bool_):
            return jax.random.key(operator.index(seed))
    except TypeError:
        pass
    except OverflowError as error:
        raise ConfigurationError(f"seed must fit 64 bits, got {seed}.") from error
    raise ConfigurationError(f"seed must be an int, got {seed!r}; a key can be assigned to buffer.key.")


def one_key(key: Any) -> jax.Array:
    """Return a key, new or old style; refuse several, and what is none."""
    try:
        if isinstance(key, jax.Array) and jax.random.key_data(usable(("key",), key)).ndim == 1:
            return key
    except TypeError:
        pass
    raise ConfigurationError(f"the key of a buffer is one PRNG key, such as jax.random.key(0); got {key!r}.")


def _names(devices: Any) -> str:
    return ", ".join(sorted(map(str, devices)))
