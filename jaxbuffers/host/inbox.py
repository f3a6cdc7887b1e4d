"""Inbox: rows of many actors, in any order, become whole blocks for `Replay.add`."""

import os
import threading
from typing import Any, NamedTuple

import numpy as np

from jaxbuffers.checks import positive
from jaxbuffers.errors import (
    ConfigurationError,
    InboxFullError,
    ShapeError,
    StaleRowsError,
    StructureError,
    WrongProcessError,
)
from jaxbuffers.host.changes import Changes, end_of
from jaxbuffers.host.convert import declared
from jaxbuffers.host.incoming import incoming
from jaxbuffers.host.signals import section
from jaxbuffers.host.streams import Streams
from jaxbuffers.row import RowSpec

_FLAGS = ("is_first", "is_last", "is_terminal")


class InboxBlock(NamedTuple):
    """Rows for one `Replay.add`, which it copies.

    Attributes:
      rows: arrays of NumPy ``[N, E, ...]``, oldest first, with zeros where there is no row.
      mask: bool ``[N, E]``, where there is one.
      staleness: int32 ``[N, E]``, how many versions older than the newest the policy was that made the row; 0 where
        there is no row.
    """

    rows: Any
    mask: np.ndarray
    staleness: np.ndarray


class Inbox:
    """A bounded queue between actors and a learner, for every stream of a replay.

    Each actor owns some streams and puts their rows whenever it has some. `take` gives blocks of one shape, so that a
    jitted ``add`` is compiled once. The rows of a stream keep their order; none is lost, and none comes twice.

    The newest row of a stream waits for its successor, unless ``is_last`` says that there is none: so when an actor
    dies, `lost` can make it the last of its episode, which is thereby truncated. Rows without ``is_last`` never wait.

    Threads may share an inbox; each call is atomic. It belongs to one process: other processes send their rows there.
    What waits in it is part of no checkpoint: `lost` and `take` empty it first, or new actors begin new episodes.

    Args:
      row: one row of one environment, as for `Replay.init`: arrays, dtypes or ``jax.ShapeDtypeStruct``.
      actors: how many there are. Actor a has the streams ``a * num_envs`` to ``(a + 1) * num_envs - 1``.
      num_envs: e, streams of one actor; None for one whose rows have no environment axis.
      length: N, rows of a stream in a block.
      capacity: rows of a stream that can wait, the one that is held back included.
      max_staleness: how many versions older than the newest a policy may be for its rows to be taken in; None for no
        limit.

    Raises:
      ConfigurationError: a size is impossible.
      DtypeError, ShapeError: the row cannot be stored, or its flags are not bool ``[]``.

    >>> import jax, numpy as np, jaxbuffers as jb
    >>> row = {"obs": np.float32, "is_first": np.bool_, "is_last": np.bool_}
    >>> inbox = jb.Inbox(row, actors=2, length=3, capacity=8)
    >>> begun = {"is_first": np.array([True, False]), "is_last": np.array([False, False])}
    >>> inbox.put(1, {"obs": np.float32([5, 6]), **begun})
    >>> inbox.put(0, {"obs": np.float32([1, 2]), **begun})
    >>> inbox.lost(1)
    1
    >>> block = inbox.take()
    >>> np.where(block.mask, block.rows["obs"], np.nan).T  # 2 waits for its successor
    array([[ 1., nan, nan],
           [ 5.,  6., nan]], dtype=float32)
    >>> block.rows["is_last"].T
    array([[False, False, False],
           [False,  True, False]])
    """

    def __init__(
        self,
        row: Any,
        actors: int,
        num_envs: int | None = None,
        *,
        length: int,
        capacity: int,
        max_staleness: int | None = None,
    ) -> None:
        spec = RowSpec.of(declared(row))
        for flag in _FLAGS:
            spec.require_scalar(flag, np.bool_, "an Inbox")
        self.actors = positive("actors", actors)
        self.num_envs = None if num_envs is None else positive("num_envs", num_envs)
        self.length = positive("length", length)
        least = 2 if ("is_last",) in spec.paths else 1  # one is held back
        self.capacity = positive("capacity", capacity, minimum=least)
        self.max_staleness = None if max_staleness is None else positive("max_staleness", max_staleness, minimum=0)
        self._each = self.num_envs or 1
        self._spec = spec
        self._streams = Streams(spec, self.actors * self._each, self.capacity)
        self._here = os.getpid()
        self._own_lock = threading.RLock()
        self._changes = Changes()
        self._version = 0
        self._lives = [0] * self.actors

    def __reduce__(self) -> Any:
        raise WrongProcessError(
            "an Inbox stays in the process that made it, and cannot be copied. Send the rows of other processes here."
        )

    @property
    def num_streams(self) -> int:
        """E, the streams of all actors: ``num_envs`` of the `Replay`."""
        return self.actors * self._each

    @property
    def version(self) -> int:
        """The newest version of the policy, 0 at first; see `announce`."""
        return self._version

    @property
    def waiting(self) -> np.ndarray:
        """How many rows of each stream are here, those held back included: int64 ``[E]``."""
        with self._lock:
            return self._streams.waiting

    def __len__(self) -> int:
        """How many rows are here, of all streams."""
        return int(self.waiting.sum())

    def announce(self, version: int) -> None:
        """Say that there is a new policy.

        Args:
          version: its number, not below that of the last one, and below ``2**31``.
        """
        if (version := positive("version", version, minimum=0)) >= 2**31:
            raise ConfigurationError(f"version must be below 2**31, got {version}.")
        with section(self._lock):
            if version < self._version:
                raise ConfigurationError(f"version must not go down: {self._version} came before {version}.")
            self._version = version

    def put(
        self,
        actor: int,
        rows: Any,
        mask: Any = None,
        *,
        version: int = 0,
        life: int | None = None,
        timeout: float | None = 0.0,
    ) -> None:
        """Append rows to the streams of an actor: all of them or, with an error, none. They are copied.

        A signal's handler that raises while rows are being copied does so when all are here.

        Args:
          actor: its number, from 0.
          rows: in the structure of the declaration, oldest first: leaves ``[e, ...]`` or ``[n, e, ...]``; without
            environments ``[...]`` or ``[n, ...]``. Shapes and dtypes are exactly those declared.
          mask: bool, the leading axes of ``rows``: which of them there are, as `Recorder.step` says; None for all.
          version: of the policy that chose the actions.
          life: what `lost` returned when the actor was replaced, 0 for the first; another means that the rows come from
            a predecessor. None leaves that unchecked.
          timeout: seconds to wait while there is no room; None for no end.

        Raises:
          StructureError, ShapeError, DtypeError: naming the leaf; also where `lost` has ended an episode, and the next
            row is not ``is_first``.
          InboxFullError: there is no room, and no time left to wait for it.
          StaleRowsError: the policy is too old, or the actor has been replaced. Rows that are left out make a gap: call
            `lost` and reset the environments, or the episode would go on behind it.
        """
        actor = self._number(actor)
        version = positive("version", version, minimum=0)
        life = None if life is None else positive("life", life, minimum=0)
        leaves, written = incoming(self._spec, self.num_envs, rows, mask)
        streams = slice(actor * self._each, (actor + 1) * self._each)
        room = self.capacity - written.sum(0)
        if (room < self._streams.holds).any():
            most = self.capacity - self._streams.holds
            raise ShapeError(
                f"{written.sum(0).max()} rows of a stream never fit; at most {most} do. Put fewer at once."
            )
        end = end_of(timeout)
        while True:
            with section(self._lock):
                self._admit(actor, streams, leaves, written, version, life)
                waiting = self._streams.waiting[streams]
                if not (full := waiting > room).any():
                    self._streams.append(streams, leaves, written, version)
                    self._changes.tell()
                    return
                ticket = self._changes.ticket(end)
            if ticket is None:
                which = int(np.argmax(full))
                raise InboxFullError(
                    f"actor {actor}: stream {streams.start + which} holds {waiting[which]} of {self.capacity} rows, "
                    f"and {written.sum(0)[which]} more do not fit. take() blocks, or wait: timeout."
                )
            self._changes.wait(ticket, end)

    def take(self, at_least: int = 1, timeout: float | None = 0.0) -> InboxBlock | None:
        """Remove a block: of every stream the oldest rows, up to N.

        Args:
          at_least: rows that the block must have, from 0, which any block has, to a full one. To wait without end, ask
            for fewer than can wait: rows held back do not count, nor those of a put that finds no room.
          timeout: seconds to wait for so many; None for no end.

        Returns:
          The block, or None if there are not so many. If a signal's handler raises meanwhile, the rows stay here.
        """
        at_least = positive("at_least", at_least, minimum=0)
        if at_least > (most := min(self.length, self.capacity) * self.num_streams):
            raise ConfigurationError(f"at_least={at_least}, but a block has {most} rows, as many as can wait.")
        end = end_of(timeout)
        while True:
            block = None
            with self._lock:  # which is still held if leaving the section raises
                try:
                    with section(self._lock):
                        if np.minimum(self._streams.ready, self.length).sum() >= at_least:
                            block, moved = self._block(), self._streams.moved
                        else:
                            ticket = self._changes.ticket(end)
                    if block is not None:
                        return block
                except BaseException:  # of a signal's handler: nobody gets the block, so its rows stay
                    if block is not None and np.array_equal(moved, self._streams.moved):
                        self._streams.give_back(block.mask)
                    raise
            if ticket is None:
                return None
            self._changes.wait(ticket, end)

    def lost(self, actor: int) -> int:
        """Say that nothing more comes of an actor's episodes: it has died, or is to begin new ones.

        The newest row of each of its streams becomes the last of its episode, which is truncated, unless it has ended
        already. The next row must be a first one.

        Returns:
          The number of the actor's next life, for `put`.
        """
        actor = self._number(actor)
        streams = slice(actor * self._each, (actor + 1) * self._each)
        with section(self._lock):
            self._streams.end(streams)
            self._lives[actor] += 1
            self._changes.tell()
            return self._lives[actor]

    @property
    def _lock(self) -> Any:
        if self._here != os.getpid():
            raise WrongProcessError(
                f"the inbox is in process {self._here}, this is {os.getpid()}: rows put here do not arrive there. Send "
                f"them by a pipe, a queue or Ray, and put them there."
            )
        return self._own_lock

    def _number(self, actor: int) -> int:
        if (actor := positive("actor", actor, minimum=0)) >= self.actors:
            raise ConfigurationError(f"actor must be from 0 to {self.actors - 1}, got {actor}.")
        return actor

    def _block(self) -> InboxBlock:
        rows, mask, versions = self._streams.take(self.length)
        self._changes.tell()
        return InboxBlock(rows, mask, np.where(mask, self._version - versions, 0).astype(np.int32))

    def _admit(
        self, actor: int, streams: slice, leaves: list[np.ndarray], written: np.ndarray, version: int, life: int | None
    ) -> None:
        """Raise unless the rows may come: from this life, of a policy that is not too old, behind what is here."""
        if life is not None and life != self._lives[actor]:
            raise StaleRowsError(
                f"actor {actor} is in life {self._lives[actor]}; these rows come from life {life}, which is over."
            )
        if version > self._version:
            raise ConfigurationError(f"version {version} has not been announced; the newest is {self._version}.")
        if self.max_staleness is not None and self._version - version > self.max_staleness:
            raise StaleRowsError(
                f"actor {actor}: its policy has version {version}, the newest is {self._version}, and "
                f"max_staleness={self.max_staleness}. Send it the weights, call lost({actor}), reset its environments."
            )
        if (bad := self._streams.broken(streams, leaves, written)).any():
            raise StructureError(
                f"actor {actor}: stream {streams.start + int(np.argmax(bad))} was cut by lost(); its next row must be "
                f"is_first. Reset the environment."
            )
