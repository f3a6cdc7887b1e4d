"""Small shells, and all that can be seen of one."""

import functools

import jax
import numpy as np
from oracle import quick_jit

import jaxbuffers as jb

FIELDS = {"mission": jb.text, "notes": jb.text[3], "reward": np.float32}


def shell(capacity=4, num_envs=None, batch_size=2, view=None, sampler=None, fields=None, **options):
    """A `HostReplay`; few configurations, so that few are compiled."""
    replay = jb.Replay(capacity, num_envs, batch_size, view or jb.Items(), sampler or jb.Uniform())
    return jb.HostReplay(replay, fields or FIELDS, **options)


def contents(buffer, state=None):
    """The rows of a single stream, oldest first: lists of ``(mission, notes, reward)``."""
    state = buffer._state if state is None else state  # not .state, which would end donation
    end, size = int(state.ring.time[0]), int(state.ring.size[0])
    length = buffer.replay.length
    time = np.arange(end - length, end, dtype=np.int32) % (2**30 // length * length)
    rows, present = _getting(buffer.replay)(state, jb.Index(np.zeros(length, np.int32), time))
    assert present.tolist() == [False] * (length - size) + [True] * size
    look, rows = buffer.table.lookup, jax.tree.map(lambda x: np.asarray(x)[length - size :], rows)
    return list(zip(look(rows["mission"]), look(rows["notes"]), rows["reward"].tolist(), strict=True))


@functools.cache
def _getting(replay):
    return quick_jit(replay.get)


def seen(buffer):
    """Everything that a failed call must leave as it was."""
    state = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(buffer._state)]
    replaced = sorted(np.concatenate([np.zeros(0, np.int32), *buffer._overwritten.ids]).tolist())
    table = list(buffer.table._store.items())
    return state, replaced, table, jax.random.key_data(buffer.key).tolist(), len(buffer)
