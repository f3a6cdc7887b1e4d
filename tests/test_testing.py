"""The checks of jaxbuffers.testing can fail: each finds the fault it is there for, and says so."""

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers import testing

ROW = {"x": jnp.zeros(4, jnp.float32), "is_first": jnp.bool_(False)}
LARGE = 40_000


def big():
    return {"a": jnp.zeros(LARGE, jnp.float32), "n": jnp.int32(0)}


def write(state):
    return {"a": state["a"].at[state["n"]].set(jnp.float32(1)), "n": state["n"] + 1}


# assert_in_place.


@pytest.mark.usefixtures("readable")
def test_a_write_of_one_element_passes_and_the_state_stays_usable():
    state = big()
    testing.assert_in_place(write, state)
    testing.assert_in_place(lambda state: (write(state), state["n"]), state)
    assert not state["a"].any()


@pytest.mark.usefixtures("readable")
def test_shapes_alone_are_enough_to_inspect_the_program():
    testing.assert_in_place(write, jax.eval_shape(big))
    with pytest.raises(AssertionError, match="leaf 'a'"):
        testing.assert_in_place(rolled, jax.eval_shape(big))


def rolled(state):
    return {"a": jnp.roll(state["a"], 1), "n": state["n"]}


def unordered(state):
    return write(state), jax.lax.dynamic_slice(state["a"], (state["n"] + 7,), (9,))


def in_a_loop(state):
    def body(state, _):
        new, seen = unordered(state)
        return new, seen

    return jax.lax.scan(body, state, None, length=3)


def shrunk(state):
    return {"a": state["a"].astype(jnp.float16), "n": state["n"]}


def sorted_whole(state):
    return {"a": jnp.sort(state["a"]), "n": state["n"]}


def swapped(state):
    return {"a": state["b"], "b": state["a"]}


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize(
    "fn, evidence",
    [
        (rolled, r"leaf 'a' \(f32\[40000\], 160000 bytes\)"),
        (unordered, r"copies leaf 'a' \(f32\[40000\], 160000 bytes\): %\S+ = copy"),
        (in_a_loop, r"copies leaf 'a' \(f32\[40000\], 160000 bytes\): %\S+ = copy"),
        (shrunk, r"reuses only 4 of the 160000 donated bytes of leaf 'a'"),
        (sorted_whole, "leaf 'a'"),
    ],
)
def test_each_way_of_copying_is_found_named_and_answered_with_the_remedy(fn, evidence):
    with pytest.raises(AssertionError, match=evidence) as caught:
        testing.assert_in_place(fn, big())
    assert "donate_argnums=0" in str(caught.value)
    assert "jb.fence(state, batch)" in str(caught.value)


@pytest.mark.usefixtures("readable")
def test_buffers_that_change_places_are_found():
    state = {"a": jnp.zeros(LARGE), "b": jnp.ones(LARGE)}
    with pytest.raises(AssertionError, match=r"leaf '[ab]'"):
        testing.assert_in_place(swapped, state)


@pytest.mark.usefixtures("readable")
def test_a_temporary_larger_than_the_state_is_found():
    def wasteful(state):
        waste = jnp.arange(4 * LARGE, dtype=jnp.float32) + state["n"].astype(jnp.float32)
        return {"a": state["a"].at[state["n"]].set(jnp.sort(jnp.sin(waste))[7]), "n": state["n"]}

    with pytest.raises(AssertionError, match=r"holds \d+ bytes of temporaries"):
        testing.assert_in_place(wasteful, big())


def test_a_state_too_small_to_watch_is_refused_instead_of_passed():
    with pytest.raises(AssertionError, match="no leaf of the state has 16384 bytes"):
        testing.assert_in_place(write, {"a": jnp.zeros(8), "n": jnp.int32(0)})


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "bfloat16", "float16", "uint32", "complex64", "float8_e5m2"]
)
def test_copies_of_any_dtype_are_found(dtype):
    def both(state):
        read = jax.lax.dynamic_slice(state["a"], (state["n"] + 7,), (9,))
        return state | {"a": state["a"].at[state["n"]].set(jnp.ones((), dtype))}, read

    with pytest.raises(AssertionError, match="copies leaf 'a'"):
        testing.assert_in_place(both, {"a": jnp.zeros(LARGE, dtype), "n": jnp.int32(0)})


# The contract: views and samplers with one fault each.


@dataclass(frozen=True, eq=False)
class ComparedByIdentity(jb.View):
    required = 1

    def read(self, reader):
        return jb.Items().read(reader)


@dataclass(frozen=True)
class Unhashable(jb.View):
    offsets: list = field(default_factory=lambda: [0])
    required = 1

    def read(self, reader):
        return jb.Items().read(reader)


@dataclass(frozen=True)
class ReadsBeyond(jb.View):
    """Takes the row after the newest one from memory as it is."""

    required = 1

    def read(self, reader):
        index = reader.index([0, 1])
        rows = reader.legal.read(index.stream, index.time, jnp.ones_like(index.time, jnp.bool_))
        return rows, index


@dataclass(frozen=True)
class IgnoresInvalid(jb.View):
    required = 1

    def read(self, reader):
        data, index = jb.Items().read(reader)
        return jax.tree.map(lambda leaf: leaf + jnp.ones((), leaf.dtype), {"x": data["x"]}), index


