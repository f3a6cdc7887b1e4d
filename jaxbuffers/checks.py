"""Checks of what users hand in: the values of a configuration, and what the verbs get besides rows."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.batch import Index
from jaxbuffers.errors import (
    ConfigurationError,
    DtypeError,
    MissingFieldError,
    ShapeError,
    StructureError,
    check,
    debugging,
)
from jaxbuffers.row import RowSpec, check_leaf, field, paths_of, refuse_masked, show
from jaxbuffers.states.ownership import owned


def positive(name: str, value: Any, minimum: int = 1) -> int:
    """Return an integer of any type, NumPy's too, as a Python ``int``; refuse a bool, and one below ``minimum``."""
    try:
        size = minimum - 1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:  # of what is no integer, or has no value while it is traced
        size = minimum - 1
    if size < minimum:
        whole = isinstance(value, float | np.floating) and value >= minimum and float(value).is_integer()
        hint = f" Write {int(value)}." if whole else ""
        raise ConfigurationError(f"{name} must be an int of at least {minimum}, got {value!r}.{hint}")
    return size


def number(name: str, value: Any, low: float, high: float = math.inf, *, above: bool = False) -> float:
    """Return a real number within bounds as a Python one, exactly; refuse bools and what is not one number.

    Args:
      name: for the error.
      value: an int or a float of Python's, NumPy's or JAX's types; a fraction or a text is none.
      low: the least that is taken; with ``above`` the first that is not.
      high: the most that is taken.
      above: whether ``low`` itself is refused.
    """
    plain = exact(value)
    if plain is None or not low <= plain <= high or (above and plain == low):
        least = "" if low == -math.inf else f" above {low}" if above else f" from {low}"
        most = "" if high == math.inf else f", at most {high}" if above else f" to {high}"
        raise ConfigurationError(f"{name} must be a number{least}{most}, got {value!r}.")
    return plain


def exact(value: Any) -> float | None:
    """Return a real number of any type as a Python ``int`` or ``float`` of the same value; None if it is none."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        if isinstance(value, jax.core.Tracer) or value.shape:
            return None
        if jax.dtypes.issubdtype(value.dtype, np.integer):
            return int(value)
        real = jax.dtypes.issubdtype(value.dtype, np.floating)
        return float(value) if real and float(value) == value else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) else float(value)


def flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, got {value!r}.")


def settle(configuration: Any, **values: Any) -> None:
    """Store checked values in a frozen configuration that is being made."""
    for name, value in values.items():
        object.__setattr__(configuration, name, value)


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a mode that is not one of ``choices``."""
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_part(name: str, value: object, kind: type) -> None:
    """Refuse a view or a sampler that is something else, such as the class itself."""
    if not isinstance(value, kind):
        hint = f" Write {value.__name__}()." if isinstance(value, type) else ""
        raise ConfigurationError(f"{name} must be a {kind.__name__} instance, got {value!r}.{hint}")


def check_memory(sampler: Any, state: Any) -> None:
    """Refuse a sampler that says it remembers nothing, and remembers something."""
    if sampler.memory is None and (not isinstance(state, tuple) or state):
        raise ConfigurationError(f"{sampler} has memory None, but init() returns what it remembers, not ().")


def check_reachable(row: Any, names: tuple[str, ...]) -> None:
    """Refuse a row whose tree names a field that its object does not have."""
    for name in names:
        if field(row, name) is None:
            raise MissingFieldError(f"The row names {name!r} in its tree but has no such attribute or item.")


def check_capacity(capacity: int, streams: int, span: int, view: object) -> None:
    """Refuse a capacity that does not divide into streams, holds no window or needs wider addresses."""
    length = capacity // streams
    if capacity % streams:
        below = capacity // streams * streams
        near = " or ".join(str(size) for size in (below, below + streams) if size)
        raise ConfigurationError(
            f"capacity={capacity} must be a multiple of num_envs={streams}; the nearest sizes are {near}."
        )
    if length < span:
        raise ConfigurationError(
            f"capacity={capacity} keeps {length} rows of each of {streams} streams, but a window of "
            f"{view} reads {span}; capacity must be at least {span * streams}."
        )
    if capacity > 2**30 or length > 2**28:
        raise ConfigurationError(
            f"capacity must be at most 2**30 rows, 2**28 a stream (int32 addresses), got {capacity}."
        )


