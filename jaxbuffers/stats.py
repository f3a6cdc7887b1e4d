"""stats: what a replay holds and how it has been used, as arrays that can be logged."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbuffers.numerics import count_tree
from jaxbuffers.replay import ReplayState
from jaxbuffers.row import field
from jaxbuffers.samplers.clustered import ClusteredState
from jaxbuffers.samplers.counted import CountedState
from jaxbuffers.samplers.online_first import OnlineState
from jaxbuffers.samplers.prioritized import PrioritizedState
from jaxbuffers.samplers.rank_based import RankState
from jaxbuffers.samplers.without_replacement import EpochState
from jaxbuffers.states.ownership import owned, unshared
from jaxbuffers.storage.ring import Ring
from jaxbuffers.windows.queue import QueueState

BINS = 16


def stats(state: ReplayState) -> dict[str, jax.Array]:
    """Describe a replay: a flat dict of arrays, under ``jit`` too.

    Reads the flags of every row, so it costs O(rows): for a log, not for every step.

    Returns:
      ``rows``: int32 ``[]``, rows present. ``rows_per_stream``, ``rows_added``: int32 ``[E]``; the
      second modulo the ring's cycle. ``age_of_oldest``: int32 ``[E]``, -1 for an empty stream.
      ``dropped``: stale rows of `Replay.update`.

      Where rows have ``is_first``: ``episodes``: int32 ``[]``, of which a row is present;
      ``mean_episode_rows``: float32 ``[]``. Where windows are queued: ``windows``, int32 ``[E]``, and
      ``too_long``, episodes too long for `Episodes`.

      From the sampler, under ``sampler/`` and once more for each sampler inside another:
      ``uses`` int32 ``[16]`` (`Counted`: windows used 0, 1, 2-3, 4-7, ... times) and ``mean_uses``;
      ``priorities`` int32 ``[16]`` and ``priority_edges`` float32 ``[17]`` (`Prioritized`: legal windows
      by weight, in equal steps of its logarithm), ``total_weight``, ``highest``, ``stale``, ``refused``; ``ranks``
      int32 ``[96]`` (`RankBased`: windows by class); ``missed`` and ``queued`` (`OnlineFirst`); ``to_come``
      and ``waiting`` (`WithoutReplacement`); ``groups`` int32 ``[G + 1]`` (`Clustered`: windows of
      each group, and of none).

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=2, batch_size=4, sampler=jb.Counted(jb.Uniform()))
    >>> state = replay.init({"is_first": jnp.bool_(False)})
    >>> for first in (True, False, True):
    ...     state = replay.add(state, {"is_first": jnp.array([first, first])})
    >>> found = jb.stats(replay.update(state, replay.sample(state, jax.random.key(0)).index))
    >>> int(found["rows"]), int(found["episodes"]), round(float(found["sampler/mean_uses"]), 3)
    (6, 4, 0.667)
    """
    given, state = state, owned(state)
    ring = state.ring
    found = {
        "rows": jnp.sum(ring.size, dtype=jnp.int32),
        "rows_per_stream": ring.size,
        "rows_added": ring.time,
        "age_of_oldest": ring.size - 1,
        "dropped": state.dropped,
    }
    found |= _episodes(state)
    queue = getattr(state.queue, "windows", state.queue)
    if isinstance(queue, QueueState):
        length, streams = queue.starts.shape
        windows = Ring(state.spec, length, streams).shift(queue.made, -queue.gone)
        found |= {"windows": windows, "too_long": queue.too_long}
    return unshared(found | {f"sampler/{name}": value for name, value in _sampler(state.sampler).items()}, given)


def _episodes(state: ReplayState) -> dict[str, jax.Array]:
    blocks = (*state.ring.blocks, *jax.tree.leaves(state.ring.words))
    length, streams = blocks[0].shape[:2]
    ring = Ring(state.spec, length, streams)
    shape = (length, streams)
    rank, stream = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    present = rank < state.ring.size[None]
    time = jnp.where(present, ring.shift((state.ring.time - state.ring.size)[None], rank), 0)
    rows = ring.read(state.ring, time, stream, present)
    first = field(rows, "is_first")
    if not isinstance(first, jax.Array) or first.dtype != jnp.bool_ or first.shape != shape:
        return {}
    last = field(rows, "is_last", jnp.zeros_like(first))
    opens = first | jnp.concatenate([jnp.ones((1, streams), jnp.bool_), last[:-1]])
    count = jnp.sum(opens & present, dtype=jnp.int32)
    total = jnp.sum(state.ring.size, dtype=jnp.int32)
    mean = total.astype(jnp.float32) / jnp.maximum(count, 1).astype(jnp.float32)
    return {"episodes": count, "mean_episode_rows": mean}


def _sampler(state: Any) -> dict[str, jax.Array]:
    if isinstance(state, tuple):
        return {f"{i}/{name}": value for i, part in enumerate(state) for name, value in _sampler(part).items()}
    if isinstance(state, CountedState):
        return _uses(state.uses) | _inside("counted", state.sampler)
    if isinstance(state, OnlineState):
        return {"queued": state.queued, "missed": state.missed} | _inside("then", state.then)
    if isinstance(state, PrioritizedState):
        return _priorities(state)
    if isinstance(state, RankState):
        return {"ranks": count_tree.sizes(state.tree), "stale": state.stale, "refused": state.refused}
    if isinstance(state, ClusteredState):
        return {"groups": count_tree.sizes(state.tree), "refused": state.refused}
    if isinstance(state, EpochState):
        to_come = jnp.sum(state.tree.group == state.side, dtype=jnp.int32)
        return {"to_come": to_come, "waiting": jnp.sum(state.tree.group == 1 - state.side, dtype=jnp.int32)}
    return {}


def _inside(name: str, state: Any) -> dict[str, jax.Array]:
    return {f"{name}/{key}": value for key, value in _sampler(state).items()}


def _uses(uses: jax.Array) -> dict[str, jax.Array]:
    real = uses >= 0
    octave = jnp.zeros_like(uses)
    for power in range(BINS - 1):
        octave = octave + (uses >= 2**power).astype(jnp.int32)
    total = jnp.sum(jnp.where(real, uses, 0).astype(jnp.float32))
    mean = total / jnp.maximum(jnp.sum(real, dtype=jnp.int32), 1).astype(jnp.float32)
    return {"uses": _histogram(octave, real), "mean_uses": mean}


def _priorities(state: PrioritizedState) -> dict[str, jax.Array]:
    weights = state.tree[0]
    real = weights > 0
    logs = jnp.log(jnp.where(real, weights, 1))
    far = np.float32(128)  # farther than the logarithm of any float32
    low = jnp.where(jnp.any(real), jnp.min(jnp.where(real, logs, far)), 0)
    high = jnp.maximum(jnp.max(jnp.where(real, logs, -far)), low)
    step = jnp.maximum((high - low) / BINS, np.float32(1e-6))
    bin_of = jnp.clip(((logs - low) / step).astype(jnp.int32), 0, BINS - 1)
    return {
        "priorities": _histogram(bin_of, real),
        "priority_edges": jnp.exp(low + step * jnp.arange(BINS + 1, dtype=jnp.float32)),
        "total_weight": jnp.sum(weights),
        "highest": state.highest,
        "stale": state.stale,
        "refused": state.refused,
    }


def _histogram(bin_of: jax.Array, real: jax.Array) -> jax.Array:
    return jnp.stack([jnp.sum(real & (bin_of == b), dtype=jnp.int32) for b in range(BINS)])
