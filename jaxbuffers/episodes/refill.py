"""A fresh ring out of a store: its newest episodes, whole, for a replay of whatever size."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbuffers.checks import check_part
from jaxbuffers.episodes.sampling import Where
from jaxbuffers.episodes.where import chosen
from jaxbuffers.errors import ConfigurationError, debug_checks
from jaxbuffers.host.transfers import transfers
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import RowSpec, row_of

BYTES = 2**24  # of rows that are added at once


class Refilled(NamedTuple):
    """What `refill` returns.

    Attributes:
      state: a new state of the replay.
      episodes: how many episodes went in, the newest ones.
      rows: how many rows they have.
      left_out: how many episodes did not go in, older than those.
    """

    state: ReplayState
    episodes: int
    rows: int
    left_out: int


@transfers
def refill(store: Any, replay: Replay, where: Where = None) -> Refilled:
    """Fill an empty replay with the newest episodes of a store, however many streams it has and however long they are.

    Each episode goes, whole, into one stream: from the newest to the oldest, into the one with the most room, until
    one does not fit. In every stream they stand in the order in which they were stored. A replay that was saved with
    another capacity or number of environments is restored in this way.

    In a ring it is ``is_first`` that tells where an episode begins, and ``is_last`` where it ends: rows that have no
    such fields go in as one long run, and its windows reach from one episode into the next, as no window of the store
    does.

    Args:
      store: the store.
      replay: the configuration.
      where: which episodes: bool ``[n]``, or a function of the metadata that returns that.

    Raises:
      ConfigurationError: the newest episode has more rows than a stream keeps.
    """
    check_part("replay", replay, Replay)
    table = store.table()
    some = chosen(table, where)
    ids, length = table["id"][some], table["length"][some]
    streams, count = assigned(length, replay.num_streams, replay.length)
    if len(length) and not count:
        raise ConfigurationError(
            f"the newest episode has {length[-1]} rows, and {replay} keeps {replay.length} of each stream: it needs a "
            f"capacity of at least {int(length[-1]) * replay.num_streams}, or a where= that leaves long episodes out."
        )
    kept = slice(len(ids) - count, None)
    state = _filled(store, replay, ids[kept], length[kept], streams)
    return Refilled(state, count, int(length[kept].sum()), len(ids) - count)


def assigned(length: np.ndarray, streams: int, room: int) -> tuple[np.ndarray, int]:
    """Say into which stream each of the newest episodes goes, and how many of them do.

    Returns:
      int64 ``[count]``, oldest first, and ``count``.
    """
    left = np.full(streams, room)
    found: list[int] = []
    for rows in length[::-1].tolist():
        stream = int(np.argmax(left))
        if left[stream] < rows:
            break
        left[stream] -= rows
        found.append(stream)
    return np.array(found[::-1], np.int64), len(found)


def _filled(store: Any, replay: Replay, ids: np.ndarray, length: np.ndarray, streams: np.ndarray) -> ReplayState:
    spec: RowSpec = store.spec
    state = replay.init(row_of(spec))
    each = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in zip(spec.shapes, spec.dtypes, strict=True))
    queues = [_pieces(ids[streams == e], length[streams == e]) for e in range(replay.num_streams)]
    longest = max((int(length[streams == e].sum()) for e in range(replay.num_streams)), default=0)
    number = int(min(max(BYTES // max(each * replay.num_streams, 1), 1), replay.length, max(longest, 1)))
    for begin in range(0, longest, number):
        lead = (number, replay.num_streams)
        rows = spec.treedef.unflatten([np.zeros(lead + s, d) for s, d in zip(spec.shapes, spec.dtypes, strict=True)])
        mask = np.zeros(lead, np.bool_)
        for stream, pieces in enumerate(queues):
            for episode, first, place, count in _within(pieces, begin, begin + number):
                part = store.read(np.array([episode]), np.array([first]), count)
                for whole, leaf in zip(jax.tree.leaves(rows), jax.tree.leaves(part), strict=True):
                    whole[place - begin : place - begin + count, stream] = leaf[0]
                mask[place - begin : place - begin + count, stream] = True
        if replay.num_envs is None:
            rows, mask = jax.tree.map(lambda x: x[:, 0], rows), mask[:, 0]
        state = _add(replay, state, rows, mask)
    return state


def _pieces(ids: np.ndarray, length: np.ndarray) -> list[tuple[int, int, int]]:
    """Return the episodes of a stream: id, where each begins among its rows, and where it ends."""
    ends = np.cumsum(length)
    return list(zip(ids.tolist(), (ends - length).tolist(), ends.tolist(), strict=True))


def _within(pieces: list[tuple[int, int, int]], begin: int, end: int) -> list[tuple[int, int, int, int]]:
    """Return the parts of a stream's episodes from ``begin`` to ``end``: id, first row, place, how many rows."""
    parts = [(episode, max(a, begin), min(b, end), a) for episode, a, b in pieces]
    return [(episode, first - a, first, last - first) for episode, first, last, a in parts if first < last]


@partial(jax.jit, static_argnums=0, donate_argnums=1)
@debug_checks(False)
def _add(replay: Replay, state: ReplayState, rows: Any, mask: Any) -> ReplayState:
    return replay.add(state, rows, mask)
