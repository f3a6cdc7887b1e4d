"""Shards: one function on every shard of a mesh axis, its arguments placed as it wants them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxbuffers.errors import ConfigurationError, debugging
from jaxbuffers.row import check_leaf, paths_of


class Plan(NamedTuple):
    """What runs on a shard, and how its arguments and results lie over all of them.

    Attributes:
      function: of the parts that the shard has.
      ins: a ``PartitionSpec`` for each argument, or a tree of them.
      outs: likewise for what it returns.
    """

    function: Callable[..., Any]
    ins: tuple[Any, ...]
    outs: Any


Planner = Callable[..., Plan]


@dataclass(frozen=True)
class Shards:
    """The shards of one axis of a mesh; along its other axes everything is replicated.

    Attributes:
      mesh: the devices.
      axis: the name of the axis.
    """

    mesh: Mesh
    axis: str

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.mesh.shape[self.axis])

    @property
    def whole(self) -> PartitionSpec:
        """An array of which every shard has all."""
        return PartitionSpec()

    def along(self, axis: int) -> PartitionSpec:
        """An array of which every shard has one part along this axis."""
        return PartitionSpec(*(None,) * axis, self.axis)

    def number(self) -> jax.Array:
        """Which shard this is, within a function that runs on one."""
        return lax.axis_index(self.axis)

    def total(self, x: jax.Array) -> jax.Array:
        """Sum over all shards, within a function that runs on one: a collective."""
        return lax.psum(x, self.axis)

    def run(self, planner: Planner, settings: tuple[Hashable, ...], *args: Any) -> Any:
        """Run what ``planner(self, *settings)`` plans, compiled once for equal settings.

        Arrays outside of ``jit`` go to the devices of the mesh first, where they are not there yet.
        """
        plan, debug = planner(self, *settings), debugging()
        if debug and self._explicit:
            raise ConfigurationError(
                "debug_checks() cannot look into the shards of an Explicit mesh, because checkify cannot. Make the "
                "mesh with axis_types=(jax.sharding.AxisType.Auto,) to debug."
            )
        placed = [_each(self._placed, spec, arg) for spec, arg in zip(plan.ins, args, strict=True)]
        try:
            return _run(self, planner, settings, debug, *placed)
        except Exception as error:
            if type(error).__module__.startswith("jaxbuffers"):
                error.add_note(f"Its numbers are those of one of the {self.count} shards: {settings[0]}")
            elif words := self._elsewhere():
                raise ConfigurationError(words) from error
            raise

    @property
    def _explicit(self) -> bool:
        return AxisType.Explicit in self.mesh.axis_types

    def _elsewhere(self) -> str:
        """Say what is wrong with the mesh that is set where a verb is called; nothing if it is ours or none."""
        there: Any = jax.sharding.get_abstract_mesh()
        if there.empty or there == self.mesh.abstract_mesh:
            return ""
        if AxisType.Manual in there.axis_types:
            return "jb.Sharded does not work within jax.shard_map; use a plain jb.Replay there, one on each device."
        return (
            f"jb.Sharded is over the mesh {_shape(self.mesh)}, but jax.set_mesh has set {_shape(there)}. "
            f"Set the same mesh, or make the jb.Sharded with that one."
        )

    def _placed(self, spec: PartitionSpec, x: Any) -> Any:
        here = NamedSharding(self.mesh, spec)
        if isinstance(x, jax.core.Tracer) or (isinstance(x, jax.Array) and x.sharding.is_equivalent_to(here, x.ndim)):
            return x  # on these devices in this order
        if not isinstance(x, jax.Array):
            x = np.array(x, copy=True)  # its owner may write to it while the transfer is under way
        elif self._explicit and len(x.sharding.device_set) == 1 and not jnp.issubdtype(x.dtype, jax.dtypes.extended):
            x = np.asarray(x)  # JAX may still think it sharded, if it was, and then cannot take it apart
        # Over several processes, each has to give the same values, and jit takes them so.
        return jax.device_put(x, here) if here.is_fully_addressable else x

    def _resharded(self, spec: PartitionSpec, x: jax.Array) -> jax.Array:
        if dict(zip(self.mesh.axis_names, self.mesh.axis_types, strict=True))[self.axis] != AxisType.Explicit:
            spec = self.whole  # of Auto axes nothing can be said here: shard_map moves along these by itself
        return jax.sharding.reshard(x, NamedSharding(self.mesh, spec))


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(shards: Shards, planner: Planner, settings: tuple[Hashable, ...], debug: bool, *args: Any) -> Any:
    plan = planner(shards, *settings)
    if shards._explicit:  # where shard_map moves nothing by itself
        args = tuple(_each(shards._resharded, spec, arg) for spec, arg in zip(plan.ins, args, strict=True))
    # Views and samplers may come from elsewhere: nothing is asked of them about what varies between shards.
    mapped = jax.shard_map(plan.function, mesh=shards.mesh, in_specs=plan.ins, out_specs=plan.outs, check_vma=False)
    return mapped(*args)


def _each(function: Callable[[PartitionSpec, Any], Any], specs: Any, tree: Any) -> Any:
    """Apply a function to each array of a tree, and the spec of it or of the branch that it is on."""

    def branch(spec: PartitionSpec, part: Any) -> Any:
        return jax.tree.map(partial(function, spec), part)

    return jax.tree.map(branch, specs, tree, is_leaf=lambda each: isinstance(each, PartitionSpec))


def _shape(mesh: Any) -> str:
    """Write a mesh: its axes, their sizes and types."""
    axes = zip(mesh.axis_names, mesh.axis_sizes, mesh.axis_types, strict=True)
    return f"({', '.join(f'{name!r}: {size} {kind.name}' for name, size, kind in axes)})"


def check_holdable(state: Any) -> None:
    """Refuse a state with leaves of NumPy that JAX cannot hold as they are."""
    for path, leaf in paths_of(state).items():
        if not isinstance(leaf, jax.Array):
            check_leaf(path, leaf, (), getattr(leaf, "dtype", np.dtype(float)))
