"""save: one checkpoint, at one path."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxbuffers.checkpoint import file
from jaxbuffers.checkpoint.publish import absolute, publish, writing
from jaxbuffers.checkpoint.snapshot import Snapshot, Tables, header, taken
from jaxbuffers.checkpoint.tree import sections
from jaxbuffers.checks import flag
from jaxbuffers.errors import CheckpointError, DamagedCheckpointError


def save(
    path: str | os.PathLike,
    tree: Any,
    *,
    tables: Tables = None,
    store: Any = None,
    metadata: Any = None,
    overwrite: bool = False,
) -> None:
    """Save all that changes in a run to one file, which is there as a whole or not at all, whatever happens meanwhile.

    Args:
      path: where the file will be. Beside it there is, for a while, a file ``.part`` that is written and then renamed,
        and a ``.lock``. What saves that were killed have left is deleted by the next one to the same path.
      tree: any pytree, such as a dict of everything: parameters, optimizer, `ReplayState`, `RecorderState`,
        `RateLimiterState`, `RolloutState`, environments, keys. Its leaves are arrays of JAX and NumPy, PRNG keys,
        ``bool``, ``int``, ``float`` and ``str``; also `HostReplay` and `Demonstrations`, with their texts. Arrays on
        several devices are saved whole.
      tables: where the texts of states are: a `TextTable`, or a dict of several by name. ``{}`` if they are kept
        elsewhere.
      store: an `EpisodeStore`, of which is noted how far it had come; its episodes stay where they are.
      metadata: JSON of the user's own, such as ``{"step": 1000}``; of any length, unlike what is in ``tree``.
      overwrite: whether to take the place of a checkpoint that is there.

    Raises:
      CheckpointError: it cannot be written, there is a file already, or another process saves to the same path. What
        was there is untouched.
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
    where = absolute(path)
    with sections(tree), writing(where):  # in this order, as who calls this may be in a section already
        check_place(where, overwrite)
        snapshot = taken(tree, tables, store, metadata, copy=False)
        put(where, snapshot, partial(check_place, where, overwrite))


def put(path: str, snapshot: Snapshot, check: Callable[[], None]) -> None:
    """Write a snapshot; whoever calls has the lock.

    Args:
      path: where to.
      snapshot: what.
      check: is called when all is written, before what is there now is replaced: a signal handler may have saved.
    """

    def write(part: str) -> None:
        file.write(part, header(snapshot.words), snapshot.arrays)
        check()

    publish(path, write)


def damaged(path: str) -> bool:
    """Whether there is what was a checkpoint, but not a byte of it may be trusted."""
    try:
        with file.opened(path) as reader:
            reader.check()
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
            ours = "jaxbuffers" in reader.words
    except CheckpointError:
        ours = False
    if not ours:
        raise CheckpointError(f"{path} is no checkpoint, or damaged, and is not overwritten; delete it first.")
