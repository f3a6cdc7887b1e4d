"""Small shells, and all that can be seen of one."""

import jax
import numpy as np

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
    if not size:
        return []
    time = np.arange(end - size, end, dtype=np.int32) % (2**30 // buffer.replay.length * buffer.replay.length)
    rows, present = buffer.replay.get(state, jb.Index(np.zeros(size, np.int32), time))
    assert present.all()
    look = buffer.table.lookup
    missions, notes = look(np.asarray(rows["mission"])), look(np.asarray(rows["notes"]))
    return list(zip(missions, notes, rows["reward"].tolist(), strict=True))


def seen(buffer):
    """Everything that a failed call must leave as it was."""
    state = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(buffer._state)]
    replaced = sorted(np.concatenate([np.zeros(0, np.int32), *buffer._overwritten.ids]).tolist())
    table = list(buffer.table._store.items())
    return state, replaced, table, jax.random.key_data(buffer.key).tolist(), len(buffer)
