"""Peers: the processes of one run that share arrays, and how they meet: over the service that `jax.distributed` has."""

import itertools
import json
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import jax

from jaxbuffers.checkpoint.placing import sharding_of
from jaxbuffers.errors import CheckpointError, DamagedCheckpointError

SLICE = 0.5  # seconds of a wait that Ctrl-C must wait for
_numbers: dict[tuple[int, ...], Iterator[int]] = {}  # of meetings: alike in all processes, which meet in one order
_DAMAGED, _NAMING = "damaged", "naming"


@dataclass(frozen=True)
class Peers:
    """The processes that have a part of some arrays.

    Attributes:
      members: their numbers, ascending. The first one leads.
      here: the number of this one.
      timeout: how many seconds one waits for another.
    """

    members: tuple[int, ...]
    here: int
    timeout: float

    @property
    def leads(self) -> bool:
        """Whether this is the one that speaks for all."""
        return self.here == self.members[0]

    @property
    def place(self) -> int:
        """How many of them come before this one."""
        return self.members.index(self.here)


def peers_of(tree: Any, timeout: float) -> Peers | None:
    """Return the processes that share the arrays of a tree; None if all of it is in this one."""
    shardings = (sharding_of(leaf) for leaf in jax.tree.leaves(tree))
    parted = [each for each in shardings if each is not None and not each.is_fully_addressable]
    if not parted or jax.process_count() == 1:
        return None
    members = tuple(sorted({device.process_index for each in parted for device in each.device_set}))
    if jax.process_index() not in members:
        raise CheckpointError(
            f"process {jax.process_index()} has no part of these arrays; leave it to the processes {members}."
        )
    return Peers(members, jax.process_index(), timeout)


class Meeting:
    """One point in the programs of all peers. What one says there is JSON; its error is raised by those who hear it.

    Attributes:
      peers: the processes.
      refused: whether an error was heard that came before anything was named.
      naming: whether this process has begun to give a file its name, which others may have a part in.
    """

    def __init__(self, peers: Peers) -> None:
        self.peers, self.refused, self.naming = peers, False, False
        self._client = _client()
        number = next(_numbers.setdefault(peers.members, itertools.count()))
        self._key = f"jaxbuffers/{zlib.crc32(repr(peers.members).encode()):08x}/{number}"

    def say(self, topic: str, **what: Any) -> None:
        """Say something to all: the leader."""
        self._set(topic, what)

    def hear(self, topic: str, patience: float = 1.0) -> dict[str, Any]:
        """Return what the leader says, after at most ``patience`` times the timeout."""
        return self._said(topic, self.peers.members[0], time.monotonic() + patience * self.peers.timeout)

    def report(self, **what: Any) -> None:
        """Say something to the leader: the others."""
        self._set(f"from/{self.peers.here}", what)

    def gather(self) -> dict[int, dict[str, Any]]:
        """Return what each of the others reports."""
        deadline = time.monotonic() + self.peers.timeout
        said = {each: self._said(f"from/{each}", each, deadline) for each in self.peers.members[1:]}
        with suppress(jax.errors.JaxRuntimeError):  # only tidying; all have heard the first, and report after
            for each in ("open", "from/"):
                self._client.key_value_delete(f"{self._key}/{each}")
        return said

    @contextmanager
    def telling(self, *topics: str) -> Iterator[None]:
        """Have the others hear of an error in this block, on each of the topics about which nothing is said yet."""
        try:
            yield
        except BaseException as error:
            said = {"error": str(error) or type(error).__name__, _DAMAGED: isinstance(error, DamagedCheckpointError)}
            said |= {_NAMING: self.naming}
            for topic in topics if self.peers.leads else (f"from/{self.peers.here}",):
                with suppress(Exception):  # said already, or nobody is there to hear it
                    self._set(topic, said)
            raise

    @contextmanager
    def all_or_none(self) -> Iterator[dict[str, Any]]:
        """Raise at the end of this block unless every process comes there, with the same in what this yields."""
        seen: dict[str, Any] = {}
        with self.telling("end"):
            yield seen
            if self.peers.leads:
                for each, said in self.gather().items():
                    if said != seen:
                        raise CheckpointError(f"process {each} reads {said}, and this one {seen}.")
                self.say("end")
            else:
                self.report(**seen)
        if not self.peers.leads:
            self.hear("end", 2)

    def _set(self, topic: str, what: dict[str, Any]) -> None:
        with _reached():
            self._client.key_value_set(f"{self._key}/{topic}", json.dumps(what))

    def _said(self, topic: str, who: int, deadline: float) -> dict[str, Any]:
        while (left := deadline - time.monotonic()) > 0:
            with _reached(), suppress(_Late):
                said = self._get(topic, min(SLICE, left))
                if "error" in said:
                    self.refused = not said.get(_NAMING, False)
                    kind = DamagedCheckpointError if said[_DAMAGED] else CheckpointError
                    raise kind(f"process {who}: {said['error']}")
                return said
        raise CheckpointError(
            f"process {who} did not come within {self.peers.timeout:g} s. Each of the processes {self.peers.members} "
            f"must save and restore what they share, in the same order; if all do, one has died, or give a longer "
            f"timeout=."
        )

    def _get(self, topic: str, seconds: float) -> dict[str, Any]:
        try:
            said: dict[str, Any] = json.loads(
                self._client.blocking_key_value_get(f"{self._key}/{topic}", max(1, round(1000 * seconds)))
            )
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" in str(error):
                raise _Late from None
            raise
        return said


class _Late(Exception):
    """Nothing has been said yet."""


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        raise CheckpointError(
            f"the service of jax.distributed, in process 0, cannot be reached: {str(error).splitlines()[0]}"
        ) from error


def _client() -> Any:
    """Return what speaks to the service. JAX has no public name for it; Orbax uses it under this one, too."""
    try:
        from jax._src import distributed

        client = distributed.global_state.client
    except (ImportError, AttributeError):  # pragma: no cover, another JAX
        client = None
    if client is None:
        raise CheckpointError(
            "these arrays lie in several processes, which jax.distributed has not connected: begin each process with "
            "jax.distributed.initialize."
        )
    return client
