"""The rate limiter against plain fractions: exact at every state, in every transformation and in long runs."""

import math
from collections import deque
from fractions import Fraction
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import quick_jit
from tier import budget, long_but

from jaxbuffers.rate_limiter import RateLimiter, RateLimiterState

LIMIT = 2**30 - 1


class Oracle:
    """Reverb's two rules, on counts that never saturate; nothing at all is always allowed."""

    def __init__(self, ratio, min_size, tolerance):
        self.ratio, self.min_size, self.tolerance = Fraction(ratio), min_size, Fraction(tolerance)
        self.low, self.high = (min_size * self.ratio + sign * self.tolerance for sign in (-1, 1))
        self.inserts = self.samples = self.violations = 0

    def difference(self, inserts=0, samples=0):
        return (self.inserts + inserts) * self.ratio - (self.samples + samples)

    def can_insert(self, n):
        return n == 0 or self.inserts + n <= self.min_size or self.difference(inserts=n) <= self.high

    def can_sample(self, n):
        return n == 0 or (self.inserts >= self.min_size and self.difference(samples=n) >= self.low)

    def due(self, n):
        calls = 0
        while self.can_sample((calls + 1) * n):
            calls += 1
        return calls

    def insert(self, n):
        self.violations += not self.can_insert(n)
        self.inserts += n

    def sample(self, n):
        self.violations += not self.can_sample(n)
        self.samples += n

    @property
    def error(self):
        """In the state's units, with items missing from min_size left out."""
        beyond = max(self.inserts - self.min_size, 0)
        return (beyond * self.ratio - self.samples) * self.ratio.denominator


def read(limiter, state, n):
    return limiter.can_insert(state, n), limiter.can_sample(state, n), limiter.due(state, n)


answers, insert, sample = (quick_jit(verb, static_argnums=0) for verb in (read, RateLimiter.insert, RateLimiter.sample))


def agree(limiter, state, oracle, most=3):
    counts = min(oracle.inserts, oracle.min_size), oracle.error, oracle.violations
    assert tuple(map(int, (state.size, state.error, state.violations))) == counts
    for n in range(1, most + 1):
        got = tuple(x.item() for x in answers(limiter, state, jnp.int32(n)))
        assert got == (oracle.can_insert(n), oracle.can_sample(n), oracle.due(n)), (n, state)


SMALL = [
    (ratio, min_size, max(1, ratio) * stretch)
    for ratio, min_size, stretch in product(
        [Fraction(1), Fraction(1, 3), Fraction(2, 5), Fraction(7, 3), Fraction(4)], [1, 3], [1, Fraction(3, 2)]
    )
]


@pytest.mark.parametrize("ratio, min_size, tolerance", long_but(SMALL, quick=range(0, 20, 3)), ids=str)
def test_every_reachable_state_answers_as_the_definition_does_and_none_is_a_standstill(ratio, min_size, tolerance):
    limiter, oracle = RateLimiter(ratio, min_size, tolerance), Oracle(ratio, min_size, tolerance)
    seen, edges, queue = {(0, 0)}, set(), deque([(limiter.init(), 0, 0)])
    while queue:
        state, inserts, samples = queue.popleft()
        oracle.inserts, oracle.samples = inserts, samples
        agree(limiter, state, oracle)
        can_insert, can_sample = oracle.can_insert(1), oracle.can_sample(1)
        assert can_insert or can_sample
        edges.add((inserts >= min_size, can_insert, can_sample))
        for allowed, verb, more in ((can_insert, insert, (1, 0)), (can_sample, sample, (0, 1))):
            after = (min(inserts + more[0], min_size), oracle.difference(*more))
            if allowed and after not in seen:
                seen.add(after)
                queue.append((verb(limiter, state, jnp.int32(1)), inserts + more[0], samples + more[1]))
    assert {(True, True, False), (True, False, True)} <= edges


CALLS = st.lists(st.tuples(st.sampled_from(["insert", "sample"]), st.integers(0, 9)), max_size=30)
RATIOS = st.fractions(min_value=Fraction(1, 50), max_value=20, max_denominator=50)


@settings(max_examples=budget(6, 60), deadline=None)
@given(ratio=RATIOS, min_size=st.integers(1, 20), stretch=st.fractions(1, 4, max_denominator=7), calls=CALLS)
def test_any_calls_allowed_or_not_leave_the_exact_counts(ratio, min_size, stretch, calls):
    tolerance = max(1, ratio) * stretch
    limiter, oracle = RateLimiter(ratio, min_size, tolerance), Oracle(ratio, min_size, tolerance)
    state = limiter.init()
    for verb, n in calls:
        state = {"insert": insert, "sample": sample}[verb](limiter, state, jnp.int32(n))
        getattr(oracle, verb)(n)
    agree(limiter, state, oracle, most=2)


