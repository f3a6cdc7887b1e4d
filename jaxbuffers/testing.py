"""Checks that a program updates its replay in place, and a contract for views and samplers of your own.

Needs no test framework: every check raises `AssertionError`, so it serves in any of them.
"""

import copy
import math
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from jaxbuffers.batch import Batch
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import RowSpec, paths_of

MakeRows = Callable[[int], Any]
"""From a step to the rows ``[E, ...]`` of that step, as an environment would give them."""

REMEDY = (
    "Donate the state, jax.jit(fn, donate_argnums=0), and where the function reads it before it adds rows that do not "
    "depend on what was read, say replay.add(jb.fence(state, batch), rows)."
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
    watched = [_Leaf.of(path, leaf) for path, leaf in paths_of(state).items() if leaf.nbytes >= large]
    assert watched, f"no leaf of the state has {large} bytes: give a larger state, or a smaller `large`."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = jax.jit(fn, donate_argnums=0).lower(state, *args).compile()
    unused = [str(warning.message) for warning in caught if "onat" in str(warning.message)]
    assert not unused, f"donated buffers are not reused: {unused[0]} {REMEDY}"

    found = list(_duplicates(compiled.as_text() or "", watched))
    assert not found, f"the compiled program {'; '.join(found)}. {REMEDY}"
    memory, most = compiled.memory_analysis(), max(watched, key=lambda leaf: leaf.nbytes)
    held, aliased, total = memory.temp_size_in_bytes, memory.alias_size_in_bytes, sum(leaf.nbytes for leaf in watched)
    assert held < most.nbytes, f"the program holds {held} bytes of temporaries, no less than {most}. {REMEDY}"
    assert aliased >= total, f"only {aliased} of the {total} bytes of large leaves are aliased. {REMEDY}"

    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((state, args))):
        return
    donated = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    before = [_pointers(donated, leaf) for leaf in watched]
    out = compiled(donated, *args)
    out = out if jax.tree.structure(out) == jax.tree.structure(state) else out[0]
    for leaf, pointers in zip(watched, before, strict=True):
        assert _pointers(out, leaf) == pointers, f"{leaf} was donated but did not keep its memory. {REMEDY}"


@dataclass(frozen=True)
class _Leaf:
    path: tuple[str, ...]
    dtype: str  # as a compiled program names it
    shape: tuple[int, ...]
    nbytes: int

    @classmethod
    def of(cls, path: tuple[str, ...], leaf: Any) -> "_Leaf":
        name = str(leaf.dtype).replace("float8_", "f8").replace("float", "f").replace("uint", "u")
        name = name.replace("complex", "c").replace("int", "s").replace("bool", "pred")
        return cls(path, name, tuple(leaf.shape), leaf.nbytes)

    def __str__(self) -> str:
        return f"leaf {'.'.join(self.path)!r} ({self.dtype}{list(self.shape)}, {self.nbytes} bytes)"


_OPENS = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
# What writes into its operand's buffer, or names a buffer that is already there.
_IN_PLACE = {"scatter", "dynamic-update-slice", "parameter", "bitcast", "get-tuple-element", "tuple"}
_IN_PLACE |= {"while", "call", "conditional", "optimization-barrier", "copy-done", "after-all"}


def _duplicates(text: str, watched: list[_Leaf]) -> Iterator[str]:
    """Yield what in an optimized HLO text makes a second array like a watched leaf."""
    roots: dict[str, str] = {}
    produced: list[tuple[str, str, str, str]] = []
    computation = ""
    for line in text.splitlines():
        if opening := _OPENS.match(line):
            computation = opening[1]
        elif instruction := _INSTRUCTION.match(line):
            root, name, shapes, opcode, rest = instruction.groups()
            called = re.search(r"calls=%?([\w.\-]+)", rest) if opcode == "fusion" else None
            produced.append((computation, name, shapes, f"{opcode}:{called[1]}" if called else opcode))
            if root:
                roots[computation] = opcode
    fused = {opcode.partition(":")[2] for *_, opcode in produced}
    for computation, name, shapes, opcode in produced:
        kind = roots.get(opcode.partition(":")[2], "fusion") if ":" in opcode else opcode
        if computation in fused or kind in _IN_PLACE:
            continue
        made = [(dtype, tuple(int(n) for n in dims.split(",") if n)) for dtype, dims in _SHAPE.findall(shapes)]
        for leaf in watched:
            if kind in ("copy", "copy-start"):
                if (leaf.dtype, math.prod(leaf.shape)) in [(dtype, math.prod(shape)) for dtype, shape in made]:
                    yield f"copies {leaf}: %{name} = {kind}"
            elif (leaf.dtype, leaf.shape) in made:
                yield f"makes a second array like {leaf}: %{name} = {kind}"


