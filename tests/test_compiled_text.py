"""The benchmarks' search of compiled programs finds arrays as large as the ring, and no others."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.compiled import LargeArrayError, compiled, large_arrays

pytestmark = pytest.mark.usefixtures("readable")  # compiled programs are read

SIZE, BATCH = 100_000, 8


def read(ring, start):
    return jax.lax.dynamic_slice(ring, (start,), (BATCH,))


def in_place(ring, start):
    """What is written depends on what was read, so the read comes first."""
    seen = read(ring, start)
    return ring.at[start].set(jnp.sum(seen)), seen


def unordered(ring, start):
    """Nothing says that the read comes first: XLA for CPU keeps the old ring for it."""
    return ring.at[start].set(jnp.float32(1)), read(ring, start + 7)


def scanned(step):
    return lambda ring, start: jax.lax.scan(step, ring, start + jnp.arange(3, dtype=jnp.int32))


def text(fn, *args):
    return jax.jit(fn, donate_argnums=0).lower(*args).compile().as_text()


RING, START = jax.ShapeDtypeStruct((SIZE,), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)


def written(ring, start):
    return ring.at[start].set(start.astype(jnp.float32)), None


@pytest.mark.parametrize("fn", [in_place, scanned(written), lambda ring, start: (ring, jnp.sum(read(ring, start)))])
def test_a_program_in_place_has_no_large_arrays(fn):
    assert not list(large_arrays(text(fn, RING, START), SIZE))
    assert list(large_arrays(text(fn, RING, START), 1)), "its small arrays are found once they count as large"


def fresh(ring, start):
    return jnp.zeros_like(ring).at[start].set(ring[0])


def sum_of_all(ring, start):
    return ring, jnp.sum(jnp.where(jnp.arange(SIZE, dtype=jnp.int32) < start, ring, jnp.float32(0)))


@pytest.mark.parametrize(
    "fn, what",
    [
        (unordered, " copy("),
        (scanned(unordered), " copy("),
        (lambda ring, start: ring.astype(jnp.bfloat16), "bf16[100000]"),
        (lambda ring, start: jnp.where(start > 0, ring, -ring), "f32[100000]"),
        (lambda ring, start: jnp.roll(ring, start), "f32[100000]"),
        (lambda ring, start: ring.reshape(4, -1).T, "f32["),
        (fresh, "f32[100000]"),
        (sum_of_all, "f32[100000]"),
    ],
    ids=["copy", "copy in a loop", "convert", "select", "roll", "transpose", "update of a new array", "sum"],
)
def test_each_large_array_is_found_with_its_line(fn, what):
    lines = list(large_arrays(text(fn, RING, START), SIZE))
    assert any(what in line for line in lines), lines


def test_an_array_of_the_size_of_a_batch_is_passed_over():
    program = text(lambda ring, start: (ring, -ring), RING, START)
    assert list(large_arrays(program, SIZE))
    assert not list(large_arrays(program, SIZE, batch={"obs": jax.ShapeDtypeStruct((SIZE // 4, 4), jnp.uint8)}))


def test_a_copy_fails_the_comparison_with_its_line_and_one_that_is_documented_must_be_there():
    jitted = {fn: jax.jit(fn, donate_argnums=0) for fn in (in_place, unordered)}
    with pytest.raises(LargeArrayError, match=r"peer: expected 0 arrays .*\n  .*f32\[100000\]\S* copy\("):
        compiled("peer", jitted[unordered], RING, START, least=SIZE)
    number = len(list(large_arrays(text(unordered, RING, START), SIZE)))
    compiled("peer", jitted[unordered], RING, START, least=SIZE, documented=number)
    with pytest.raises(LargeArrayError, match="peer: expected 1 arrays"):
        compiled("peer", jitted[in_place], RING, START, least=SIZE, documented=1)


def test_the_program_that_was_searched_is_the_one_that_runs():
    program = compiled("ours", jax.jit(in_place, donate_argnums=0), RING, START, least=SIZE)
    ring, seen = program(jnp.ones(SIZE, jnp.float32), jnp.int32(5))
    assert seen.tolist() == [1.0] * BATCH
    assert float(ring[5]) == BATCH