@settings(max_examples=budget(6, 60), deadline=None)
@given(
    ratio=RATIOS,
    min_size=st.integers(1, 20),
    inserts=st.integers(1, 6),
    samples=st.integers(1, 6),
    choices=st.lists(st.booleans(), max_size=30),
)
def test_batches_never_come_to_a_standstill_if_the_tolerance_is_as_large_as_the_docs_ask(
    ratio, min_size, inserts, samples, choices
):
    limiter = RateLimiter(ratio, min_size, max(1, samples, inserts * ratio))
    state = limiter.init()
    for choice in choices:
        can_insert = bool(answers(limiter, state, jnp.int32(inserts))[0])
        can_sample = bool(answers(limiter, state, jnp.int32(samples))[1])
        assert can_insert or can_sample
        first = can_insert if choice else not can_sample
        verb, n = (insert, inserts) if first else (sample, samples)
        state = verb(limiter, state, jnp.int32(n))
    assert int(state.violations) == 0


def test_reverbs_own_example_of_the_ratio():
    # Two samples an item, two items to begin with, an error of up to four: worked by hand from Reverb's rules.
    limiter = RateLimiter(2, 2, 4)
    state = limiter.insert(limiter.insert(limiter.init()))
    assert int(limiter.due(state)) == 4
    assert [bool(limiter.can_insert(state, n)) for n in (1, 2, 3)] == [True, True, False]
    state = limiter.sample(state, 4)
    assert not limiter.can_sample(state)
    assert [bool(limiter.can_insert(state, n)) for n in (4, 5)] == [True, False]
    assert int(limiter.due(limiter.insert(state), 2)) == 1


@pytest.mark.parametrize(
    "ratio", [0.1, 0.3, 1 / 3, 2 / 3, 1.1, 7.123457, 1e-6, 3, np.float64(0.7), 999_999 / 1_000_000]
)
def test_a_float_stands_for_the_fraction_that_was_meant(ratio):
    meant = Fraction(repr(float(ratio))).limit_denominator(10**6)
    limiter = RateLimiter(ratio, 1, max(1, math.ceil(ratio)))
    same = RateLimiter(meant, 1, max(1, math.ceil(ratio)))
    state = limiter.sample(limiter.insert(limiter.init(), 6))
    assert int(state.error) == 5 * meant.numerator - meant.denominator
    jax.tree.map(np.testing.assert_array_equal, state, same.sample(same.insert(same.init(), 6)))


def test_a_tolerance_stands_for_what_was_meant_too():
    # 2.3 is a little below 23 / 10 in binary: its floor in tenths would be 22.
    limiter = RateLimiter(0.1, 1, 2.3)
    state = limiter.insert(limiter.init(), 1 + 7)
    assert int(limiter.due(state)) == 3


@pytest.mark.parametrize("ratio, inserts", [(Fraction(1, 3), 1), (0.7, 9973), (Fraction(355, 113), 4999), (17, 1)])
def test_a_million_steps_hold_the_ratio_within_the_tolerance(ratio, inserts):
    ratio = Fraction(repr(ratio)) if isinstance(ratio, float) else Fraction(ratio)
    steps, tolerance = 10**6, max(Fraction(2), inserts * ratio)
    limiter = RateLimiter(ratio, 100, tolerance)

    def step(carry, _):
        state, high, low, most = carry
        state = limiter.insert(state, inserts)
        most = jnp.maximum(most, state.error)
        drawn = limiter.due(state)
        state = limiter.sample(state, drawn)
        low = low + drawn.astype(jnp.uint32)  # a count of 64 bits in two words
        high = high + (low < drawn.astype(jnp.uint32)).astype(jnp.uint32)
        return (state, high, low, most), None

    zero = jnp.uint32(0)
    run = quick_jit(lambda: jax.lax.scan(step, (limiter.init(), zero, zero, jnp.int32(0)), length=steps)[0])
    state, high, low, most = run()
    samples = (int(high) << 32) + int(low)
    error = (steps * inserts - 100) * ratio - samples
    assert abs(error) <= tolerance
    assert int(state.error) == error * ratio.denominator
    assert int(most) <= tolerance * ratio.denominator
    assert int(state.violations) == 0
    assert steps * inserts < 2**31 or samples > 2**31, "too short to wrap a counter"


