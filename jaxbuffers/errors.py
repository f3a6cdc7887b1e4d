"""The errors a user can meet, and the switch that makes traced code raise too.

Every message names the leaf or the number at fault, what was expected, and what to do.
Construction and trace-time mistakes raise the classes below. Inside ``jit`` a value cannot
raise, so a flag reports it (``batch.valid``, ``batch.mask``, ``state.dropped``); with
`debug_checks` on, the same conditions become `jax.experimental.checkify` checks.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
from jax.experimental import checkify


class StructureError(ValueError):
    """A pytree has other leaves than the row the replay was initialized with."""


class ShapeError(ValueError):
    """A leaf has the wrong shape; nothing is ever broadcast to fit."""


class DtypeError(TypeError):
    """A leaf has the wrong dtype, or one that cannot be stored; nothing is ever cast."""


class MissingFieldError(ValueError):
    """A view or sampler needs a field that the row does not have."""


class IncompleteError(ValueError):
    """A rollout is used before all of it has been written."""


class ConfigurationError(ValueError):
    """A configuration is impossible: a size, a mode or a combination of them."""


class EmptyReplayError(RuntimeError):
    """A replay or a store is sampled before it has a legal window."""


class StaleIndexError(LookupError):
    """A row to be updated has been overwritten since it was sampled, or episodes were chosen by an outdated array."""


class PriorityError(ValueError):
    """A priority is NaN, infinite or negative."""


class UnknownTextError(LookupError):
    """A text id that the table never gave, or whose text it has freed."""


class TextTableFullError(RuntimeError):
    """A text table has reached its ``max_bytes``, or there are no ids left."""


class TextFileError(RuntimeError):
    """A text file cannot be used: damaged, replaced, no text file, of a newer version, or open for writing."""


class StoreError(RuntimeError):
    """An episode store cannot be used: no store, of a newer version, of other rows, open for writing, or disk full."""


class DamagedError(StoreError):
    """Bytes of an episode store are not those that were written; they are named, and never returned."""


class UnknownEpisodeError(LookupError):
    """An episode that a store never had, or has evicted or deleted."""


class TrajectoryError(ValueError):
    """A trajectory, or a part of one, cannot be taken.

    Attributes:
      reason: one word for it: "type", "value", "missing", "unknown", "prompt", "short", "long" or
        "invalid_page".
      place: which part, such as ``steps[3].action.action_string``.
      detail: what is wrong with it, and what to do.
    """

    def __init__(self, reason: str, place: str, detail: str) -> None:
        super().__init__(reason, place, detail)
        self.reason, self.place, self.detail = reason, place, detail

    def __str__(self) -> str:
        return f"{self.place} {self.detail}"

    def within(self, whole: str) -> "TrajectoryError":
        """Return the error as one of a part of ``whole``."""
        part = re.sub(r"^[A-Z]\w*\.?", "", self.place)  # the name of a class
        return TrajectoryError(self.reason, f"{whole}.{part}" if part else whole, self.detail)


class ResponseError(ValueError):
    """What a model answered cannot be read, or an action cannot be written.

    Attributes:
      reason: one word or two for it, such as "no action" or "not JSON".
      place: the character at which it was noticed, counted from 0.
      detail: what is wrong.
    """

    def __init__(self, reason: str, place: int, detail: str) -> None:
        super().__init__(reason, place, detail)
        self.reason, self.place, self.detail = reason, place, detail

    def __str__(self) -> str:
        return f"{self.reason} at character {self.place}: {self.detail}"


class WrongProcessError(RuntimeError):
    """A text table, a buffer, a store or an inbox is used in, or sent to, another process than the one that made it."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read: none is there, the disk is full, another writer, another version."""


class DamagedCheckpointError(CheckpointError):
    """The bytes of a checkpoint are not those that were written, or the file is no checkpoint."""


class OutOfMemoryError(MemoryError):
    """A replay does not fit on its device; says what would."""


class InboxFullError(RuntimeError):
    """An inbox has no room for rows: the learner takes them more slowly than the actors make them."""


class StaleRowsError(RuntimeError):
    """Rows come to an inbox from too old a policy, or from an actor that has been replaced."""


class WorkerError(RuntimeError):
    """A worker process that reads batches ahead has died."""


_debug: ContextVar[bool] = ContextVar("jaxbuffers_debug_checks", default=False)


@contextmanager
def debug_checks(enabled: bool = True) -> Iterator[None]:
    """Make flagged conditions raise, through `jax.experimental.checkify`.

    Functions traced inside this context check that samples are valid and that no write-back
    is stale. Under ``jit`` wrap the function with ``checkify.checkify`` and call ``throw()``
    on the error it returns. The setting is read when a function is traced.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> from jax.experimental import checkify
    >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, view=jb.Items())
    >>> state = replay.init(jnp.zeros(3))
    >>> with jb.debug_checks():
    ...     error, _ = jax.jit(checkify.checkify(replay.sample))(state, jax.random.key(0))
    >>> "no legal window" in error.get()
    True
    """
    token = _debug.set(enabled)
    try:
        yield
    finally:
        _debug.reset(token)


def debugging() -> bool:
    """Say whether `debug_checks` is on."""
    return _debug.get()


def check(condition: jax.Array, message: str, **values: Any) -> None:
    """Raise ``message`` where ``condition`` is False, but only under `debug_checks`."""
    if debugging():
        checkify.check(condition, message, **values)