def check_state(state: object, kind: type) -> None:
    """Refuse what is not a state of this kind."""
    if not isinstance(state, kind):
        hint = " Give its state, buffer.state." if hasattr(state, "state") else " init() returns one."
        raise StructureError(f"the state must be a jb.{kind.__name__}, got {_a(state)}.{hint}")


def check_one(what: str, state: Any) -> None:
    """Refuse the states of several replays in one, where those of one are meant."""
    if np.ndim(state.dropped):
        raise ShapeError(f"{what}: the state is stacked. It goes through jax.vmap, or to the jb.Sharded that made it.")


def check_streams(state: Any, length: int, streams: int) -> None:
    """Refuse a state whose arrays are of other streams, or stacked."""
    axes = (*state.ring.blocks, *jax.tree.leaves(state.ring.words))[0].shape[:-2]
    stacked = len(axes) > 2 or np.ndim(state.dropped)
    if axes == (length, streams) and state.ring.time.shape == (streams,) and not stacked:
        return
    if stacked:
        sizes = f", {axes} instead of {(length, streams)}" if axes != (length, streams) else ""
        raise ShapeError(f"the state is stacked{sizes}: it goes through jax.vmap, or to the jb.Sharded that made it.")
    raise ConfigurationError(
        f"The state comes from another configuration: {axes[0]} rows of each of {axes[1]} streams; this replay has "
        f"{length} of each of {streams}."
    )


def check_key(key: Any) -> None:
    """Refuse what is not one PRNG key."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and (dtype != np.uint32 or shape == ()):
        got = _a(key) if dtype is None else f"{dtype}{list(shape or ())}"
        raise DtypeError(f"key must be a PRNG key, got {got}; write jax.random.key({_seed(key)}).")
    if shape is not None and len(shape) != (0 if typed else 1):
        raise ShapeError(f"one key is needed, got keys of shape {shape}; split them off first, or use vmap.")


def _a(value: object) -> str:
    """Name the type of a value in a message."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _seed(key: Any) -> str:
    known = isinstance(key, int | np.integer) and not isinstance(key, bool)
    return str(int(key)) if known else "seed"


def block(rows: Any, mask: Any, replay: Any, spec: RowSpec) -> tuple[Any, jax.Array]:
    """Return rows with leading axes ``[N, E]``, and the mask of those to write: bool ``[N, E]``."""
    lead = spec.leading(rows)
    shape = (block_size(lead, replay, spec), replay.num_streams)
    written = row_mask(mask, lead).reshape(shape)
    return jax.tree.map(lambda x: jnp.asarray(x).reshape(*shape, *x.shape[len(lead) :]), rows), written


def block_size(lead: tuple[int, ...], replay: Any, spec: RowSpec) -> int:
    """Return N of rows with leading axes ``[N, E]``, 1 for ``[E]``; refuse others, and more than a stream keeps."""
    streams = () if replay.num_envs is None else (replay.num_envs,)
    if lead[len(lead) - len(streams) :] != streams or len(lead) - len(streams) not in (0, 1):
        axes = "".join(f"{size}, " for size in streams)
        wanted = f"[{axes}...] or [N, {axes}...] for num_envs={replay.num_envs}"
        hint = ""
        if streams and len(lead) < 2 and all(shape[:1] == streams for shape in spec.shapes):
            hint = " All leaves of the row given to init() begin with that axis themselves; give it one environment's."
        raise ShapeError(f"rows must have leaves {wanted}; got leading axes {lead}.{hint}")
    number = lead[0] if len(lead) > len(streams) else 1
    if number > replay.length:
        raise ShapeError(
            f"{number} rows a stream do not fit in {replay.length} (capacity {replay.capacity} over "
            f"{replay.num_streams} streams): the first would be overwritten at once. Add fewer at a time."
        )
    return number


def check_no_flags(rows: Any, view: object) -> None:
    """Refuse to replace the flags that decided which windows are legal."""
    for path in paths_of(rows):
        if path[:1] in (("is_first",), ("is_last",)):
            raise StructureError(
                f"update(rows=...) names {show(path)}, but which windows of {view} are legal has been decided by it "
                f"already. Give the right flags to add()."
            )


