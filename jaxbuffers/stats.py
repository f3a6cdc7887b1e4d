"""stats: what a replay holds and how it has been used, as arrays that can be logged."""

import jax
import jax.numpy as jnp

from jaxbuffers.checks import check_one
from jaxbuffers.replay import ReplayState
from jaxbuffers.row import field
from jaxbuffers.samplers.reporting import under
from jaxbuffers.states.explicit import REPLAY, in_our_words
from jaxbuffers.states.ownership import owned, unshared
from jaxbuffers.storage.ring import Ring


@in_our_words(REPLAY)
def stats(state: ReplayState) -> dict[str, jax.Array]:
    """Describe a replay: a flat dict of arrays, under ``jit`` too.

    Reads the flags of every row, so it costs O(rows): for a log, not for every step.

    Returns:
      ``rows``: int32 ``[]``, rows present. ``rows_per_stream``, ``rows_added``: int32 ``[E]``; the
      second modulo the ring's cycle. ``age_of_oldest``: int32 ``[E]``, -1 for an empty stream.
      ``dropped``: stale rows of `Replay.update`. ``adds``: calls of `Replay.add`.

      Where rows have ``is_first``: ``episodes``: int32 ``[]``, of which a row is present;
      ``mean_episode_rows``: float32 ``[]``. Where windows are queued: ``windows``, int32 ``[E]``, and
      ``too_long``, episodes too long for `Episodes`.

      From the sampler, under ``sampler/`` and once more for each sampler inside another:
      ``uses`` int32 ``[16]`` (`Counted`: windows used 0, 1, 2-3, 4-7, ... times) and ``mean_uses``;
      ``priorities`` int32 ``[16]`` and ``priority_edges`` float32 ``[17]`` (`Prioritized`: legal windows
      by weight, in equal steps of its logarithm), ``total_weight``, ``highest``, ``stale``, ``refused``; ``ranks``
      int32 ``[96]`` (`RankBased`: windows by class); ``missed`` and ``queued`` (`OnlineFirst`); ``to_come``
      and ``waiting`` (`WithoutReplacement`); ``groups`` int32 ``[G + 1]`` (`Clustered`: windows of
      each group, and of none). A sampler of your own reports what the method ``stats()`` of its state returns.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=2, batch_size=4, sampler=jb.Counted(jb.Uniform()))
    >>> state = replay.init({"is_first": jnp.bool_(False)})
    >>> for first in (True, False, True):
    ...     state = replay.add(state, {"is_first": jnp.array([first, first])})
    >>> found = jb.stats(replay.update(state, replay.sample(state, jax.random.key(0)).index))
    >>> int(found["rows"]), int(found["episodes"]), round(float(found["sampler/mean_uses"]), 3)
    (6, 4, 0.667)
    """
    check_one("stats", state)
    given, state = state, owned(state)
    ring = state.ring
    found = {
        "rows": jnp.sum(ring.size, dtype=jnp.int32),
        "rows_per_stream": ring.size,
        "rows_added": ring.time,
        "age_of_oldest": ring.size - 1,
        "dropped": state.dropped,
        "adds": state.adds,
    }
    found |= _episodes(state)
    if state.windows is not None:
        found |= state.windows.stats()
    return unshared(found | under("sampler", state.sampler), given)


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
