"""One checkpoint, saved by all processes that share its arrays.

The leader says which save it is and what it knows of the tree; every process compares that with its own and writes its
share; once all shares are on the disk, the leader publishes the file that names them, by one rename. Whatever happens
before leaves a file that nobody names.
"""

import json
import os
import re
import secrets
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jaxbuffers.checkpoint import file
from jaxbuffers.checkpoint.leaves import called
from jaxbuffers.checkpoint.peers import SLICE, Meeting
from jaxbuffers.checkpoint.publish import publish, sync
from jaxbuffers.checkpoint.shares import share_path, sweep, write_share
from jaxbuffers.checkpoint.snapshot import TREE, Snapshot, header
from jaxbuffers.errors import CheckpointError

TOPICS = "open", "end"  # what the leader has to say in the course of a save


def put_together(path: str, snapshot: Snapshot, check: Callable[[], None], meeting: Meeting) -> None:
    """Write a snapshot of this process, and publish it with those of the others; the leader has the lock.

    Args:
      path: where to.
      snapshot: what.
      check: as for `jaxbuffers.checkpoint.saving.put`.
      meeting: of the processes; it hears of what goes wrong here.
    """
    with meeting.telling(*TOPICS):
        if meeting.peers.leads:
            _lead(path, snapshot, check, meeting)
            return
        share = _follow(path, snapshot, meeting)
    try:
        meeting.hear("end", 2)
    except CheckpointError:
        if meeting.refused:  # else it may yet be, or has been, published
            _remove(share)
        raise


def _lead(path: str, snapshot: Snapshot, check: Callable[[], None], meeting: Meeting) -> None:
    token, count = secrets.token_hex(4), len(meeting.peers.members)
    try:
        meeting.say("open", token=token, name=os.path.basename(path), facts=_facts(snapshot))
        sums = [write_share(path, token, 0, count, snapshot.pieces)]
        sums += [said["sum"] for said in meeting.gather().values()]
        for number in range(count):
            _check_seen(share_path(path, token, number, count), meeting.peers.members[number])
        words = snapshot.words | {"shares": {"token": token, "sums": sums}}

        def write(part: str) -> None:
            file.write(part, header(words), snapshot.arrays)
            check()

        meeting.naming = True
        publish(path, write)
        meeting.say("end")
    finally:  # those of this save, if it failed, or those of the one whose place it took
        with file.translated(path, "write"):
            sync(os.path.dirname(path))  # if names cannot be had on the disk, both sets stay
        sweep(os.path.dirname(path), re.escape(os.path.basename(path)))


def _follow(path: str, snapshot: Snapshot, meeting: Meeting) -> str:
    """Write the share of this process; return where it is."""
    opened, peers = meeting.hear("open"), meeting.peers
    if opened["name"] != os.path.basename(path):
        raise CheckpointError(f"this process saves {path}, and process {peers.members[0]} {opened['name']}.")
    _check_same(opened["facts"], _facts(snapshot), meeting)
    where = share_path(path, opened["token"], peers.place, len(peers.members))
    try:
        total = write_share(path, opened["token"], peers.place, len(peers.members), snapshot.pieces)
    except BaseException as error:
        _remove(where)
        if isinstance(error, CheckpointError):  # perhaps the leader has failed, and swept this share away
            try:
                meeting.hear("end", SLICE / peers.timeout)
            except CheckpointError as theirs:
                if meeting.refused:
                    raise theirs from None
        raise
    meeting.report(sum=total)  # from here on the leader may name it
    return where


def _facts(snapshot: Snapshot) -> dict[str, Any]:
    """Return what must be the same in all processes, as checksums: all but the pieces."""
    facts: dict[str, Any] = {}
    for name, described in snapshot.words["leaves"].items():
        array = snapshot.arrays.get(TREE + name)
        facts[called(name)] = [_sum(described), None if array is None else zlib.crc32(file.bytes_of(array))]
    for each in ("format", "versions", "made_by", "metadata"):
        facts[each] = _sum(snapshot.words[each])
    return facts


def _sum(words: Any) -> int | None:
    return None if words is None else zlib.crc32(json.dumps(words, sort_keys=True).encode())


def _check_same(theirs: dict[str, Any], ours: dict[str, Any], meeting: Meeting) -> None:
    leader, here = meeting.peers.members[0], meeting.peers.here
    said = (
        ours if ours["metadata"] is not None else ours | {"metadata": theirs["metadata"]}
    )  # it may be the leader's alone
    differ = [name for name in theirs | said if theirs.get(name) != said.get(name)]
    if differ:
        more = f", nor {len(differ) - 1} others" if len(differ) > 1 else ""
        raise CheckpointError(
            f"{differ[0]} is not the same in process {here} as in process {leader}{more}. What does not lie on the "
            f"devices of several processes is saved once, and must be the same in all: make an array of all of them "
            f"by jax.make_array_from_process_local_data, or save it apart, in each process to a path of its own."
        )


def _remove(share: str) -> None:
    with suppress(OSError):
        os.remove(share)


def _check_seen(share: str, process: int) -> None:
    if not os.path.lexists(share):
        raise CheckpointError(
            f"process {process} has written {share}, and it is not to be seen here: all processes must save to one "
            f"file system."
        )