def check_index(index: Index) -> None:
    """Refuse an index whose two arrays are not int32 of one shape."""
    if not isinstance(index, Index):
        raise StructureError(f"index must be a jb.Index, such as batch.index; got a {type(index).__name__}.")
    for name in ("stream", "time"):
        check_leaf(("index", name), getattr(index, name), (), np.dtype(np.int32))
    if index.stream.shape != index.time.shape:
        raise ShapeError(
            f"index.stream has shape {index.stream.shape}, index.time {index.time.shape}: make them equal."
        )


def checked_index(index: Index) -> Index:
    """Return an index that `check_index` accepts, NumPy arrays copied."""
    check_index(index)
    return owned(index)


def check_places(legal: Any, index: Index) -> None:
    """Refuse an index that names streams or times that no row of this replay ever has, where its values are known."""
    known = not any(isinstance(x, jax.core.Tracer) for x in (index.stream, index.time, legal.ring.time))
    if not known and not debugging():
        return
    stream, time = jax.tree.map(np.asarray, (index.stream, index.time)) if known else (index.stream, index.time)
    real = (stream >= 0) & (stream < legal.num_streams) & (time < legal.cycle)
    wrong = ((time >= 0) & ~real).sum()
    if not known:
        check(wrong == 0, "update: {n} entries of the index name streams or times of another replay", n=wrong)
    elif wrong:
        raise ShapeError(
            f"{wrong} entries of the index name streams or times that this replay never has: it has streams 0 to "
            f"{legal.num_streams - 1}. The index comes from another replay."
        )


def check_priority(sampler: Any, priority: Any, index: Index, anchor: Index | None) -> None:
    """Refuse priorities that the sampler does not take, or that are not float32 ``[B]``."""
    if not sampler.takes_priority:
        raise ConfigurationError(f"{sampler!r} takes no priority; leave it out (see replay.sampler.takes_priority).")
    if anchor is None:
        raise ShapeError(f"priority needs a whole batch.index; the given one has shape {index.time.shape}.")
    refuse_masked("priority", priority)
    if getattr(priority, "dtype", None) != np.float32:
        got = getattr(priority, "dtype", type(priority).__name__)
        raise DtypeError(f"priority must be float32, got {got}; convert it: jnp.asarray(priority, jnp.float32).")
    if priority.shape != anchor.time.shape:
        raise ShapeError(f"priority has shape {priority.shape}, expected {anchor.time.shape}: one for each window.")


def row_mask(mask: Any, lead: tuple[int, ...]) -> jax.Array:
    """Return the mask of rows with leading axes ``lead``: all of them, if None was given."""
    if mask is None:
        return jnp.ones(lead, jnp.bool_)
    refuse_masked("mask", mask)
    got = f"{mask.dtype}{list(mask.shape)}" if hasattr(mask, "dtype") else repr(mask)
    hint = "" if hasattr(mask, "dtype") else " Write numpy.array(mask)."
    wanted = f"mask must be a bool array of shape {list(lead)}, one for each row; got {got}.{hint}"
    if not hasattr(mask, "dtype") or mask.dtype != np.bool_:
        raise DtypeError(wanted)
    if mask.shape != lead:
        raise ShapeError(wanted)
    return jnp.asarray(mask)


def episode_flags(rows: Any, written: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return ``is_first`` and ``is_last`` of rows, each False throughout where they have none: ``[N, E]``."""
    first, last, terminal = (_flag(rows, name, written.shape) for name in ("is_first", "is_last", "is_terminal"))
    if debugging() and field(rows, "is_last") is last:
        alone = jnp.any(written & terminal & ~last)
        check(~alone, "add: a row is_terminal but not is_last; it must be the last of its episode")
    return first, last


def _flag(rows: Any, name: str, shape: tuple[int, ...]) -> jax.Array:
    # Views that look at episodes have checked their flags at init; to others the name may mean anything.
    flag = field(rows, name)
    ours = isinstance(flag, jax.Array) and flag.dtype == jnp.bool_ and flag.shape == shape
    return flag if ours else jnp.zeros(shape, jnp.bool_)
