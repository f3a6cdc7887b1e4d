"""Mix: fixed parts of every batch from several samplers."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from jaxbuffers.batch import Draw, Index
from jaxbuffers.checks import check_part, number, settle
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.numerics.materialize import materialize
from jaxbuffers.numerics.random_bits import split
from jaxbuffers.row import RowSpec
from jaxbuffers.samplers.base import Sampler
from jaxbuffers.windows.base import Added, Turnover, Windows
from jaxbuffers.windows.legal import Legal

Part = tuple[float, Sampler]


@dataclass(frozen=True, init=False, repr=False)
class Mix(Sampler[tuple[Any, ...]]):
    """Draw a fixed part of each batch with each of several samplers.

    A batch of B windows has ``fraction * B`` from each, rounded so that they add up to B (largest remainder),
    in the order of the parts. ``batch.probability`` is the mixture's, whichever part pointed at the window: the sum
    over the parts of n / B times the probability under that sampler. Priorities reach those
    that take them. The batch is valid if every part's is.

    Args:
      *pairs: pairs of a fraction and a sampler; the fractions add up to 1. Every sampler will do that says
        how likely a window is, which is all but `OnlineFirst` and what holds one; write ``OnlineFirst(Mix(...))``.
      parts: the same as one tuple, for ``dataclasses.replace``.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> mix = jb.Mix((0.5, jb.Uniform()), (0.5, jb.Recent(horizon=1)))
    >>> replay = jb.Replay(capacity=4, num_envs=None, batch_size=4, sampler=mix)
    >>> state = replay.add(replay.init(jnp.float32(0)), jnp.arange(4.0))
    >>> batch = replay.sample(state, jax.random.key(0))
    >>> batch.data[2:]  # the second half is the newest row
    Array([3., 3.], dtype=float32)
    >>> bool(jnp.all(batch.probability == jnp.where(batch.data == 3, 0.625, 0.125)))
    True
    """

    parts: tuple[Part, ...]

    def __init__(self, *pairs: Part, parts: tuple[Part, ...] = ()) -> None:
        if not isinstance(parts, tuple):
            raise ConfigurationError(f"parts must be a tuple of pairs (fraction, sampler), got {parts!r}.")
        parts = (*pairs, *parts)
        if not parts:
            raise ConfigurationError("Mix() takes at least one pair (fraction, sampler).")
        checked: list[Part] = []
        for part in parts:
            if not isinstance(part, tuple) or len(part) != 2:
                hint = " Write Mix(*parts)." if isinstance(part, list | tuple) else ""
                raise ConfigurationError(f"Mix() takes pairs (fraction, sampler), got {part!r}.{hint}")
            fraction, sampler = part
            check_part("a part's sampler", sampler, Sampler)
            checked.append((number("a fraction", fraction, 0, 1, above=True), sampler))
            if not sampler.says_probability:
                raise ConfigurationError(
                    f"{sampler} does not say how likely a window is (Sampler.says_probability), "
                    f"so the probabilities of a mixture with it are unknown. OnlineFirst(then=Mix(...)) is possible."
                )
        total = math.fsum(fraction for fraction, _ in checked)
        if abs(total - 1) > 1e-6:
            raise ConfigurationError(f"the fractions must add up to 1, they add up to {total}.")
        settle(self, parts=tuple(checked))

    def __repr__(self) -> str:
        return f"Mix({', '.join(map(repr, self.parts))})"

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """The samplers of the parts."""
        return tuple(sampler for _, sampler in self.parts)

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for sampler in self.samplers for name in sampler.fields))

    @property
    @override
    def takes_priority(self) -> bool:
        return any(sampler.takes_priority for sampler in self.samplers)

    @property
    @override
    def memory(self) -> tuple[Any, ...] | None:
        """What each remembers; None if none does. The fractions are not part of it."""
        parts = tuple(sampler.memory for sampler in self.samplers)
        return None if all(part is None for part in parts) else ("Mix", *parts)

    @override
    def check(self, spec: RowSpec) -> None:
        for sampler in self.samplers:
            sampler.check(spec)

    def sizes(self, batch_size: int) -> tuple[int, ...]:
        """How many windows of a batch come from each part."""
        total = math.fsum(fraction for fraction, _ in self.parts)
        exact = [fraction * batch_size / total for fraction, _ in self.parts]
        sizes = [math.floor(part + 1e-6) for part in exact]
        by_remainder = sorted(range(len(exact)), key=lambda i: (sizes[i] - exact[i], i))
        for i in by_remainder[: batch_size - sum(sizes)]:
            sizes[i] += 1
        return tuple(sizes)

    @override
    def init(self, windows: Windows) -> tuple[Any, ...]:
        """What each remembers; ``()`` if none does."""
        states = tuple(sampler.init(windows) for sampler in self.samplers)
        return () if self.memory is None else states

    @override
    def add(self, state: Any, legal: Legal, added: Added, turnover: Turnover) -> tuple[Any, ...]:
        if self.memory is None:
            return ()
        return tuple(
            sampler.add(part, legal, added, turnover) for sampler, part in zip(self.samplers, state, strict=True)
        )

    @override
    def can_draw(self, state: Any, legal: Legal, batch_size: int) -> jax.Array:
        """Whether each can that has a part of the batch."""
        parts = zip(self.samplers, self._states(state), self.sizes(batch_size), strict=True)
        return jnp.all(jnp.stack([sampler.can_draw(part, legal, size) for sampler, part, size in parts if size]))

    @override
    def draw(self, state: Any, legal: Legal, key: jax.Array, batch_size: int) -> Draw:
        sizes, keys = self.sizes(batch_size), split(key, len(self.parts))
        state = self._states(state)
        draws = [
            sampler.draw(part, legal, part_key, size)
            for sampler, part, part_key, size in zip(self.samplers, state, keys, sizes, strict=True)
            if size
        ]
        drawn: Draw = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *draws)
        valid = jnp.broadcast_to(jnp.all(drawn.valid), drawn.valid.shape)
        stream, start = jnp.where(valid, drawn.stream, 0), jnp.where(valid, drawn.start, 0)
        # The part that drew a window says itself how likely it was: its next draw may be another matter.
        drew = jnp.asarray(np.repeat(np.arange(len(sizes)), sizes), jnp.int32)
        mixture = jnp.zeros(batch_size, jnp.float32)
        for i, (sampler, part) in enumerate(zip(self.samplers, state, strict=True)):
            share = sampler.probability(part, legal, stream, start)
            mixture = mixture + np.float32(sizes[i] / batch_size) * jnp.where(drew == i, drawn.probability, share)
        return Draw(stream=stream, start=start, probability=materialize(jnp.where(valid, mixture, 0)), valid=valid)

    @override
    def probability(self, state: Any, legal: Legal, stream: jax.Array, start: jax.Array) -> jax.Array:
        """Return the sum over the parts of their fraction times their probability."""
        total = jnp.zeros(stream.shape, jnp.float32)
        state = self._states(state)
        for (fraction, sampler), part in zip(self.parts, state, strict=True):
            total = total + np.float32(fraction) * sampler.probability(part, legal, stream, start)
        return total

    @override
    def update(self, state: Any, legal: Legal, index: Index, priority: jax.Array | None) -> tuple[Any, ...]:
        if self.memory is None:
            return ()
        return tuple(
            sampler.update(part, legal, index, priority if sampler.takes_priority else None)
            for sampler, part in zip(self.samplers, state, strict=True)
        )

    @override
    def rewritten(self, state: Any, legal: Legal, index: Index) -> tuple[Any, ...]:
        if self.memory is None:
            return ()
        return tuple(sampler.rewritten(part, legal, index) for sampler, part in zip(self.samplers, state, strict=True))

    def _states(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the states of the parts, none of which may remember anything."""
        return state or ((),) * len(self.parts)