def _pointers(state: Any, leaf: _Leaf) -> list[int]:
    return [shard.data.unsafe_buffer_pointer() for shard in paths_of(state)[leaf.path].addressable_shards]


def numbered_rows(replay: Replay, row: Any) -> MakeRows:
    """Return a ``make_rows`` whose values say which row they are, in episodes of several lengths.

    The fields ``is_first``, ``is_last`` and ``is_terminal`` describe episodes in which the view's
    windows fit; every second one ends with a truncation.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=8, num_envs=2, batch_size=1, view=jb.Items())
    >>> numbered_rows(replay, {"x": jnp.float32(0)})(3)
    {'x': Array([6., 7.], dtype=float32)}
    """
    spec = RowSpec.of(row)
    lead = () if replay.num_envs is None else (replay.num_envs,)

    def make_rows(step: int) -> Any:
        stream = np.arange(replay.num_streams)
        number = step * replay.num_streams + stream
        episode, age = np.divmod(step, replay.view.span + 2 + stream % 3)
        last = age == replay.view.span + 1 + stream % 3
        flags = {"is_first": age == 0, "is_last": last, "is_terminal": last & (episode % 2 == 0)}

        def leaf(path: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
            value = flags.get(path[0], number % 2) if dtype == np.bool_ and path else number % 120
            full = np.broadcast_to(value.reshape(-1, *(1,) * len(shape)), (len(stream), *shape))
            return jnp.asarray(full.astype(dtype).reshape(*lead, *shape))

        leaves = [leaf(*each) for each in zip(spec.paths, spec.shapes, spec.dtypes, strict=True)]
        return jax.tree.unflatten(spec.treedef, leaves)

    return make_rows


def check_replay(replay: Replay, row: Any, make_rows: MakeRows | None = None) -> None:
    """Put a replay, and with it its view and sampler, through the whole contract.

    Args:
      replay: a small one, of some 8 to 32 rows a stream: it is filled more than twice over.
      row: one row, as for ``Replay.init``.
      make_rows: from a step to its rows ``[E, ...]``; None for `numbered_rows`.

    Raises:
      AssertionError: naming the promise that is not kept.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> check_replay(jb.Replay(capacity=12, num_envs=2, batch_size=3, view=jb.Sequences(2)), jnp.float32(0))
    """
    for check in CONTRACT:
        check(replay, row, make_rows or numbered_rows(replay, row))


def check_configuration(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """A configuration is a value: hashable, equal to its copies, and equal ones are traced once."""
    twin = copy.deepcopy(replay)
    assert twin == replay, f"an equal configuration is not an equal value: {twin} != {replay}"
    assert hash(twin) == hash(replay), f"equal configurations differ in their hash: {replay}"
    traced = []

    def verbs(replay: Replay, state: ReplayState, rows: Any, key: jax.Array) -> tuple[ReplayState, Batch]:
        traced.append(replay)
        state = replay.add(state, rows)
        return state, replay.sample(state, key)

    compiled, state = jax.jit(verbs, static_argnums=0), replay.init(row)
    for step in range(4):
        state, _ = compiled(copy.deepcopy(replay), state, make_rows(step), jax.random.key(step))
    assert len(traced) == 1, f"the verbs were traced {len(traced)} times for 4 equal calls: {replay}"


def check_state(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """A state is a pytree of arrays: it survives flattening and flax's state dictionaries."""
    state, key = _filled(replay, row, make_rows), jax.random.key(1)
    odd = [leaf for leaf in jax.tree.leaves(state) if not isinstance(leaf, jax.Array)]
    assert not odd, f"leaves of the state are not arrays: {odd}"
    expected = _sample(replay, state, key)
    leaves, treedef = jax.tree.flatten(state)
    _same("after flatten and unflatten", _sample(replay, jax.tree.unflatten(treedef, leaves), key), expected)
    saved = jax.tree.map(np.asarray, serialization.to_state_dict(state))
    restored = serialization.from_state_dict(replay.init(row), saved)
    _same("a restored state", jax.tree.leaves(restored), leaves)
    _same("sampling a restored state", _sample(replay, jax.tree.map(jnp.asarray, restored), key), expected)


def check_transforms(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """The same state and key give the same batch eagerly and under jit, vmap and scan."""
    states = [_filled(replay, row, make_rows, steps) for steps in (replay.view.span + 2, 2 * replay.length + 3)]
    keys = jax.random.split(jax.random.key(2), 2)
    compiled = [_sample(replay, *each) for each in zip(states, keys, strict=True)]
    _same("a second call", _sample(replay, states[1], keys[1]), compiled[1])
    _same("the eager call", replay.sample(states[1], keys[1]), compiled[1])
    mapped = jax.jit(jax.vmap(replay.sample))(_stack(states), keys)
    _same("vmap", mapped, _stack(compiled))

    def body(state: ReplayState, inputs: tuple[Any, jax.Array]) -> tuple[ReplayState, Batch]:
        state = replay.add(state, inputs[0])
        return state, replay.sample(state, inputs[1])

    rows = [make_rows(step) for step in (0, 1)]
    _, scanned = jax.jit(lambda state, *inputs: jax.lax.scan(body, state, inputs))(states[1], _stack(rows), keys)
    state, looped = states[1], []
    for each, key in zip(rows, keys, strict=True):
        state = replay.add(state, each)
        looped.append(_sample(replay, state, key))
    _same("scan", scanned, _stack(looped))


def check_rows(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """No sample shows a row that was not added; without a legal window, valid is False and all is zero."""
    empty, key = _poisoned(replay.init(row)), jax.random.key(3)
    batch = _sample(replay, empty, key)
    assert not batch.valid, "batch.valid is True for an empty replay"
    assert not batch.mask.any(), "batch.mask has True entries for an empty replay"
    assert not replay.can_sample(empty), "can_sample() is True for an empty replay"
    for path, leaf in paths_of(batch.data).items():
        assert not np.asarray(leaf).tobytes().strip(b"\0"), f"data {path} of an empty replay is not zero"
    assert not batch.probability.any(), "probability is not zero for an empty replay"
    for steps in (replay.view.span + 2, 2 * replay.length + 3):
        state = _filled(replay, row, make_rows, steps)
        batch, _ = _sample(replay, state, key), replay.size(state)
        assert batch.valid, f"no window is legal after {steps} steps of make_rows; give it longer episodes"
        assert batch.mask.any(), "a valid batch has no row"
        assert (batch.probability > 0).all(), "a drawn window has probability 0"
        assert (batch.probability <= 1).all(), "a drawn window has a probability above 1"
        _same("get() of the sampled index", replay.get(state, batch.index)[1], batch.mask)
        other = _filled(replay, row, make_rows, steps, _poisoned)
        _same("what unwritten memory holds", _sample(replay, other, key), batch)


def check_in_place(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """Donated, add and update keep every buffer where it is and copy nothing, at a larger capacity."""
    replay = replace(replay, capacity=max(16_384 // replay.num_streams, 64 * replay.length) * replay.num_streams)
    state = jax.jit(replay.add)(replay.init(row), make_rows(0))
    assert_in_place(replay.add, state, make_rows(1))

    def update(state: ReplayState, key: jax.Array) -> ReplayState:
        batch = replay.sample(state, key)
        rows, _ = replay.get(state, batch.index)
        priority = jnp.ones_like(batch.probability) if replay.sampler.takes_priority else None
        return replay.update(state, batch.index, priority=priority, rows=rows)

    assert_in_place(update, state, jax.random.key(0))


CONTRACT = (check_configuration, check_state, check_transforms, check_rows, check_in_place)
"""The checks of `check_replay`, each to be called with ``(replay, row, make_rows)``."""

_add, _sample = jax.jit(Replay.add, static_argnums=0), jax.jit(Replay.sample, static_argnums=0)


@jax.jit
def _poisoned(state: ReplayState) -> ReplayState:
    """Fill the memory of the rows with what no row was given."""
    words, blocks = jax.tree.map(lambda block: jnp.full_like(block, 1), (state.ring.words, state.ring.blocks))
    words = None if words is None else words * jnp.uint32(0x01010101)
    return replace(state, ring=replace(state.ring, words=words, blocks=blocks))


def _filled(
    replay: Replay, row: Any, make_rows: MakeRows, steps: int = 9, prepare: Callable[..., Any] = lambda state: state
) -> ReplayState:
    """Add rows one step at a time, so that streams drift apart by masked steps."""
    state, stream = prepare(replay.init(row)), np.arange(replay.num_streams)
    for step in range(steps):
        mask = jnp.asarray((step + stream) % 7 != 3).reshape(() if replay.num_envs is None else -1)
        state = _add(replay, state, make_rows(step), mask)
    return state


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _same(what: str, got: Any, expected: Any) -> None:
    """Compare two pytrees: indices and flags exactly, floats up to rounding, since programs may fuse."""
    assert jax.tree.structure(got) == jax.tree.structure(expected), f"{what}: another structure"
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(got)[0], jax.tree.leaves(expected), strict=True):
        a, b, where = np.asarray(a), np.asarray(b), f"{what}: {jax.tree_util.keystr(path)} differs"
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{where} in shape or dtype"
        if a.dtype.kind in "fc":
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=where)
        else:
            np.testing.assert_array_equal(a, b, err_msg=where)
