"""Pairs of small rows, uniform and prioritized, beside flashbax where it is installed."""

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jaxbuffers as jb
from benchmarks.accelerator.cases import Case, Group, Side, nbytes
from benchmarks.accelerator.filling import filled, time_of
from benchmarks.same import GAMMA
from benchmarks.sides.rows import ACTION, OBS, PAIRS, item, our_pair, row, their_pair

ENVS, ALPHA, BETA, EPS = 16, 0.6, 0.4, 1e-6
BLOCK = 512  # rows of each stream that are added at once while a ring is filled
CYCLE = 2**16  # rows differ in a number below this
BOTH = f"add + sample {PAIRS}"


def rows(time: jax.Array) -> jb.Row:
    """Rows of all environments at some times ``[*N]``: leaves ``[*N, E, ...]``, numbers below 1 that float32 holds."""
    time = jnp.asarray(time)[..., None]
    value = _value(time, jnp.arange(ENVS))
    ends, shape = time % 100 == 99, value.shape
    return jb.Row(
        jnp.broadcast_to(value[..., None], (*shape, OBS)),
        jnp.broadcast_to(value[..., None], (*shape, ACTION)),
        value,
        jnp.broadcast_to(time % 100 == 0, shape),
        jnp.broadcast_to(ends, shape),
        jnp.broadcast_to(ends & (time % 200 == 99), shape),
    )


def _value(time: jax.Array, stream: jax.Array) -> jax.Array:
    return ((time * ENVS + stream) % CYCLE).astype(jnp.float32) / CYCLE


def groups(sizes: list[int], prioritized: bool) -> Iterator[Group]:
    """Yield a group for each size."""
    peer = importlib.util.find_spec("flashbax") is not None
    for size in sizes:
        capacity = size // ENVS * ENVS
        sides = (_ours(capacity, prioritized), *((_flashbax(capacity, prioritized),) if peer else ()))
        note = "" if peer else "flashbax is not installed"
        yield Group("prioritized" if prioritized else "uniform", capacity, sides, note)


