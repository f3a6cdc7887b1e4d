"""The preallocated storage of rows: private to this file, users see rows.

Each stream writes its row of absolute time ``t`` into slot ``t mod T``. Small leaves are packed
into one word block; a large leaf keeps a block of its own. Every block is ``[T, E, D / lanes,
lanes]``: time-major, so that an add touches E whole rows, with each row's elements in one flat
run (``lanes = D``) or, on TPU, in whole 128-lane tiles (``docs/decisions/0001-storage.md``).

``time`` counts modulo `cycle`, a multiple of T near 2**30, so slots and ages stay exact for
streams of any length.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from jaxbuffers.row import RowSpec
from jaxbuffers.storage.bits import bits_dtype, from_bits, in_words, through_words, to_bits, zero_where_not
from jaxbuffers.storage.packing import Packing

TPU_LANES = 128


@struct.dataclass
class RingState:
    """Rows of E streams.

    Attributes:
      words: uint32 ``[T, E, W / lanes, lanes]``, the small leaves; or None if there are none.
      blocks: one ``[T, E, D / lanes, lanes]`` array for each large leaf, in the leaf's own dtype
        (narrow floats as integers of their width).
      time: int32 ``[E]``, the time of the next row of each stream, modulo the ring's cycle.
      size: int32 ``[E]``, how many rows of each stream are present, at most T.
    """

    words: jax.Array | None
    blocks: tuple[jax.Array, ...]
    time: jax.Array
    size: jax.Array


@dataclass(frozen=True)
class Ring:
    """A ring of ``length`` rows for each of ``num_streams`` streams of rows like ``spec``.

    Attributes:
      spec: what one row looks like.
      length: T, rows of each stream that are kept.
      num_streams: E.
      tiled: store rows in whole 128-lane tiles (TPU) instead of without any padding.
    """

    spec: RowSpec
    length: int
    num_streams: int
    tiled: bool = False

    @property
    def cycle(self) -> int:
        """Times are counted modulo this multiple of T."""
        return 2**30 // self.length * self.length

    def init(self) -> RingState:
        """Allocate the ring, empty."""
        packing = Packing.of(self.spec)
        size = jnp.zeros(self.num_streams, jnp.int32)
        return RingState(
            words=jnp.zeros(self._block(packing.words), jnp.uint32) if packing.words else None,
            blocks=tuple(
                jnp.zeros(self._block(math.prod(self.spec.shapes[i])), bits_dtype(self.spec.dtypes[i]))
                for i in packing.large
            ),
            time=size,
            size=jnp.zeros(self.num_streams, jnp.int32),
        )

    def add(self, state: RingState, rows: Any, mask: jax.Array) -> tuple[RingState, jax.Array]:
        """Append rows ``[N, E, ...]`` where ``mask`` ``[N, E]`` is True, oldest first; N <= T.

        Returns the ring and the times of the rows, int32 ``[N, E]``.
        """
        rank = jnp.cumsum(mask, axis=0, dtype=jnp.int32)
        time = self.shift(state.time[None], rank - 1)
        stream = jnp.broadcast_to(jnp.arange(self.num_streams, dtype=jnp.uint32), mask.shape)
        state = self.write(state, dict(enumerate(jax.tree.leaves(rows))), time, stream, mask)
        size = jnp.minimum(state.size + rank[-1], self.length)
        return replace(state, time=self.shift(state.time, rank[-1]), size=size), time

    def write(
        self, state: RingState, leaves: dict[int, jax.Array], time: jax.Array, stream: jax.Array, mask: jax.Array
    ) -> RingState:
        """Replace some leaves of the rows at (time, stream) ``[*S]`` where ``mask`` is True.

        Args:
          state: the ring.
          leaves: ``[*S, ...]`` for each leaf to replace, by its number in the row; all for a new row.
          time: ``[*S]``.
          stream: ``[*S]``; the (time, stream) pairs under the mask are distinct.
          mask: bool ``[*S]``.
        """
        packing = Packing.of(self.spec)
        # A masked row goes to a slot of its own past the end, where mode="drop" forgets it.
        past = jnp.uint32(self.length) + jnp.arange(mask.size, dtype=jnp.uint32).reshape(mask.shape)
        slot = jnp.where(mask, self.slot(time), past)

        def scatter(block: jax.Array, flat: jax.Array) -> jax.Array:
            width = block.shape[-2] * block.shape[-1]
            flat = jnp.pad(flat, [(0, 0)] * mask.ndim + [(0, width - flat.shape[-1])])
            rows = flat.reshape(*mask.shape, *block.shape[2:])
            return block.at[slot, stream].set(rows, mode="drop", unique_indices=True)

        blocks = tuple(
            scatter(block, to_bits(leaves[i]).reshape(*mask.shape, math.prod(self.spec.shapes[i])))
            if i in leaves
            else block
            for block, i in zip(state.blocks, packing.large, strict=True)
        )
        words, small = state.words, {i: leaf for i, leaf in leaves.items() if i in packing.small}
        if words is not None and small:
            if len(small) < len(packing.small):
                # Leaves that stay as they are share words with those that do not: read, replace, write.
                kept = self._gather(words, packing.words, slot, stream, mask)
                small = {i: small.get(i, packing.unpack(kept, i)) for i in packing.small}
            words = scatter(words, packing.pack(small, mask.shape))
        return replace(state, words=words, blocks=blocks)

    def read(self, state: RingState, time: jax.Array, stream: jax.Array, mask: jax.Array) -> Any:
        """Gather the rows ``[*S, ...]`` at (time, stream) ``[*S]``, zeroed where ``mask`` is False.

        ``mask`` must be False for every row that is not present (see `present`).
        """
        packing = Packing.of(self.spec)
        slot = self.slot(time)
        leaves: list[Any] = [None] * len(packing.offsets)
        for block, i in zip(state.blocks, packing.large, strict=True):
            shape = self.spec.shapes[i]
            flat = self._gather(block, math.prod(shape), slot, stream, mask)
            leaves[i] = from_bits(flat, self.spec.dtypes[i]).reshape(*slot.shape, *shape)
        if state.words is not None:
            words = self._gather(state.words, packing.words, slot, stream, mask)
            for i in packing.small:
                leaves[i] = packing.unpack(words, i)
        return jax.tree.unflatten(self.spec.treedef, leaves)

    def column(self, state: RingState, leaf: int) -> tuple[jax.Array, jax.Array]:
        """Read one leaf of every slot: ``[T, E, ...]``, and bool ``[T, E]``, which slots hold a row.

        Costs the length of the ring.
        """
        packing, shape = Packing.of(self.spec), self.spec.shapes[leaf]
        slot = jnp.arange(self.length, dtype=jnp.int32)[:, None]
        newest = self.slot(state.time - 1).astype(jnp.int32)[None]
        held = lax.rem(newest - slot + self.length, jnp.int32(self.length)) < state.size[None]
        if state.words is not None and leaf in packing.small:
            words = state.words.reshape(self.length, self.num_streams, -1)
            return packing.unpack(words, leaf), held
        flat = state.blocks[packing.large.index(leaf)].reshape(self.length, self.num_streams, -1)
        flat = flat[..., : math.prod(shape)]
        return from_bits(flat, self.spec.dtypes[leaf]).reshape(self.length, self.num_streams, *shape), held

    def present(self, state: RingState, time: jax.Array, stream: jax.Array) -> jax.Array:
        """Say whether the row of ``stream`` at ``time`` is in the ring now: not future, not overwritten."""
        exists = (stream >= 0) & (stream < self.num_streams) & (time >= 0) & (time < self.cycle)
        age = self.since(state.time[stream], time)  # any number where there is no such stream or time
        return exists & (age >= 1) & (age <= state.size[stream])

    def age(self, state: RingState, time: jax.Array, stream: jax.Array) -> jax.Array:
        """Count the rows of its stream that came after each row: int32, -1 where the row is not `present`."""
        present = self.present(state, time, stream)
        return jnp.where(present, self.shift(state.time[stream], -1 - time), -1)

    def shift(self, time: jax.Array, steps: jax.Array | int) -> jax.Array:
        """Move a time by fewer than `cycle` steps, modulo the cycle."""
        moved = time + steps
        if not isinstance(steps, int) or steps < 0:
            moved = lax.select(moved < 0, moved + self.cycle, moved)
        if not isinstance(steps, int) or steps > 0:
            moved = lax.select(moved >= self.cycle, moved - self.cycle, moved)
        return moved

    def since(self, time: jax.Array, earlier: jax.Array) -> jax.Array:
        """Count the steps from one time, or counter, to a later one, modulo the cycle."""
        steps = time - earlier
        return lax.select(steps < 0, steps + self.cycle, steps)

    def slot(self, time: jax.Array) -> jax.Array:
        """Say in which slot the row of a time lies. Unsigned, so that indexing need not look for negatives."""
        return lax.rem(time, jnp.int32(self.length)).astype(jnp.uint32)

    @staticmethod
    def _gather(block: jax.Array, width: int, slot: jax.Array, stream: jax.Array, mask: jax.Array) -> jax.Array:
        slot, stream = jnp.where(mask, slot, 0), jnp.where(mask, stream, 0).astype(jnp.uint32)
        # Stored rows are data: gradients never run through the ring, however a leaf is stored.
        block = lax.stop_gradient(block)
        wide = partial(through_words, _rows) if in_words(block) else _rows
        rows = lax.platform_dependent(block, slot, stream, mask, cuda=wide, rocm=wide, default=_rows)
        return rows.reshape(*slot.shape, block.shape[-2] * block.shape[-1])[..., :width]

    def _block(self, width: int) -> tuple[int, ...]:
        lanes = TPU_LANES if self.tiled else width
        return (self.length, self.num_streams, -(-width // lanes), lanes)


def _rows(block: jax.Array, slot: jax.Array, stream: jax.Array, mask: jax.Array) -> jax.Array:
    rows: jax.Array = zero_where_not(mask, block.at[slot, stream].get(mode="promise_in_bounds"))
    return rows
