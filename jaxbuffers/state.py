"""ReplayState: all that a replay remembers."""

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import struct

from jaxbuffers.checks import check_streams
from jaxbuffers.numerics.materialize import after_small
from jaxbuffers.row import RowSpec
from jaxbuffers.states.made_by import MadeBy, saved_with_maker
from jaxbuffers.states.naming import written
from jaxbuffers.storage.ring import Ring, RingState
from jaxbuffers.windows.base import Windows


@saved_with_maker
@struct.dataclass
class ReplayState:
    """All that a replay remembers: an ordinary pytree, safe to donate, stack, shard and save.

    A state knows what made it, and every verb refuses the state of another configuration, naming what differs: the
    rows kept of a stream, the streams, what makes a window legal, the sampler. What only changes how legal
    windows are read or how many are drawn (``batch_size``, ``n_step``, ``gamma``) is not part of it, and samplers
    that remember nothing (`Uniform`, `Recent`, `Weighted`, a `Mix` of these) may take each other's place.

    `jaxbuffers.checkpoint.save` keeps it as it is. The state dictionaries of ``flax.serialization`` (``to_state_dict``,
    ``to_bytes``) carry it as an entry ``made_by``, and restoring one into the state of another configuration raises.
    Other ways to save, such as Orbax, keep the arrays alone; give them ``to_state_dict(state)``.

    Attributes:
      ring: the rows.
      windows: the bookkeeping of the legal windows, None where arithmetic is enough.
      sampler: what the sampler remembers.
      dropped: int32 ``[]``, how many row writes of `Replay.update` were dropped as stale so far.
      adds: int32 ``[]``, how often `Replay.add` was called so far, whatever its mask; a call with N = 0 rows does not
        count, and from 2**31 - 1 on the counter stays where it is. It depends on nothing that is added or read, so
        under ``jax.vmap`` it stays one number for all seeds, and a ``lax.cond`` on it a branch (``docs/vmap.md``).
      made_by: what made it (static).
    """

    ring: RingState
    windows: Any
    sampler: Any
    dropped: jax.Array
    adds: jax.Array
    made_by: MadeBy = struct.field(pytree_node=False)

    @property
    def spec(self) -> RowSpec:
        """What one row looks like (static)."""
        return cast(RowSpec, self.made_by["row"])


def maker(replay: Any, spec: RowSpec, windows: Windows) -> MadeBy:
    """Return what a state of this replay, for rows like ``spec``, is made by."""
    facts = ("row", spec), ("rows of each stream", replay.length)  # shapes say how many streams: shard_map changes it
    return MadeBy((*facts, *windows.rule, ("sampler", replay.sampler.memory)))


def empty(replay: Any, windows: Windows, sampler: Any) -> ReplayState:
    """Return the state before any add, all counters at zero."""
    return ReplayState(
        ring=windows.ring.init(),
        windows=windows.init(),
        sampler=sampler,
        dropped=jnp.zeros((), jnp.int32),
        adds=jnp.zeros((), jnp.int32),
        made_by=maker(replay, windows.ring.spec, windows),
    )


def kind_of(replay: Any, state: ReplayState) -> Windows:
    """Return what makes a window of this replay legal; refuse a state that another configuration has made."""
    # The configured layout was resolved by init; the state shows which one it was.
    windows: Windows = replay.view.windows(Ring(state.spec, replay.length, replay.num_streams))
    said = {"sampler": written(replay.sampler)} if replay.sampler.memory is None else {}
    state.made_by.require(maker(replay, state.spec, windows), "this replay", **said)
    replay.view.check(state.spec)
    replay.sampler.check(state.spec)
    check_streams(state, replay.length, replay.num_streams)
    return windows


def one_more(adds: jax.Array) -> jax.Array:
    """Count one more call of `Replay.add`; the largest int32 stays, so that a gate once open never closes."""
    return adds + (adds < jnp.iinfo(jnp.int32).max).astype(jnp.int32)


def told(state: ReplayState, sampler: Any) -> ReplayState:
    """Replace what the sampler remembers; later verbs wait until it has read its arrays and the rows."""
    return replace(state, sampler=sampler, ring=replace(state.ring, time=after_small(state.ring.time, sampler)))