def _ours(capacity: int, prioritized: bool) -> Side:
    sampler = jb.Prioritized(alpha=ALPHA) if prioritized else jb.Uniform()
    replay = jb.Replay(capacity, ENVS, PAIRS, jb.Transitions(gamma=GAMMA), sampler)

    def add(state: jb.ReplayState, time: jax.Array, key: jax.Array) -> tuple:
        return replay.add(state, rows(time)), ()

    def sample(state: jb.ReplayState, time: jax.Array, key: jax.Array) -> tuple:
        return state, replay.sample(state, key)

    def update(state: jb.ReplayState, time: jax.Array, key: jax.Array) -> tuple:
        # The windows that begin at the newest rows but one, every third: known without a draw.
        back = jnp.arange(PAIRS, dtype=jnp.int32)
        index = jb.Index(time=time - 2 - 3 * (back // ENVS), stream=back % ENVS)
        priority = jnp.ones(PAIRS) + jax.random.key_data(key)[-1].astype(jnp.float32) / 2.0**33
        return replay.update(state, index, priority=priority), ()

    def both(state: jb.ReplayState, time: jax.Array, key: jax.Array) -> tuple:
        state, _ = add(state, time, key)
        return state, our_pair(replay.sample(state, key))

    def whole(state: jb.ReplayState, time: jax.Array, key: jax.Array) -> tuple:
        state, _ = add(state, time, key)
        batch = replay.sample(state, key)
        weight = jb.importance_weights(batch.probability, replay.count(state), BETA)
        priority = jnp.abs(weight * batch.data.reward) + EPS
        return replay.update(state, batch.index, priority=priority), our_pair(batch)

    batch, added = _moved(sample, replay), nbytes(jax.eval_shape(rows, jnp.int32(0)))
    cases = [Case("add 16 rows", _clocked(add), added, True), Case(f"sample {PAIRS}", _clocked(sample), batch, False)]
    if prioritized:
        cases += [
            Case(f"update {PAIRS}", _clocked(update, 0), 8 * PAIRS, True),
            Case(f"{BOTH} + update", _clocked(whole), batch + added, True),
        ]
    else:
        cases += [Case(BOTH, _clocked(both), batch + added, True)]
    fill = filled(replay, rows, BLOCK)

    def full(held: tuple) -> tuple:
        state = fill(held[0])
        return state, time_of(state)

    check = _checked(replay)
    return Side(
        "jaxbuffers", capacity, lambda: (replay.init(row()), jnp.int32(0)), full, tuple(cases),
        lambda held: check(held[0]),
    )  # fmt: skip


def _clocked(step: Callable, ticks: int = 1) -> Callable:
    """Keep the time beside the state, as an environment does: rows do not wait for what a replay counts."""

    def clocked(held: tuple, key: jax.Array) -> tuple:
        state, outputs = step(*held, key)
        return (state, held[1] + ticks), outputs

    return clocked


def _moved(sample: Callable, replay: jb.Replay) -> int:
    """Bytes of a batch, read and written."""
    state = jax.eval_shape(lambda: replay.init(row()))
    return 2 * nbytes(jax.eval_shape(sample, state, jnp.int32(0), jax.random.key(0))[1])


def _checked(replay: jb.Replay) -> Callable[[Any], None]:
    @jax.jit
    def wrong(state: jb.ReplayState, key: jax.Array) -> jax.Array:
        batch = replay.sample(state, key, 4096)
        want = _value(batch.index.time, batch.index.stream)
        return jnp.sum(batch.data.obs != want[:, None]) + ~batch.valid

    def check(state: Any) -> None:
        count = int(wrong(state, jax.random.key(3)))
        assert not count, f"{count} numbers of a sample are not those that were added"

    return check


def _flashbax(capacity: int, prioritized: bool) -> Side:
    buffer = _buffer(capacity, prioritized, block=False)
    blocks = _buffer(capacity, prioritized, block=True)  # the same states, filled by many rows at once
    length = capacity // ENVS
    size = min(length, BLOCK)

    def fill(held: tuple) -> tuple:
        def body(i: jax.Array, state: Any) -> Any:
            block = item(rows(i * size + jnp.arange(size)))
            return blocks.add(state, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), block))

        state = jax.lax.fori_loop(0, length // size + 2, body, held[0])
        return state, held[1] + (length // size + 2) * size

    def both(state: Any, time: jax.Array, key: jax.Array) -> tuple:
        state = buffer.add(state, item(rows(time)))
        return state, their_pair(buffer.sample(state, key))

    def whole(state: Any, time: jax.Array, key: jax.Array) -> tuple:
        state = buffer.add(state, item(rows(time)))
        batch = buffer.sample(state, key)
        weight, pair = (1 / batch.probabilities) ** BETA, their_pair(batch)
        priority = jnp.abs(weight / jnp.max(weight) * pair.reward) + EPS
        return buffer.set_priorities(state, batch.indices, priority), pair

    case = Case(f"{BOTH} + update", _clocked(whole), 0, True) if prioritized else Case(BOTH, _clocked(both), 0, True)

    @jax.jit
    def wrong(state: Any, key: jax.Array) -> jax.Array:
        pair = their_pair(buffer.sample(state, key))
        first, following = pair.obs[:, :1], (pair.obs[:, :1] * CYCLE + ENVS) % CYCLE / CYCLE
        parts = pair.obs != first, pair.action != first, pair.next_obs != following, pair.reward != following[:, 0]
        return sum(jnp.sum(part) for part in parts) + ~state.is_full

    def check(held: tuple) -> None:
        count = int(wrong(held[0], jax.random.key(3)))
        assert not count, f"{count} numbers of a sample are not of two rows that follow each other"

    one = jax.tree.map(lambda x: x[0], item(rows(jnp.int32(0))))
    return Side("flashbax", capacity, lambda: (buffer.init(one), jnp.int32(0)), fill, (case,), check)


def _buffer(capacity: int, prioritized: bool, block: bool) -> Any:
    import flashbax as fbx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same = {"max_length": capacity, "min_length": PAIRS, "sample_batch_size": PAIRS}
        same |= {"add_batch_size": ENVS, "add_sequences": block}
        if not prioritized:
            return fbx.make_flat_buffer(**same)
        device = {"cuda": "gpu", "rocm": "gpu"}.get(jax.default_backend(), jax.default_backend())
        return fbx.make_prioritised_flat_buffer(**same, priority_exponent=ALPHA, device=device)
