"""Hindsight: goals replaced by what was achieved, rewards computed again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from jaxbuffers.batch import Data, Index
from jaxbuffers.checks import check_part, number, one_of, settle
from jaxbuffers.errors import ConfigurationError, DtypeError, MissingFieldError, ShapeError
from jaxbuffers.numerics.random_bits import fraction_of
from jaxbuffers.row import RowSpec, field, paths_of, show, with_paths
from jaxbuffers.states.naming import written
from jaxbuffers.storage.bits import exactly, expand
from jaxbuffers.storage.ring import Ring
from jaxbuffers.views.base import Read, Reader, View
from jaxbuffers.views.wrapping import WrappingView
from jaxbuffers.windows.base import Windows
from jaxbuffers.windows.episode_bounds import Bounded


@dataclass(frozen=True, repr=False)
class Hindsight(WrappingView[Data]):
    """Read another view as if a goal that was reached had been the one (Andrychowicz et al. 2017).

    For a part of the windows, drawn anew in every sample, the desired goal of the rows of the episode
    in which the window begins is replaced by the goal that some row of that episode achieved, and
    ``reward(achieved, desired)`` replaces the reward of every such row but a first one. The stored rows stay as
    they are; ``is_terminal`` is read as stored.

    Args:
      view: any view of rows.
      reward: from the achieved and the desired goal of one row to its reward, a scalar of the dtype of
        the stored one; a function of two arrays that JAX can trace. A row's reward is received on
        arriving at it, so the achieved goal is the row's own. Configurations with the same function
        are equal; define it once, at the top of a module.
      goals: whose achieved goal: ``"future"``, a later row of the episode, uniformly; ``"final"``,
        its last row (the newest, while it is going on); ``"episode"``, any of its rows present, uniformly.
        Where there is no later row, the window keeps its goal.
      fraction: the part of windows with a new goal; 0.8 is the paper's k = 4.
      achieved: the dotted name of the achieved goal, one array.
      desired: the dotted name of the desired goal, of the same shape and dtype.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> def reached(achieved, desired):
    ...     return jnp.where(achieved == desired, 0.0, -1.0)
    >>> place = jnp.arange(5.0)  # the agent walks from 0 to 4; it was told to go to 9
    >>> rows = jb.episode_rows(obs={"achieved_goal": place, "desired_goal": jnp.full(5, 9.0)},
    ...                        action=jnp.ones(4), reward=jnp.full(4, -1.0), terminated=False, truncated=True)
    >>> view = jb.Hindsight(jb.Transitions(), reached, goals="final", fraction=1.0)
    >>> replay = jb.Replay(capacity=8, num_envs=None, batch_size=64, view=view)
    >>> state = jax.jit(replay.add)(replay.init(jax.tree.map(lambda x: x[0], rows)), rows)
    >>> data = jax.jit(replay.sample)(state, jax.random.key(0)).data
    >>> sorted({(float(o), float(g), float(r)) for o, g, r in
    ...         zip(data.next_obs["achieved_goal"], data.obs["desired_goal"], data.reward)})
    [(1.0, 4.0, -1.0), (2.0, 4.0, -1.0), (3.0, 4.0, -1.0), (4.0, 4.0, 0.0)]
    """

    view: View[Data]
    reward: Callable[[jax.Array, jax.Array], jax.Array]
    goals: Literal["future", "final", "episode"] = "future"
    fraction: float = 0.8
    achieved: str = "obs.achieved_goal"
    desired: str = "obs.desired_goal"

    def __post_init__(self) -> None:
        check_part("the view of Hindsight()", self.view, View)
        if not callable(self.reward):
            raise ConfigurationError(f"reward must be a function of two goals, got {self.reward!r}.")
        one_of("goals", self.goals, ("future", "final", "episode"))
        for name in (self.achieved, self.desired):
            if not isinstance(name, str):
                raise ConfigurationError(f'A goal is named like "obs.desired_goal", got {name!r}.')
        settle(self, fraction=number("fraction", self.fraction, 0, 1))

    def __repr__(self) -> str:
        return written(self)

    @property
    @override
    def fields(self) -> tuple[str, ...]:
        """What the view needs, the goals, the reward and the flag of episode starts."""
        goals = (name.split(".")[0] for name in (self.achieved, self.desired))
        return tuple(dict.fromkeys((*self.view.fields, *goals, "reward", "is_first")))

    @override
    def check(self, spec: RowSpec) -> None:
        """Raise unless the two goals are alike and the reward is one float."""
        super().check(spec)
        spec.require_scalar("reward", np.floating, "Hindsight()")
        kinds = []
        for name in (self.achieved, self.desired):
            path = tuple(name.split("."))
            if path not in spec.paths:
                raise MissingFieldError(
                    f"Hindsight() needs {show(path)}; the row has {', '.join(map(show, spec.paths))}. Name the goals "
                    f"with achieved= and desired=."
                )
            kinds.append((spec.shapes[spec.paths.index(path)], spec.dtypes[spec.paths.index(path)]))
        if kinds[0] != kinds[1]:
            raise ShapeError(
                f"Hindsight() needs goals of one shape and dtype; {self.achieved} is {kinds[0][1]}{kinds[0][0]}, "
                f"{self.desired} is {kinds[1][1]}{kinds[1][0]}."
            )

    @override
    def windows(self, ring: Ring) -> Windows:
        """The windows of the view, and the bounds of episodes."""
        return Bounded(self.view.windows(ring))

    @override
    def elsewhere(self, reader: Reader) -> tuple[Index, ...]:
        """The rows whose achieved goals are chosen."""
        first, last, _ = reader.legal.bounds(reader.draw.stream, reader.draw.start)
        return (self._source(reader, first, last), *self.view.elsewhere(reader))

    @override
    def read(self, reader: Reader) -> tuple[Data, Index]:
        """Choose a goal for each window, and let the view read rows with it."""
        draw, legal = reader.draw, reader.legal
        shift = legal.shift
        count = len(draw.start)
        first, last, began = legal.bounds(draw.stream, draw.start)
        source = self._source(reader, first, last)
        chosen = source.time >= 0
        goal = paths_of(reader.stored(source))[tuple(self.achieved.split("."))]
        reach = shift(last, -first)

        def relabelled(read: Read, index: Index) -> Any:
            rows = read(index)
            axes = (count,) + (1,) * (index.time.ndim - 1)
            past = shift(jnp.maximum(index.time, 0), -first.reshape(axes))
            new = chosen.reshape(axes) & (index.time >= 0) & (past <= reach.reshape(axes))
            paths = paths_of(rows)
            old = paths[tuple(self.desired.split("."))]
            desired = exactly(lambda x, y: jnp.where(expand(new, y.ndim), x.reshape(axes + x.shape[1:]), y), goal, old)
            reward = self._rewards(paths[tuple(self.achieved.split("."))], desired, index.time.ndim)
            stored = field(rows, "reward")
            if reward.shape != stored.shape:
                raise ShapeError(
                    f"Hindsight(reward=...) must return one number a row, got {list(reward.shape[index.time.ndim :])}; "
                    f"reduce over the axes of the goal, as in jnp.all(achieved == desired)."
                )
            if reward.dtype != stored.dtype:
                raise DtypeError(
                    f"Hindsight(reward=...) must return {stored.dtype} like the stored rewards, got {reward.dtype}; "
                    f"convert it: .astype('{stored.dtype}')."
                )
            opens = began.reshape(axes) & (past == 0)  # with or without is_first
            reward = exactly(lambda x, y: jnp.where(new & ~opens, x, y), reward, stored)
            return with_paths(rows, {tuple(self.desired.split(".")): desired, ("reward",): reward})

        return self.view.read(reader.edited(relabelled))

    def _source(self, reader: Reader, first: jax.Array, last: jax.Array) -> Index:
        """Choose the row whose achieved goal each window gets; time -1 where it keeps its own."""
        draw, shift = reader.draw, reader.legal.shift
        count = len(draw.start)
        high, low = reader.bits(2 * count)
        begin = {"future": shift(draw.start, 1), "final": last, "episode": first}[self.goals]
        choices = shift(shift(last, -begin), 1)  # none if the last row is past
        begin = shift(begin, fraction_of(choices, high[:count], low[:count]))
        chosen = high[count:] < np.uint32(min(int(self.fraction * 2**32), 2**32 - 1))
        chosen = (chosen | (self.fraction == 1)) & draw.valid & (choices > 0)
        return Index(draw.stream, jnp.where(chosen, begin, -1))

    def _rewards(self, achieved: jax.Array, desired: jax.Array, axes: int) -> jax.Array:
        function = self.reward
        for _ in range(axes):
            function = jax.vmap(function)
        return function(achieved, desired)