@dataclass(frozen=True)
class ClaimsMissingRows(jb.View):
    """Says in its index that it read rows which are not there."""

    required = 1

    def read(self, reader):
        index = reader.index([0, 1])
        first = index.time[:, :1]
        after = jnp.where(first >= 0, reader.legal.shift(first, 1), -1)
        return reader.rows(index), jb.Index(index.stream, jnp.concatenate([first, after], axis=1))


def draw(legal, number, batch_size, valid=None):
    count = legal.count()
    ends = jnp.cumsum(count, dtype=jnp.int32)
    number = jnp.broadcast_to(number % jnp.maximum(ends[-1], 1), (batch_size,)).astype(jnp.int32)
    stream = jnp.minimum(jnp.searchsorted(ends, number, side="right").astype(jnp.int32), len(count) - 1)
    valid = ends[-1] > 0 if valid is None else valid
    chance = jnp.where(valid, jnp.float32(1) / jnp.maximum(ends[-1], 1).astype(jnp.float32), jnp.float32(0))
    start = legal.start(stream, number - (ends[stream] - count[stream]))
    return jb.Draw(stream, start, jnp.full(batch_size, chance), jnp.full(batch_size, valid))


@dataclass(frozen=True)
class Always(jb.Sampler):
    """Claims that there is always something to draw."""

    def draw(self, state, legal, key, batch_size):
        return draw(legal, jnp.int32(0), batch_size, valid=jnp.bool_(True))


CALLS = []


@dataclass(frozen=True)
class Impure(jb.Sampler):
    """Another draw at every trace."""

    def draw(self, state, legal, key, batch_size):
        CALLS.append(1)
        return draw(legal, jnp.int32(len(CALLS)), batch_size)


@dataclass(frozen=True)
class SumsToTwo(jb.Uniform):
    def probability(self, state, legal, stream, start):
        return 2 * super().probability(state, legal, stream, start)


@dataclass(frozen=True)
class DrawsTheImpossible(jb.Uniform):
    def probability(self, state, legal, stream, start):
        first = (legal.older(stream, start) == 0) & (stream == 0)
        return jnp.where(first, jnp.float32(1), 0)


@dataclass(frozen=True)
class WrongProbability(jb.Sampler):
    def draw(self, state, legal, key, batch_size):
        good = draw(legal, jnp.int32(0), batch_size)
        return replace(good, probability=good.probability * 0)


@dataclass(frozen=True)
class PythonState(jb.Sampler):
    def init(self, windows):
        return {"count": np.zeros(windows.ring.length, np.int32)}

    def draw(self, state, legal, key, batch_size):
        return draw(legal, jnp.int32(0), batch_size)


@dataclass(frozen=True)
class NeverEqual(jb.Sampler):
    """Another value at every look."""

    @property
    def memory(self):
        return object()

    def draw(self, state, legal, key, batch_size):
        return draw(legal, jnp.int32(0), batch_size)


@dataclass(frozen=True)
class CopiesItsState(jb.Sampler):
    """Shifts a table as long as the ring at every add."""

    def init(self, windows):
        return jnp.zeros((windows.ring.length, windows.ring.num_streams), jnp.int32)

    def add(self, state, *what):
        return jnp.roll(state, 1, axis=0)

    def draw(self, state, legal, key, batch_size):
        return draw(legal, jnp.int32(0), batch_size)


@pytest.mark.parametrize(
    "faulty, check, message",
    [
        (ComparedByIdentity(), testing.check_configuration, "not an equal value"),
        (Unhashable(), testing.check_configuration, "unhashable"),
        (PythonState(), testing.check_state, "not arrays"),
        (NeverEqual(), testing.check_made_by, "another configuration: sampler"),
        (Impure(), testing.check_transforms, "differs"),
        (ReadsBeyond(), testing.check_rows, "is not zero|unwritten memory"),
        (IgnoresInvalid(), testing.check_rows, "of a batch from an empty replay is not zero"),
        (ClaimsMissingRows(), testing.check_rows, r"get\(\) of the sampled index"),
        (Always(), testing.check_rows, "batch.valid or can_sample"),
        (WrongProbability(), testing.check_rows, "probability"),
        (SumsToTwo(), testing.check_probability, "sum to 2"),
        (DrawsTheImpossible(), testing.check_probability, "probability 0"),
        (CopiesItsState(), testing.check_in_place, "leaf 'sampler'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, jb.View | jb.Sampler) else None,
)
def test_the_contract_finds_one_fault_each(faulty, check, message, request):
    if check is testing.check_in_place:
        request.getfixturevalue("readable")
    part = {"view": faulty} if isinstance(faulty, jb.View) else {"sampler": faulty}
    replay = jb.Replay(capacity=12, num_envs=2, batch_size=8, **part)
    with pytest.raises((AssertionError, TypeError, jb.errors.ConfigurationError), match=message):
        check(replay, ROW, testing.numbered_rows(replay, ROW))


def test_the_module_needs_no_test_framework():
    code = "import sys; sys.modules['pytest'] = None; import jaxbuffers.testing"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
