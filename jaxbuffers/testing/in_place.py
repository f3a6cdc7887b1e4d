"""assert_in_place: a program updates its state without copying it."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbuffers.row import paths_of
from jaxbuffers.testing.compiled_text import computations

_structure: Callable[[Any], Any] = jax.tree.structure
REMEDY = (
    "Donate the state, jax.jit(fn, donate_argnums=0), and where the function samples before it adds rows that do not "
    "depend on the sample, say replay.add(jb.fence(state, batch), rows)."
)


def assert_in_place(fn: Callable[..., Any], state: Any, *args: Any, large: int = 16_384) -> None:
    """Assert that ``jax.jit(fn, donate_argnums=0)`` updates ``state`` without copying it.

    Compiles the function for these arguments, reads the compiled program, and runs it once on a
    copy of the state unless an argument is a ``jax.ShapeDtypeStruct``.

    Args:
      fn: returns the new state, or a tuple whose first element it is.
      state: any pytree; stays usable.
      *args: what else ``fn`` takes.
      large: leaves of at least so many bytes are watched. Choose a state whose largest leaf is
        larger than everything else that ``fn`` must hold, a batch for instance.

    Raises:
      AssertionError: a large leaf is copied, duplicated or not aliased; it names the leaf, the
        evidence and the remedy.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4096, num_envs=None, batch_size=2, view=jb.Items())
    >>> state = replay.add(replay.init(jnp.zeros(8)), jnp.ones(8))
    >>> def step(state, row, key):
    ...     batch = replay.sample(state, key)
    ...     return replay.add(jb.fence(state, batch), row), batch
    >>> assert_in_place(step, state, jnp.ones(8), jax.random.key(0))
    """
    watched = [leaf for leaf in _leaves(state) if leaf.nbytes >= large]
    assert watched, f"no leaf of the state has {large} bytes: give a larger state, or a smaller `large`."
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some donated buffers")  # told in our own words below
        compiled = jax.jit(fn, donate_argnums=0).lower(state, *args).compile()
    made = jax.eval_shape(fn, state, *args)
    first = made[0] if isinstance(made, tuple) and made else None
    assert _structure(state) in (_structure(made), _structure(first)), (
        "the function must return the state, or a tuple whose first element is the state."
    )
    found = list(_duplicates(str(compiled.as_text()), watched))
    assert not found, f"the compiled program {'; '.join(found)}. {REMEDY}"
    memory: Any = compiled.memory_analysis()
    held, aliased, total = memory.temp_size_in_bytes, memory.alias_size_in_bytes, sum(leaf.nbytes for leaf in watched)
    most = max(watched, key=lambda leaf: leaf.nbytes)
    assert held < most.nbytes, f"the program holds {held} bytes of temporaries, no less than {most}. {REMEDY}"
    names = ", ".join(map(str, watched))
    assert aliased >= total, f"the result reuses only {aliased} of the {total} donated bytes of {names}. {REMEDY}"
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((state, args))):
        return
    donated = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    before = [_pointers(donated, leaf) for leaf in watched]
    out = compiled(donated, *args)
    out = out if _structure(out) == _structure(state) else out[0]
    for leaf, pointers in zip(watched, before, strict=True):
        assert _pointers(out, leaf) == pointers, f"{leaf} was donated but did not keep its memory. {REMEDY}"


class _Leaf(NamedTuple):
    path: tuple[str, ...]
    dtype: str  # as a compiled program names it
    shape: tuple[int, ...]
    nbytes: int

    def __str__(self) -> str:
        return f"leaf {'.'.join(self.path)!r} ({self.dtype}{list(self.shape)}, {self.nbytes} bytes)"


def _leaves(state: Any) -> Iterator[_Leaf]:
    for path, leaf in paths_of(state).items():
        name = str(leaf.dtype).replace("float8_", "f8").replace("float", "f").replace("uint", "u")
        name = name.replace("complex", "c").replace("int", "s").replace("bool", "pred")
        sharding = getattr(leaf, "sharding", None)
        shape = sharding.shard_shape(leaf.shape) if sharding else tuple(leaf.shape)
        yield _Leaf(path, name, shape, math.prod(shape) * leaf.dtype.itemsize)


# What writes into its operand's buffer, or names a buffer that is already there.
_IN_PLACE = {"scatter", "dynamic-update-slice", "parameter", "get-tuple-element", "tuple", "while", "call"}
_IN_PLACE |= {"bitcast", "conditional", "optimization-barrier", "copy-done", "after-all"}


def _duplicates(text: str, watched: list[_Leaf]) -> Iterator[str]:
    """Yield what in an optimized HLO text makes a second array like a watched leaf."""
    bodies = computations(text)
    # A fusion is one kernel: what counts is its result, the last instruction, seen through bitcasts.
    calls = {each.calls for body in bodies.values() for each in body.values() if each.calls}
    fused = {body: bodies.pop(body) for body in calls}
    for made in (each for body in bodies.values() for each in body.values()):
        opcode = made.opcode
        if made.calls:
            inside = (each.opcode for each in reversed(fused[made.calls].values()))
            opcode = next((code for code in inside if code not in ("bitcast", "tuple")), opcode)
        for leaf in watched if opcode not in _IN_PLACE else ():
            if opcode in ("copy", "copy-start"):
                if (leaf.dtype, math.prod(leaf.shape)) in [(dtype, math.prod(shape)) for dtype, shape in made.arrays]:
                    yield f"copies {leaf}: %{made.name} = {opcode}"
            elif (leaf.dtype, leaf.shape) in made.arrays:
                yield f"makes a second array like {leaf}: %{made.name} = {opcode}"


def _pointers(state: Any, leaf: _Leaf) -> list[int]:
    return [shard.data.unsafe_buffer_pointer() for shard in paths_of(state)[leaf.path].addressable_shards]
