"""The contract that every view and sampler keeps, for those that live elsewhere too."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from jaxbuffers.batch import Batch, Index
from jaxbuffers.errors import ConfigurationError
from jaxbuffers.replay import Replay, ReplayState
from jaxbuffers.row import field, paths_of
from jaxbuffers.samplers import Counted
from jaxbuffers.testing.filling import MakeRows, filled, numbered_rows, poisoned
from jaxbuffers.testing.in_place import assert_in_place
from jaxbuffers.testing.windows import check_can_sample, check_windows
from jaxbuffers.views import Sequences


def check_replay(replay: Replay, row: Any, make_rows: MakeRows | None = None) -> None:
    """Put a replay, and with it its view and sampler, through the whole contract.

    Args:
      replay: a small one, of some 8 to 32 rows a stream: it is filled more than twice over.
      row: one row, as for ``Replay.init``.
      make_rows: from a step to its rows ``[E, ...]``; None for `numbered_rows`.

    Raises AssertionError, naming the promise that is not kept.

    >>> import jax.numpy as jnp, jaxbuffers as jb
    >>> check_replay(jb.Replay(capacity=12, num_envs=2, batch_size=3, view=jb.Sequences(2)), jnp.float32(0))
    """
    for check in CONTRACT:
        check(replay, row, make_rows or numbered_rows(replay, row))


def check_configuration(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """A configuration is a value: hashable, equal to its copies, and equal ones are traced once."""
    twin = copy.deepcopy(replay)
    assert (twin, hash(twin)) == (replay, hash(replay)), f"an equal configuration is not an equal value: {replay}"
    traced = []  # chex.assert_max_traces counts by a function's code: every replay would share one count

    def verbs(replay: Replay, state: ReplayState, rows: Any, key: jax.Array) -> tuple[ReplayState, Batch]:
        traced.append(replay)
        state = replay.add(state, rows)
        return state, replay.sample(state, key)

    compiled, state = jax.jit(verbs, static_argnums=0), replay.init(row)
    for step in range(4):
        state, _ = compiled(copy.deepcopy(replay), state, make_rows(step), jax.random.key(step))
    assert len(traced) == 1, f"the verbs were traced {len(traced)} times for equal calls of {replay}"


def check_state(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """A state is a pytree of arrays: it survives flattening and flax's state dictionaries."""
    state, key = filled(replay, row, make_rows), jax.random.key(1)
    odd = [leaf for leaf in jax.tree.leaves(replay.init(row)) if not isinstance(leaf, jax.Array)]
    assert not odd, f"leaves of the state are not arrays: {odd}"
    saved = jax.tree.map(np.asarray, serialization.to_state_dict(state))
    restored = jax.tree.map(jnp.asarray, serialization.from_state_dict(replay.init(row), saved))
    _same("a restored state", restored, state)
    _same("sampling a restored state", _sample(replay, restored, key), _sample(replay, state, key))


