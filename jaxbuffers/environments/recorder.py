"""Recorder: from what environments return to rows, for each auto-reset mode."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxbuffers.checks import check_state, one_of
from jaxbuffers.errors import ConfigurationError, DtypeError, ShapeError
from jaxbuffers.row import Row, RowSpec, dtype_of
from jaxbuffers.states.eager import one_program
from jaxbuffers.states.made_by import MadeBy, saved_with_maker
from jaxbuffers.states.ownership import owned, verb
from jaxbuffers.storage.bits import exactly, expand, zero_where_not

Mode = Literal["next_step", "same_step", "disabled"]


@saved_with_maker
@struct.dataclass
class RecorderState:
    """The row of each environment that waits for its action.

    Attributes:
      obs: leaves ``[E, ...]`` (``[...]`` for one environment), the newest observation.
      reward: float ``[E]``, received on arriving there; 0 on a first row.
      is_first: bool ``[E]``.
      is_last: bool ``[E]``: in ``"next_step"`` mode, the newest observation ended its episode.
      is_terminal: bool ``[E]``.
      needs_reset: bool ``[E]``: the episode is over and written, in ``"disabled"`` mode or by
        `Recorder.finish`, and nothing more is recorded until `Recorder.reset`.
      made_by: the mode of the recorder that made it, by which it must be read (static).
    """

    obs: Any
    reward: jax.Array
    is_first: jax.Array
    is_last: jax.Array
    is_terminal: jax.Array
    needs_reset: jax.Array
    made_by: MadeBy = struct.field(pytree_node=False)


@dataclass(frozen=True)
class Recorder:
    """Turn the outputs of vectorized environments into rows, exactly.

    What an environment returns after the end of an episode differs between libraries, and reading
    one mode as another pairs observations of different episodes. So the mode is always explicit:

    * ``"next_step"`` (Gymnasium's default, EnvPool, navix): the final observation comes with
      ``done``; the *next* step ignores its action and returns the first observation of the new
      episode. One row a step.
    * ``"same_step"`` (Gymnasium ``SAME_STEP``, gymnax, jumanji; brax, craftax): the observation
      that comes with ``done`` is already the first of the new episode. Pass the final one as
      ``final_obs``. Without it (``final_obs=None``: brax, craftax) a terminated episode still gets
      its last row, with the previous observation in place of the lost one, harmless because its
      discount is 0; a truncated one ends at its last known observation, so no transition
      bootstraps from a wrong one.
    * ``"disabled"``: nothing resets by itself. ``obs`` is the final observation; tell the recorder
      about new episodes with `reset`.

    Works with one environment (scalars for ``terminated``) or E, eagerly or inside ``jit``.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> recorder = jb.Recorder("same_step")
    >>> rec = recorder.init(obs=jnp.array([0.0, 10.0]))
    >>> rec, rows, mask = recorder.step(
    ...     rec, action=jnp.array([1, 1]), obs=jnp.array([1.0, 20.0]), reward=jnp.array([0.5, 2.0]),
    ...     terminated=jnp.array([False, True]), truncated=jnp.array([False, False]),
    ...     final_obs=jnp.array([1.0, 11.0]))
    >>> rows.obs, mask
    (Array([[ 0., 10.],
           [ 1., 11.]], dtype=float32), Array([[ True,  True],
           [False,  True]], dtype=bool))
    """

    mode: Mode

    def __post_init__(self) -> None:
        one_of("mode", self.mode, ("next_step", "same_step", "disabled"))

    def init(self, obs: Any, batched: bool = True, reward_dtype: Any = jnp.float32) -> RecorderState:
        """Start from the observations that a reset returned.

        Args:
          obs: leaves ``[E, ...]``; ``[...]`` with ``batched=False``.
          batched: whether there is an environment axis.
          reward_dtype: the dtype in which rewards will come.

        Raises:
          ShapeError: the leaves of ``obs`` disagree on E.
        """
        shapes = RowSpec.of({"obs": obs}).shapes
        dtype_of("reward", jax.ShapeDtypeStruct((), reward_dtype))  # raises
        lead = shapes[0][:1] if batched else ()
        if batched and (lead == () or any(shape[:1] != lead for shape in shapes)):
            one = "For a single environment without that axis say init(obs, batched=False)."
            raise ShapeError(f"obs must have leaves [E, ...] with one E; got shapes {shapes}. {one}")
        obs = jax.tree.map(jnp.array, obs)  # each array its own, so that the state can be donated
        like = jnp.zeros_like(jax.tree.leaves(obs)[0], jnp.bool_)  # on the devices of the observations
        no = jnp.any(like, tuple(range(len(lead), like.ndim)))
        flags = ~no, no, jnp.copy(no), jnp.copy(no)
        return RecorderState(obs, jnp.zeros_like(no, reward_dtype), *flags, self._made_by)

    @verb
    def row(self, rec: RecorderState, action: Any, extras: Any = ()) -> Row:
        """Describe one row of one environment, for `Replay.init`.

        Args:
          rec: the recorder's state.
          action: leaves ``[E, ...]``, as `step` will get them; arrays or ``jax.ShapeDtypeStruct``.
          extras: likewise.
        """
        _check_batched(action, extras, rec.is_first.shape)
        flag, axes = rec.is_first, rec.is_first.ndim
        row = Row(rec.obs, action, rec.reward, flag, flag, flag, extras)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[axes:], x.dtype), row)

    @one_program()
    def finish(self, rec: RecorderState, action: Any, extras: Any = ()) -> tuple[RecorderState, Row, jax.Array]:
        """Write the rows that still wait, as the last ones of their episodes: before a `reset`, or at the end.

        An episode under way is thereby truncated; one that has just ended keeps its ending.

        Args:
          rec: the recorder's state.
          action: leaves ``[E, ...]``, for their shapes: a last row holds zeros.
          extras: likewise.

        Returns:
          The new state, which records nothing more until `reset`, and rows with their mask for ``add``.
        """
        _check_batched(action, extras, rec.is_first.shape)
        action, extras = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (action, extras))
        yes = jnp.ones_like(rec.is_first)
        row = Row(rec.obs, action, rec.reward, rec.is_first, yes, rec.is_terminal, extras)
        return replace(rec, needs_reset=yes), row, ~rec.needs_reset

    @one_program()
    def reset(self, rec: RecorderState, obs: Any, where: Any = None) -> RecorderState:
        """Begin new episodes. The rows that still wait are forgotten; `finish` writes them first.

        Args:
          rec: the recorder's state.
          obs: first observations, leaves ``[E, ...]``.
          where: bool ``[E]``, in which environments; None for all.
        """
        _same_rows("obs", obs, rec.obs)
        where = jnp.ones_like(rec.is_first) if where is None else _like("where", where, rec.is_first)
        return replace(
            rec,
            obs=_select(where, obs, rec.obs),
            reward=zero_where_not(~where, rec.reward),
            is_first=rec.is_first | where,
            is_last=rec.is_last & ~where,
            is_terminal=rec.is_terminal & ~where,
            needs_reset=rec.needs_reset & ~where,
        )

    @one_program()
    def step(
        self,
        rec: RecorderState,
        *,
        action: Any,
        obs: Any,
        reward: Any,
        terminated: Any,
        truncated: Any,
        final_obs: Any = None,
        extras: Any = (),
    ) -> tuple[RecorderState, Row, jax.Array]:
        """Record one step of every environment.

        Args:
          rec: the recorder's state.
          action: leaves ``[E, ...]``, taken at the observation before this step.
          obs: leaves ``[E, ...]``, what the step returned.
          reward: ``[E]``, of the dtype given to `init`.
          terminated: bool ``[E]``, the decision process ended.
          truncated: bool ``[E]``, the episode was cut.
          final_obs: for ``"same_step"``: leaves ``[E, ...]``, the last observation of episodes that
            ended now (anything elsewhere); None if the environment loses it.
          extras: leaves ``[E, ...]``, stored with the row of the observation that was acted on;
            zero in the last row that ``"same_step"`` and ``"disabled"`` add.

        Returns:
          The new state, and rows ``[E, ...]`` or ``[2, E, ...]`` with their mask, for `Replay.add`.

        Raises:
          ShapeError, DtypeError, StructureError: naming the leaf.
          ConfigurationError: ``final_obs`` in a mode that has none.
        """
        if final_obs is not None and self.mode != "same_step":
            raise ConfigurationError(f"final_obs belongs to mode 'same_step', not {self.mode!r}; leave it out.")
        _same_rows("obs", obs, rec.obs)
        reward = _like("reward", reward, rec.reward)
        terminated = _like("terminated", terminated, rec.is_first)
        truncated = _like("truncated", truncated, rec.is_first)
        _check_batched(action, extras, rec.is_first.shape)
        action, extras = jax.tree.map(jnp.asarray, (action, extras))
        out = _Step(action, jax.tree.map(jnp.array, obs), reward, terminated, truncated, final_obs, extras)
        return self._next_step(rec, out) if self.mode == "next_step" else self._same_step(rec, out)

    def _ours(self, rec: RecorderState) -> RecorderState:
        """Return a state that a recorder of this mode made, its arrays in JAX's hands."""
        check_state(rec, RecorderState)
        rec.made_by.require(self._made_by, "this recorder")
        return owned(rec)

    @property
    def _made_by(self) -> MadeBy:
        return MadeBy((("mode", self.mode),))

    def _next_step(self, rec: RecorderState, out: "_Step") -> tuple[RecorderState, Row, jax.Array]:
        was_done = rec.is_last
        action = zero_where_not(~was_done, out.action)
        row = Row(rec.obs, action, rec.reward, rec.is_first, was_done, rec.is_terminal, out.extras)
        live = ~rec.needs_reset
        rec = replace(
            rec,
            obs=out.obs,
            reward=zero_where_not(~was_done, out.reward),
            is_first=was_done,
            is_last=(out.terminated | out.truncated) & ~was_done,
            is_terminal=out.terminated & ~was_done,
        )
        return rec, row, live

    def _same_step(self, rec: RecorderState, out: "_Step") -> tuple[RecorderState, Row, jax.Array]:
        done = out.terminated | out.truncated
        lost = self.mode == "same_step" and out.final_obs is None
        final = out.obs if self.mode == "disabled" else rec.obs if lost else out.final_obs
        _same_rows("final_obs", final, rec.obs)
        no, live = jnp.zeros_like(done), ~rec.needs_reset
        # With its successor lost, a truncated row is itself the last of its episode.
        cut = out.truncated & ~out.terminated & lost
        row = Row(rec.obs, out.action, rec.reward, rec.is_first, cut, no, out.extras)
        nothing = jax.tree.map(jnp.zeros_like, row)
        last = Row(final, nothing.action, out.reward, no, ~no, out.terminated, nothing.extras)
        rows = exactly(lambda *pair: jnp.stack(pair), row, last)
        rec = replace(
            rec,
            obs=out.obs,
            reward=zero_where_not(~done, out.reward),
            is_first=done,
            is_last=no,
            is_terminal=no,
            needs_reset=rec.needs_reset | (done & (self.mode == "disabled")),
        )
        return rec, rows, jnp.stack([live, live & done & ~cut])


class _Step(NamedTuple):
    """What one step of the environments returned."""

    action: Any
    obs: Any
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_obs: Any
    extras: Any


def _like(name: str, x: Any, held: jax.Array) -> jax.Array:
    """Check one array against the recorder's own; a Python scalar takes the held dtype if it is of its kind."""
    kind = bool if held.dtype == jnp.bool_ else float
    if type(x) is kind:
        x = np.asarray(x, held.dtype)
    _same_rows(name, x, held)
    return jnp.asarray(x)


def _same_rows(name: str, new: Any, held: Any) -> None:
    """Check a pytree against the held one: same structure, shapes and dtypes."""
    if getattr(new, "dtype", None) == np.dtype(object):
        how = "make it an array like obs with jb.final_observations(obs, infos)"
        raise DtypeError(f"{name} is an object array, as Gymnasium returns final observations; {how}.")
    lead = RowSpec.of({name: held}).leading({name: new}, name)
    if lead:
        more = f"has the axes {lead} in front of those that the recorder was initialized with"
        raise ShapeError(f"{name} {more}; a recorder of several environments comes of init(obs) with leaves [E, ...].")


def _check_batched(action: Any, extras: Any, lead: tuple[int, ...]) -> None:
    """Check that every leaf has the environment axis."""
    for name, tree in (("action", action), ("extras", extras)):
        for shape in RowSpec.of({name: tree}).shapes if jax.tree.leaves(tree) else ():
            if shape[: len(lead)] != lead:
                raise ShapeError(f"{name} must have leaves [{', '.join(map(str, lead))}, ...]; got {shape}.")


def _select(where: jax.Array, new: Any, old: Any) -> Any:
    return exactly(lambda a, b: jnp.where(expand(where, b.ndim), a, b), new, old)
