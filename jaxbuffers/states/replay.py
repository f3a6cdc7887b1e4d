"""ReplayState: all that a replay remembers."""

from typing import Any, cast

import jax
from flax import struct

from jaxbuffers.row import RowSpec
from jaxbuffers.states.made_by import MadeBy, saved_with_maker
from jaxbuffers.storage.ring import RingState


@saved_with_maker
@struct.dataclass
class ReplayState:
    """All that a replay remembers: an ordinary pytree, safe to donate, stack, shard and save.

    A state knows what made it, and every verb refuses the state of another configuration, naming what differs: the
    rows kept of a stream, the streams, what makes a window legal, the sampler. What only changes how legal
    windows are read or how many are drawn (``batch_size``, ``n_step``, ``gamma``) is not part of it, and samplers
    that remember nothing (`Uniform`, `Recent`, `Weighted`, a `Mix` of these) may take each other's place.

    The state dictionaries of ``flax.serialization`` (``to_state_dict``, ``to_bytes``) carry it as an entry
    ``made_by``, and restoring one into the state of another configuration raises. Other ways to save, such as
    Orbax, keep the arrays alone; give them ``to_state_dict(state)``.

    Attributes:
      ring: the rows.
      queue: the legal windows, where counting them needs a queue.
      sampler: what the sampler remembers.
      dropped: int32 ``[]``, how many row writes of `Replay.update` were dropped as stale so far.
      made_by: what made it (static).
    """

    ring: RingState
    queue: Any
    sampler: Any
    dropped: jax.Array
    made_by: MadeBy = struct.field(pytree_node=False)

    @property
    def spec(self) -> RowSpec:
        """What one row looks like (static)."""
        return cast(RowSpec, self.made_by["row"])