def check_made_by(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """A state is used by equal configurations alone: by no other sizes, windows or memory of a sampler."""
    replay = replace(replay, capacity=2 * replay.capacity)  # so that there is room for longer windows
    twin, state, rows, key = copy.deepcopy(replay), replay.init(row), make_rows(0), jax.random.key(0)
    none = Index(jnp.zeros(0, jnp.int32), jnp.zeros(0, jnp.int32))
    verbs: dict[str, Callable[[Replay, ReplayState], Any]] = {
        "add": lambda replay, state: replay.add(state, rows),
        "sample": lambda replay, state: replay.sample(state, key),
        "update": lambda replay, state: replay.update(state, none),
        "get": lambda replay, state: replay.get(state, none),
        "age": lambda replay, state: replay.age(state, none),
        "size": lambda replay, state: replay.size(state),
        "count": lambda replay, state: replay.count(state),
        "can_sample": lambda replay, state: replay.can_sample(state),
        "from_state_dict": lambda replay, state: serialization.from_state_dict(
            replay.init(row), serialization.to_state_dict(state)
        ),
    }
    others = {
        "another capacity": replace(replay, capacity=2 * replay.capacity),
        "longer windows": replace(replay, view=Sequences(replay.view.required + 1)),
        "another sampler": replace(replay, sampler=Counted(replay.sampler)),
    }
    for name, verb in verbs.items():
        jax.eval_shape(partial(verb, twin), state)  # raises, with the reason, if the state is not an equal one's
        for what, other in others.items():
            for user, maker in ((other, replay), (replay, other)):
                try:
                    jax.eval_shape(lambda user=user, maker=maker, verb=verb: verb(user, maker.init(row)))
                except ConfigurationError:
                    continue
                raise AssertionError(f"{name}() takes a state that {what} made")


def check_transforms(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """The same state and key give the same batch eagerly and under jit, vmap and scan."""
    states = [filled(replay, row, make_rows, steps) for steps in (replay.view.span + 2, 2 * replay.length + 3)]
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
    first = replay.add(states[1], rows[0])
    shared = {id(leaf) for leaf in jax.tree.leaves(first)} & {id(leaf) for leaf in jax.tree.leaves(states[1])}
    assert not shared, "the eager add returns an array that it was given: donated, it would delete the first state's"
    looped = [_sample(replay, state, key) for state, key in zip((first, replay.add(first, rows[1])), keys, strict=True)]
    _same("scan", scanned, _stack(looped))


def check_rows(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """No sample shows a row that was not added; without a legal window, valid is False and all is zero."""
    # Memory that no row was written to holds ones, where init() leaves zeros: neither may show.
    empty, key = poisoned(replay.init(row)), jax.random.key(3)
    batch = _sample(replay, empty, key)
    assert not (batch.valid | replay.can_sample(empty)), "batch.valid or can_sample() is True for an empty replay"
    for path, leaf in paths_of((batch.data, batch.mask, batch.probability)).items():
        assert not np.asarray(leaf).tobytes().strip(b"\0"), f"{path} of a batch from an empty replay is not zero"
    for steps in (replay.view.span + 2, 2 * replay.length + 3):
        state = filled(replay, row, make_rows, steps)
        batch = _sample(replay, state, key)
        assert batch.valid, (
            f"no window is legal after {steps} steps of make_rows; give it episodes of a length that the view reads"
        )
        assert batch.mask.any(), "a valid batch has no row"
        assert all(0 < p <= 1 for p in batch.probability.tolist()), "a drawn window's probability is not in (0, 1]"
        _same("get() of the sampled index", replay.get(state, batch.index)[1], batch.mask)
        other = filled(replay, row, make_rows, steps, poisoned)
        _same("what unwritten memory holds", _sample(replay, other, key), batch)


def check_probability(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """Where a sampler says how likely windows are, those of all legal ones sum to 1, and none of 0 is drawn."""
    for steps in (replay.view.span + 2, 2 * replay.length + 3):
        state = filled(replay, row, make_rows, steps)
        count = np.asarray(_count(replay, state))
        stream = jnp.asarray(np.repeat(np.arange(len(count), dtype=np.int32), count))
        rank = jnp.asarray(np.concatenate([np.arange(n, dtype=np.int32) for n in count]))
        batch = _sample(replay, state, jax.random.key(4))
        try:
            every, drawn, time = _weigh(replay, state, stream, rank, batch.index)
        except ConfigurationError:
            return  # it does not say
        assert abs(float(jnp.sum(every)) - 1) < 1e-4, f"probabilities of all legal windows sum to {jnp.sum(every)}"
        impossible = (drawn == 0) & (time >= 0)
        assert not impossible.any(), "a window was drawn that has probability 0 under the sampler"


def check_in_place(replay: Replay, row: Any, make_rows: MakeRows) -> None:
    """Donated, add and update keep every buffer where it is and copy nothing, at a larger capacity."""
    replay = replace(replay, capacity=max(16_384 // replay.num_streams, 64 * replay.length) * replay.num_streams)
    state = jax.jit(replay.add)(replay.init(row), make_rows(0))

    def update(state: ReplayState, key: jax.Array) -> ReplayState:
        batch = replay.sample(state, key)
        rows = replay.get(state, batch.index)[0]
        if names := {path[0] for path in state.spec.paths if path} - {"is_first", "is_last"}:
            rows = {name: field(rows, name) for name in names}
        priority = 1 + batch.probability if replay.sampler.takes_priority else None
        return replay.update(state, batch.index, priority=priority, rows=rows)

    assert_in_place(replay.add, state, make_rows(1))
    assert_in_place(update, state, jax.random.key(0))


CONTRACT = (
    check_configuration,
    check_state,
    check_made_by,
    check_transforms,
    check_rows,
    check_windows,
    check_can_sample,
    check_probability,
    check_in_place,
)
_sample = jax.jit(Replay.sample, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def _count(replay: Replay, state: ReplayState) -> jax.Array:
    return replay.legal(state).count()


@partial(jax.jit, static_argnums=0)
def _weigh(replay: Replay, state: ReplayState, stream: jax.Array, rank: jax.Array, index: Index) -> tuple[Any, ...]:
    """Return how likely windows of these ranks are, and those of a batch, with the times of these."""
    legal, anchor = replay.legal(state), replay.view.anchor(replay.legal(state), index)
    assert anchor is not None, "view.anchor() does not know the index of its own batch"
    likely = partial(replay.sampler.probability, state.sampler, legal)
    return likely(stream, legal.start(stream, rank)), likely(anchor.stream, jnp.maximum(anchor.time, 0)), anchor.time


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _same(what: str, got: Any, expected: Any) -> None:
    """Compare exactly, but for floats that programs may round differently."""
    chex.assert_trees_all_equal_shapes_and_dtypes(got, expected, custom_message=what)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(got)[0], jax.tree.leaves(expected), strict=True):
        a, b, where = np.asarray(a), np.asarray(b), f"{what}: {jax.tree_util.keystr(path)} differs"
        tolerance = 1e-6 if a.dtype.kind in "fc" else 0
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=where)
