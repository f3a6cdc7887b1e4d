"""save: one checkpoint, at one path."""

import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

from jaxbuffers.checkpoint import file
from jaxbuffers.checkpoint.peers import Meeting, peers_of
from jaxbuffers.checkpoint.publish import absolute, publish, writing
from jaxbuffers.checkpoint.shares import Shares, sweep
from jaxbuffers.checkpoint.snapshot import Snapshot, Tables, header, taken
from jaxbuffers.checkpoint.together import TOPICS, put_together
from jaxbuffers.checkpoint.tree import sections
from jaxbuffers.checkpoint.words import words_of
from jaxbuffers.checks import flag, number
from jaxbuffers.errors import CheckpointError, DamagedCheckpointError


def save(
    path: str | os.PathLike,
    tree: Any,
    *,
    tables: Tables = None,
    store: Any = None,
    metadata: Any = None,
    overwrite: bool = False,
    timeout: float = 300.0,
) -> None:
    """Save all that changes in a run to one file, which is there as a whole or not at all, whatever happens meanwhile.

    Args:
      path: where the file will be. Beside it there is, for a while, a file ``.part`` that is written and then renamed,
        and a ``.lock``. What saves that were killed have left is deleted by the next one to the same path.
      tree: any pytree, such as a dict of everything: parameters, optimizer, `ReplayState`, `RecorderState`,
        `RateLimiterState`, `RolloutState`, environments, keys. Its leaves are arrays of JAX and NumPy, PRNG keys,
        ``bool``, ``int``, ``float`` and ``str``; also `HostReplay` and `Demonstrations`, with their texts. Arrays on
        several devices are saved as they are, for any other devices to take.
      tables: where the texts of states are: a `TextTable`, or a dict of several by name. ``{}`` if they are kept
        elsewhere.
      store: an `EpisodeStore`, of which is noted how far it had come; its episodes stay where they are.
      metadata: JSON of the user's own, such as ``{"step": 1000}``; of any length, unlike what is in ``tree``.
      overwrite: whether to take the place of a checkpoint that is there.
      timeout: seconds to wait for another process, where several share the arrays of ``tree`` under
        ``jax.distributed``. Then each of them must call this with the same path. Each writes its share to a file of its
        own, beside ``path``; what is not shared must be the same in all and is saved once, ``metadata`` may be given by
        the first of them alone.

    Raises:
      CheckpointError: it cannot be written, there is a file already, another process saves to the same path, or one
        that shares the tree did not come in time. What was there is untouched.
      DtypeError: a leaf, which is named, is nothing that a checkpoint holds; or ``metadata`` is not JSON.
      StructureError: an array has no values, two leaves have one name, or there are texts without their table.

    >>> import pathlib, tempfile, jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=2, view=jb.Items())
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.float32(1.5))
    >>> path = pathlib.Path(tempfile.mkdtemp(), "run")
    >>> jb.checkpoint.save(path, {"replay": state, "key": jax.random.key(0)}, metadata={"step": 1})
    >>> saved = jb.checkpoint.restore(path, {"replay": replay.init(jnp.float32(0)), "key": jax.random.key(1)})
    >>> int(replay.size(saved.tree["replay"])), saved.metadata
    (1, {'step': 1})
    """
    flag("overwrite", overwrite)
    number("timeout", timeout, 0, above=True)
    where = absolute(path)
    meeting = meeting_of(tree, timeout)
    leads = meeting is None or meeting.peers.leads
    # In this order, as who calls this may be in a section already.
    with told(meeting), sections(tree), writing(where) if leads else nullcontext():
        if leads:
            check_place(where, overwrite)
        snapshot = taken(tree, tables, store, metadata, copy=False, shared=meeting is not None)
        put(where, snapshot, partial(check_place, where, overwrite), meeting)


def put(path: str, snapshot: Snapshot, check: Callable[[], None], meeting: Meeting | None = None) -> None:
    """Write a snapshot; whoever calls has the lock.

    Args:
      path: where to.
      snapshot: what.
      check: is called when all is written, before what is there now is replaced: a signal handler may have saved.
      meeting: of the processes that save their shares of it; None where all is in this one.
    """
    if meeting is not None:
        put_together(path, snapshot, check, meeting)
        return

    def write(part: str) -> None:
        file.write(part, header(snapshot.words), snapshot.arrays)
        check()

    publish(path, write)
    sweep(os.path.dirname(path), re.escape(os.path.basename(path)))


def meeting_of(tree: Any, timeout: float) -> Meeting | None:
    """Return the meeting of the processes that share a tree; None if all of it is in this one."""
    peers = peers_of(tree, timeout)
    return None if peers is None else Meeting(peers)


def told(meeting: Meeting | None) -> AbstractContextManager[None]:
    """Have the others hear of what goes wrong in this block."""
    return nullcontext() if meeting is None else meeting.telling(*TOPICS)


def damaged(path: str) -> bool:
    """Whether there is what was a checkpoint, but not a byte of it may be trusted."""
    try:
        with file.opened(path) as reader, ExitStack() as stack:
            reader.check()
            Shares(path, words_of(reader), stack).check()
    except DamagedCheckpointError:
        with file.translated(path, "read"), open(path, "rb") as found:
            return b"jaxbuffers" in found.read(64)  # else it may be another one's
    except CheckpointError:  # none there
        return False
    return False


def check_place(path: str, overwrite: bool) -> None:
    """Refuse to take the place of another file than a checkpoint, or of any unless told so."""
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise CheckpointError(f"{path} exists already; nothing is overwritten. Save elsewhere, or give overwrite=True.")
    try:
        with file.opened(path) as reader:
            ours = "jaxbuffers" in reader.words and "share" not in json.loads(reader.words["jaxbuffers"])
    except CheckpointError:
        ours = False
    if not ours:
        raise CheckpointError(f"{path} is no checkpoint, or damaged, and is not overwritten; delete it first.")
