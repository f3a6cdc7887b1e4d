"""A case is compared and searched before it is timed, and fails where it must."""

import sys
from dataclasses import replace
from types import ModuleType

import jax
import jax.numpy as jnp
import pytest

from benchmarks import compiled, one
from benchmarks.case import Case, Contest, Difference, Side
from benchmarks.same import require

SIZE = 100_000


def copying(ring, start):
    """What is read is not ordered before what is written: XLA for CPU copies the ring."""
    return ring.at[start].set(jnp.float32(1)), jax.lax.dynamic_slice(ring, (start + 7,), (8,))


def in_place(ring, start):
    seen = jax.lax.dynamic_slice(ring, (start + 7,), (8,))
    return ring.at[start].set(jnp.sum(seen)), seen


@pytest.fixture
def case(monkeypatch, readable):
    """Return what makes a case of two functions, and lists the sides that ran."""
    runs = []

    def side(name, fn, shown, search=True):
        if search:
            ring, start = jax.ShapeDtypeStruct((SIZE,), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)
            compiled.compiled(name, jax.jit(fn, donate_argnums=0), ring, start, least=SIZE)
        return Side(lambda: runs.append(name), shown, note="7 MB")

    def same(ours, theirs):
        require(ours == theirs, "peer", "other rows")

    def make(peer=in_place, shown=1, search=True):
        planted = ModuleType("benchmarks.planted")
        planted.contest = lambda **_: Contest(  # type: ignore[attr-defined]
            lambda: side("jaxbuffers", in_place, 1), lambda: side("peer", peer, shown, search), same, per=2
        )
        monkeypatch.setitem(sys.modules, "benchmarks.planted", planted)
        both = "jaxbuffers", "peer"
        return Case("planted", "loop", "work", "peer", "planted:contest", searched=both, rounds=4, seconds=0.0)

    return make, runs


def test_a_right_case_is_timed_on_both_sides_in_turns(case):
    make, runs = case
    (found,) = one.measure(make())
    assert runs[:6] == ["jaxbuffers", "peer", "jaxbuffers", "peer", "peer", "jaxbuffers"]
    assert found["rounds"] == 3  # as few as there may be: there was no time for a fourth
    assert found["searched"] == ["jaxbuffers", "peer"]
    assert found["note"] == "ours: 7 MB, the peer: 7 MB"


def test_a_planted_copy_on_the_peers_side_fails_the_case_before_it_is_timed(case):
    make, runs = case
    with pytest.raises(compiled.LargeArrayError, match=r"peer: expected 0 arrays .*\n.*copy"):
        one.measure(make(peer=copying))
    assert not runs


def test_a_planted_difference_fails_the_case_before_it_is_timed(case):
    make, runs = case
    with pytest.raises(Difference, match="peer: other rows"):
        one.measure(make(shown=2))
    assert not runs


def test_a_side_that_nobody_searched_fails_the_case(case):
    make, runs = case
    with pytest.raises(compiled.LargeArrayError, match="nobody searched the programs of peer"):
        one.measure(make(search=False))
    assert not runs


def test_a_side_that_reads_less_fails_the_case(case, monkeypatch):
    make, runs = case
    right, reads = make(), {"jaxbuffers": ((8,), (8, 2)), "peer": ((8,),)}
    made = right.contest()
    both = [lambda name=name: Side(lambda: runs.append(name), 1, reads=reads[name]) for name in reads]
    monkeypatch.setattr(Case, "contest", lambda *_: replace(made, ours=both[0], theirs=both[1]))
    unsearched = replace(right, searched=())
    with pytest.raises(Difference, match="not as much is read"):
        one.measure(unsearched)
    assert not runs
    reads["peer"] = reads["jaxbuffers"]
    one.measure(unsearched)


def test_what_comes_before_each_call_is_called_for_both_sides_and_not_timed(case, monkeypatch):
    make, runs = case
    right = make()
    made = replace(right.contest(), before=lambda: runs.append("before"))
    monkeypatch.setattr(Case, "contest", lambda *_: made)
    one.measure(right)
    assert runs[::2] == ["before"] * (len(runs) // 2)
    assert runs[1::2] == ["jaxbuffers", "peer", "jaxbuffers", "peer", "peer", "jaxbuffers", "jaxbuffers", "peer"]


def test_a_copy_of_a_small_part_of_the_state_is_found_by_its_size(readable):
    ring, start = jax.ShapeDtypeStruct((SIZE,), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)
    program = jax.jit(copying, donate_argnums=0).lower(ring, start).compile().as_text()
    assert not list(compiled.large_arrays(program, 2 * SIZE))
    assert any("copy" in line for line in compiled.large_arrays(program, 2 * SIZE, held=(ring, start)))
    assert not list(compiled.large_arrays(program, 2 * SIZE, held=start))
    right = jax.jit(in_place, donate_argnums=0).lower(ring, start).compile().as_text()
    assert not list(compiled.large_arrays(right, 2 * SIZE, held=ring))


def test_each_point_of_a_curve_is_measured(case):
    make, _ = case
    curve = make()
    object.__setattr__(curve, "axis", "size")
    object.__setattr__(curve, "points", (1, 10))
    assert [found["point"] for found in one.measure(curve)] == [1, 10]


def test_our_side_alone_is_not_searched(case, monkeypatch):
    make, runs = case
    monkeypatch.setattr(compiled, "SEARCH", True)
    (found,) = one.alone(make(peer=copying), rounds=5)
    assert runs == ["jaxbuffers"] * 6
    assert len(found["times"]) == 5


def test_in_a_program_that_makes_its_own_ring_only_loops_are_searched(readable):
    def looped(step):
        def run(start):
            return jax.lax.scan(step, jnp.full(SIZE, start, jnp.float32), start + jnp.arange(3, dtype=jnp.int32))

        return jax.jit(run).lower(jnp.int32(0)).compile().as_text()

    def written(ring, start):
        return ring.at[start].set(start.astype(jnp.float32)), None

    assert list(compiled.large_arrays(looped(written), SIZE))
    assert not list(compiled.large_arrays(looped(written), SIZE, in_loops=True))
    assert any("copy" in line for line in compiled.large_arrays(looped(copying), SIZE, in_loops=True))
