"""Rollout: what a policy has just done, all steps of all environments, to learn from once."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxbuffers.checks import check_state, positive, settle
from jaxbuffers.errors import ConfigurationError, IncompleteError, MissingFieldError, ShapeError, check
from jaxbuffers.onpolicy.flattening import swap_and_flatten01
from jaxbuffers.onpolicy.minibatches import Minibatches, Remainder, orders
from jaxbuffers.row import check_leaf
from jaxbuffers.states.ownership import owned, verb
from jaxbuffers.storage.bits import write_row, zero_where_not


@struct.dataclass
class RolloutState:
    """The data of one rollout.

    Attributes:
      data: for each key an array ``[T, E, ...]``.
      written: for each key bool ``[T]``, which steps have been written since the last `Rollout.reset`.
      rewritten: for each key int32 ``[]``, how many writes replaced a step already written.
      dropped: for each key int32 ``[]``, how many writes had a step outside ``[0, T)``, and were dropped.
    """

    data: dict[str, jax.Array]
    written: dict[str, jax.Array]
    rewritten: dict[str, jax.Array]
    dropped: dict[str, jax.Array]


@struct.dataclass
class Flat:
    """A rollout as one row after the other.

    Attributes:
      data: for each key ``[E * T, ...]``; row ``e * T + t`` is step t of environment e; zero where it was not written.
      valid: bool ``[]``, whether every step of every key was written.
    """

    data: dict[str, jax.Array]
    valid: jax.Array


@dataclass(frozen=True)
class Rollout:
    """Storage for ``num_steps`` steps of ``num_envs`` environments: a frozen configuration with pure methods.

    Keys are registered at `init` or later (advantages, returns). Every method works under ``jit``,
    ``scan`` and ``shard_map``, and updates in place where the state is donated; except for
    bfloat16 and floats of 8 bits on a CPU, and integers of 2 and 4 bits, which XLA writes by way of a copy.

    Args:
      num_steps: T.
      num_envs: E.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> rollout = jb.Rollout(num_steps=16, num_envs=1024)
    >>> state = rollout.init(obs=jax.ShapeDtypeStruct((128,), jnp.float32))
    >>> def step(state, t):
    ...     return rollout.update(state, "obs", t, jnp.full((1024, 128), t.astype(jnp.float32))), None
    >>> state, _ = jax.lax.scan(step, state, jnp.arange(16))
    >>> state = rollout.register(state, "advantage")
    >>> rollout.missing(state)
    {'advantage': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]}
    >>> state = rollout.batch_update(state, "advantage", jnp.zeros((16, 1024)))
    >>> obs = rollout.flatten(state).data["obs"]
    >>> obs[:17, 0]  # the steps of the first environment, then the next one
    Array([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12.,
           13., 14., 15.,  0.], dtype=float32)
    """

    num_steps: int
    num_envs: int
    _on_meshes: ClassVar[str] = (
        "Shard the state like the data, state.replace(data=jax.device_put(state.data, NamedSharding(mesh, P(None, "
        "axis))))"
    )

    def __post_init__(self) -> None:
        settle(self, num_steps=positive("num_steps", self.num_steps), num_envs=positive("num_envs", self.num_envs))

    def init(self, **keys: Any) -> RolloutState:
        """Allocate an empty rollout.

        Args:
          **keys: what one environment has at one step under each key: an array or a ``jax.ShapeDtypeStruct``;
            only its shape and dtype are used.
        """
        state = RolloutState({}, {}, {}, {})
        for key, leaf in keys.items():
            if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
                raise ShapeError(f"{key!r} must be an array or a jax.ShapeDtypeStruct, got {leaf!r}.")
            state = self._with_key(state, key, leaf.shape, leaf.dtype)
        return state

    @verb
    def register(self, state: RolloutState, key: str, shape: tuple[int, ...] = (), dtype: Any = None) -> RolloutState:
        """Add a key: ``shape`` of one environment at one step, ``dtype`` float32 by default.

        Raises:
          ConfigurationError: the key is there already.
          ShapeError, DtypeError: for a shape or dtype that cannot be stored as it is.
        """
        return self._with_key(state, key, shape, dtype)

    def _with_key(self, state: RolloutState, key: str, shape: Any, dtype: Any) -> RolloutState:
        if not isinstance(key, str) or not key:
            raise ConfigurationError(f"a key must be a string, got {key!r}.")
        if key in state.data:
            raise ConfigurationError(f"the key {key!r} is registered already; the keys are {sorted(state.data)}.")
        if not isinstance(shape, tuple | list) or not all(isinstance(n, int | np.integer) and n >= 0 for n in shape):
            raise ShapeError(f"the shape of {key!r} must be a tuple of ints from 0 on, got {shape!r}.")
        leaf = jax.ShapeDtypeStruct(tuple(map(int, shape)), jnp.float32 if dtype is None else dtype)
        check_leaf((key,), leaf, leaf.shape, leaf.dtype)
        array = jnp.zeros((self.num_steps, self.num_envs, *leaf.shape), leaf.dtype)
        return RolloutState(
            state.data | {key: array},
            state.written | {key: jnp.zeros(self.num_steps, jnp.bool_)},
            state.rewritten | {key: jnp.zeros((), jnp.int32)},
            state.dropped | {key: jnp.zeros((), jnp.int32)},
        )

    @verb
    def update(self, state: RolloutState, key: str, step: Any, data: Any) -> RolloutState:
        """Write one step of one key.

        Args:
          state: from `init` or an earlier verb; donate it to update in place.
          key: a registered key.
          step: int, or ``jax.Array`` of integers ``[]``, from 0 to T - 1. An int outside raises; an array
            outside is dropped and counted in ``state.dropped``.
          data: ``[E, ...]`` of exactly the registered shape and dtype.
        """
        lead = self._check(state, key, data)
        if lead != (self.num_envs,):
            raise ShapeError(f"{key!r} has leading axes {lead}, expected ({self.num_envs},): one row an environment.")
        place = self._place(step)
        inside = place < self.num_steps
        check(inside, "update: step {s} is outside the rollout", s=jnp.asarray(step))
        written = state.written[key]
        again = inside & written[jnp.where(inside, place, 0)]
        return RolloutState(
            state.data | {key: write_row(state.data[key], place, jnp.array(data))},
            state.written | {key: written.at[place].set(True, mode="drop")},
            state.rewritten | {key: state.rewritten[key] + again.astype(jnp.int32)},
            state.dropped | {key: state.dropped[key] + (~inside).astype(jnp.int32)},
        )

    @verb
    def batch_update(self, state: RolloutState, key: str, data: Any) -> RolloutState:
        """Write all steps of one key: ``[T, E, ...]``; a copy, so that the data stays the caller's."""
        lead = self._check(state, key, data)
        if lead != (self.num_steps, self.num_envs):
            raise ShapeError(f"{key!r} has leading axes {lead}, expected ({self.num_steps}, {self.num_envs}).")
        again = jnp.sum(state.written[key], dtype=jnp.int32)
        return replace(
            state,
            data=state.data | {key: jnp.array(data)},
            written=state.written | {key: jnp.ones(self.num_steps, jnp.bool_)},
            rewritten=state.rewritten | {key: state.rewritten[key] + again},
        )

    @verb
    def reset(self, state: RolloutState) -> RolloutState:
        """Begin the next rollout with the same keys: no step is written."""
        cleared = jax.tree.map(jnp.zeros_like, (state.written, state.rewritten, state.dropped))
        return RolloutState(state.data, *cleared)

    @verb
    def complete(self, state: RolloutState) -> jax.Array:
        """Say whether every step of every key has been written: bool ``[]``."""
        return jnp.all(jnp.stack([jnp.all(written) for written in state.written.values()] or [jnp.bool_(True)]))

    @verb
    def missing(self, state: RolloutState) -> dict[str, list[int]]:
        """Name the keys that are not complete, each with the steps not written; outside of ``jit``."""
        steps = {key: np.flatnonzero(~np.asarray(written)).tolist() for key, written in state.written.items()}
        return {key: which for key, which in steps.items() if which}

    def total_sum(self) -> int:
        """Return ``1 + 2 + ... + T``, the sum of the one-based steps of a complete rollout.

        Other steps can have the same sum, so nothing here relies on it; see `missing`.
        """
        return self.num_steps * (self.num_steps + 1) // 2

    @verb
    def flatten(self, state: RolloutState) -> Flat:
        """Lay the steps of each environment one after the other; arrays of their own, nothing is shared.

        Returns:
          `Flat`. Under ``jit`` an incomplete rollout has ``valid`` False, and zeros where nothing was written.

        Raises:
          IncompleteError: outside of ``jit``, naming the keys and steps that are missing.
        """
        valid = self._ready(state, "flatten")

        def kept(key: str) -> jax.Array:
            return zero_where_not(state.written[key], state.data[key])

        return Flat(swap_and_flatten01({key: kept(key) for key in state.data}), valid)

    def make_dict(self, state: RolloutState) -> dict[str, jax.Array]:
        """Return ``flatten(state).data``; under ``jit`` ask `complete` whether it can be used."""
        return self.flatten(state).data

    get_dict = make_dict

    def minibatches(
        self, state: RolloutState, key: jax.Array, batch_size: int, shuffle: bool = True, remainder: Remainder = "error"
    ) -> Minibatches:
        """Cut the rollout into minibatches, as ``minibatches(key, flatten(state).data, ...)`` does, without a copy.

        The batches are the same, bit for bit; the rollout is read where it lies, and not laid out a second time: use
        them before the state is donated.

        Args:
          state: a complete rollout.
          key: a PRNG key; consumed.
          batch_size: B, static.
          shuffle: as for `jaxbuffers.onpolicy.minibatches`.
          remainder: as for `jaxbuffers.onpolicy.minibatches`.

        Returns:
          `Minibatches`. Under ``jit`` rows of an incomplete rollout that miss a key are zero, and False in the mask.

        Raises:
          IncompleteError: outside of ``jit``, naming the keys and steps that are missing.

        >>> import jax, jax.numpy as jnp, jaxbuffers as jb
        >>> rollout = jb.Rollout(num_steps=2, num_envs=2)
        >>> state = rollout.init(x=jax.ShapeDtypeStruct((), jnp.int32))
        >>> state = rollout.batch_update(state, "x", jnp.array([[0, 10], [1, 11]]))
        >>> for batch in rollout.minibatches(state, jax.random.key(0), 2, shuffle=False):
        ...     print(*batch.data["x"])
        0 1
        10 11
        """
        state = self._ours(state)
        self._ready(state, "minibatches")
        if not state.data:
            raise ShapeError("the rollout has no keys.")
        index, mask = orders(key, self.num_steps * self.num_envs, batch_size, shuffle, remainder)
        written = jnp.all(jnp.stack(list(state.written.values())), axis=0)
        return Minibatches(state.data, index, mask & written[index % self.num_steps], self.num_steps)

    def _place(self, step: Any) -> jax.Array:
        """Return a step as int32 ``[]``, T where it is outside."""
        if isinstance(step, np.ndarray) and not step.shape:
            step = step[()]
        if isinstance(step, int | np.integer) and not 0 <= step < self.num_steps:
            raise ShapeError(f"step={step} is outside a rollout of {self.num_steps} steps.")
        if not isinstance(step, int | np.integer | jax.Array):
            raise ShapeError(f"step must be one integer, got {step!r}.")
        step = jnp.asarray(step)
        if step.shape or not jnp.issubdtype(step.dtype, jnp.integer):
            raise ShapeError(f"step must be one integer, got {step.dtype}{list(step.shape)}.")
        step = step.astype(jnp.int64 if step.dtype.itemsize == 8 else jnp.int32)  # unsigned ones wrap to below 0
        return jnp.where((step >= 0) & (step < self.num_steps), step, self.num_steps).astype(jnp.int32)

    def _ready(self, state: RolloutState, verb: str) -> jax.Array:
        valid = self.complete(state)
        check(valid, verb + ": the rollout is not complete")
        if not isinstance(valid, jax.core.Tracer) and not valid:
            raise IncompleteError(
                f"The rollout is not complete; these steps were never written: {self.missing(state)}."
            )
        return valid

    def _check(self, state: RolloutState, key: str, data: Any) -> tuple[int, ...]:
        if key not in state.data:
            raise MissingFieldError(f"the key {key!r} is not registered; the keys are {sorted(state.data)}.")
        stored = state.data[key]
        return check_leaf((key,), data, stored.shape[2:], stored.dtype)

    def _ours(self, state: RolloutState) -> RolloutState:
        """Return a state of these sizes, its arrays in JAX's hands."""
        check_state(state, RolloutState)
        lead = (self.num_steps, self.num_envs)
        for key, stored in state.data.items():
            if stored.shape[:2] != lead or state.written[key].shape != lead[:1]:
                raise ShapeError(
                    f"the state has {key!r} as {stored.shape}, expected leading axes {lead}: use the Rollout that made "
                    f"the state, and jax.vmap for stacked ones."
                )
        return owned(state)