def test_who_does_not_obey_is_told_and_nothing_wraps():
    limiter = RateLimiter(Fraction(500_000, 999_999), 5, 100)
    state = insert(limiter, limiter.init(), jnp.int32(2**31 - 1))
    assert tuple(map(int, (state.size, state.error, state.violations))) == (5, LIMIT, 1)
    state = insert(limiter, state, jnp.int32(2**31 - 1))
    assert tuple(map(int, (state.size, state.error, state.violations))) == (5, LIMIT, 2)
    assert not limiter.can_insert(state)
    assert int(limiter.due(state)) == (100 * 999_999 + LIMIT) // 999_999
    for count in (3, 4):
        state = sample(limiter, state, jnp.int32(2**31 - 1))
        assert tuple(map(int, (state.size, state.error, state.violations))) == (5, -LIMIT, count)
    assert not limiter.can_sample(state)
    assert int(limiter.due(state)) == 0
    assert limiter.can_insert(state, 2)
    full = state.replace(violations=jnp.int32(LIMIT))
    assert int(sample(limiter, full, jnp.int32(1)).violations) == LIMIT


def test_no_band_is_so_wide_that_its_edges_overflow():
    limiter = RateLimiter(1, 2**31 - 1, 2**29)
    state = insert(limiter, limiter.init(), jnp.int32(2**31 - 1))
    assert int(limiter.due(state)) == 2**29
    assert [bool(limiter.can_insert(state, n)) for n in (2**29, 2**29 + 1, 2**31 - 1)] == [True, False, False]
    state = insert(limiter, state, jnp.int32(2**29))
    assert int(limiter.due(state)) == 2**30
    state = sample(limiter, state, jnp.int32(2**30))
    assert tuple(map(int, (state.size, state.error, state.violations))) == (2**31 - 1, -(2**29), 0)
    assert limiter.can_insert(state, 2**30)


def test_no_count_is_so_large_that_it_passes_for_a_small_one():
    limiter = RateLimiter(Fraction(1, 2**16), 1, 1)  # 2**16 + 1 samples are 2**32 + 2**16 parts
    state = insert(limiter, limiter.init(), jnp.int32(1))
    assert [answers(limiter, state, jnp.int32(n))[2].item() for n in (1, 2**16 + 1, 2**31 - 1)] == [1, 0, 0]


@pytest.mark.parametrize("n", [-1, -(2**31)])
def test_a_negative_count_is_a_violation_and_changes_nothing_else(n):
    limiter = RateLimiter(1, 1, 2)
    before = limiter.insert(limiter.init(), 2)
    can_insert, can_sample, due = answers(limiter, before, jnp.int32(n))
    assert (bool(can_insert), bool(can_sample), int(due)) == (False, False, 0)
    for verb in (insert, sample):
        after = verb(limiter, before, jnp.int32(n))
        assert int(after.violations) == 1
        jax.tree.map(np.testing.assert_array_equal, after.replace(violations=before.violations), before)


def test_nothing_is_always_allowed():
    limiter = RateLimiter(1, 2, 1)
    state = limiter.init()
    assert limiter.can_insert(state, 0)
    assert limiter.can_sample(state, 0)
    assert int(limiter.due(state, 0)) == 0
    jax.tree.map(np.testing.assert_array_equal, limiter.sample(limiter.insert(state, 0), 0), state)


def test_the_answers_are_the_same_under_vmap_scan_and_without_jit():
    limiter, numbers = RateLimiter(0.75, 3, 4), jnp.arange(12, dtype=jnp.int32) % 4

    def step(state, n):
        state = limiter.sample(limiter.insert(state, n), jnp.minimum(n, limiter.due(state)))
        return state, (*read(limiter, state, n), state)

    scanned = jax.jit(lambda: jax.lax.scan(step, limiter.init(), numbers)[1])()
    state, rows = limiter.init(), []
    for n in numbers:
        state, row = step(state, n)
        rows.append(row)
    plain = jax.tree.map(lambda *x: jnp.stack(x), *rows)
    jax.tree.map(np.testing.assert_array_equal, scanned, plain)
    mapped = jax.vmap(lambda state, n: read(limiter, state, n))(plain[-1], numbers)
    jax.tree.map(np.testing.assert_array_equal, mapped, plain[:-1])
    assert [x.dtype for x in jax.tree.leaves(plain)] == [bool, bool, np.int32, np.int32, np.int32, np.int32]


def test_limiters_are_values_and_states_keep_their_structure():
    assert RateLimiter(0.5, 3, 1) == RateLimiter(Fraction(1, 2), 3, 1.0)
    assert hash(RateLimiter(0.5, 3, 1)) == hash(RateLimiter(Fraction(1, 2), 3, 1.0))
    limiter, traces = RateLimiter(0.5, 3, 1), []

    @jax.jit
    def step(state):
        traces.append(state)
        return limiter.sample(limiter.insert(state))

    state = limiter.init()
    for _ in range(3):
        state = step(state)
    assert len(traces) == 1
    assert isinstance(state, RateLimiterState)
