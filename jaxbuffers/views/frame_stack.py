"""FrameStack: the last k observations, of which only one a row is stored."""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from typing_extensions import override

from jaxbuffers.batch import Data, Index
from jaxbuffers.checks import check_part, one_of, positive, settle
from jaxbuffers.row import field, with_field
from jaxbuffers.storage.ring import Ring
from jaxbuffers.views.base import Read, Reader, View, same_episode
from jaxbuffers.views.wrapping import WrappingView
from jaxbuffers.windows.base import Windows


@dataclass(frozen=True)
class FrameStack(WrappingView[Data]):
    """Read another view with each observation stacked on the ``k - 1`` before it (Mnih et al. 2015).

    Every leaf of ``obs`` gets an axis of length ``k`` after the axes of ``batch.mask`` (of the row, for
    views that read several): ``[B, k, ...]``, oldest first. In a stack of stacks the outer axis comes first. A stack
    never reaches back over the start of an episode. Of the T rows kept of a stream the view reads the newest
    ``T - (k - 1)``; older ones serve as history only, so a stack is never short because its frames were overwritten.

    Args:
      view: any view of rows with a field ``obs``.
      k: frames in a stack.
      pad: what stands before the first frame of an episode: ``"first"``, that frame again, as a
        stacking environment does after a reset; or ``"zero"``.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=64, view=jb.FrameStack(jb.Items(), 3))
    >>> rows = {"obs": jnp.arange(4.0), "is_first": jnp.array([True, False, False, True])}
    >>> state = replay.add(replay.init({"obs": jnp.float32(0), "is_first": jnp.bool_(False)}), rows)
    >>> sorted(set(map(tuple, replay.sample(state, jax.random.key(0)).data["obs"].tolist())))
    [(0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 2.0), (3.0, 3.0, 3.0)]
    """

    view: View[Data]
    k: int
    pad: Literal["first", "zero"] = "first"

    def __post_init__(self) -> None:
        check_part("the view of FrameStack()", self.view, View)
        settle(self, k=positive("k", self.k))
        one_of("pad", self.pad, ("first", "zero"))

    @property
    @override
    def history(self) -> int:
        """The frames before the first row."""
        return self.view.history + self.k - 1

    @property
    @override
    def span(self) -> int:
        """What the view reads, and the frames before it."""
        return self.view.span + self.k - 1

    @property
    @override
    def before(self) -> int:
        """What the view reads before, and the frames before that."""
        return self.view.before + self.k - 1

    @property
    @override
    def after(self) -> int:
        return self.view.after

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        """What the view needs, observations and the flag of episode starts."""
        return tuple(dict.fromkeys((*self.view.fields, "obs", "is_first")))

    @override
    def windows(self, ring: Ring) -> Windows:
        """The windows of the view, out of reach ``k - 1`` rows earlier."""
        return self.view.windows(ring).with_history(self.history)

    @override
    def read(self, reader: Reader) -> tuple[Data, Index]:
        """Let the view read rows whose observations are stacks."""

        def stacked(read: Read, index: Index) -> Any:
            frames = reader.before(index, self.k - 1)  # [..., k]
            flags = read(frames)
            first = field(flags, "is_first")
            last = field(flags, "is_last", jnp.zeros_like(first))
            # From the newest frame backwards, up to the first boundary between two.
            kept = (frames.time >= 0) & same_episode(first, last)
            if self.pad == "first":
                oldest = jnp.argmax(kept, axis=-1).astype(jnp.int32)[..., None]
                step = jnp.arange(self.k, dtype=jnp.int32).reshape((1,) * index.time.ndim + (self.k,))
                time = jnp.take_along_axis(frames.time, jnp.maximum(step, oldest), axis=-1)
            else:
                time = jnp.where(kept, frames.time, -1)
            return with_field(read(index), "obs", field(read(Index(frames.stream, time)), "obs"))

        return self.view.read(reader.edited(stacked, reshapes=True))
