"""Shuffled passes, with every choice that its random bits can make: each order comes exactly as often as any other."""

import itertools
import math

import jax
import numpy as np
import pytest
from oracle import quick_jit
from tier import budget, long_but

from jaxbuffers.numerics.partial_shuffle import shuffled_passes

many = quick_jit(jax.vmap(shuffled_passes, in_axes=(None, None, 0, 0)))


def ends_of(first, whole, count):
    """Where the pass of each step begins and ends."""
    begins = [0] * first + [first + whole * (i // whole) for i in range(count)]
    ends = [first] * first + [begin + whole for begin in begins[first:]]
    return begins[:count], ends[:count]


def bits(choice, among):
    """The least 64 bits that choose this one of so many: two uint32."""
    number = -(-(choice << 64) // among)
    return number >> 32, number & 0xFFFFFFFF


def every_choice(first, whole, count):
    """Bits for each combination of choices: uint32 ``[C, count]`` twice."""
    _, ends = ends_of(first, whole, count)
    among = [end - step for step, end in enumerate(ends)]
    words = [[bits(choice, n) for choice in range(n)] for n in among]
    combinations = np.array([*itertools.product(*words)], np.uint64).astype(np.uint32)
    return combinations[..., 0], combinations[..., 1]


CASES = [(first, whole, count) for first in range(5) for whole in range(1, 5) for count in range(1, 9)]


def ways(first, whole, count):
    _, ends = ends_of(first, whole, count)
    return math.prod(end - step for step, end in enumerate(ends))


@pytest.mark.parametrize("count", long_but(range(1, 9), quick=[3]))
def test_every_order_of_every_pass_comes_equally_often(count):
    compared = 0
    for first, whole, number in CASES:
        if number != count or ways(first, whole, count) > 1000:
            continue
        chosen = every_choice(first, whole, count)
        passes, numbers = (np.asarray(x) for x in many(np.int32(first), np.int32(whole), *chosen))
        begins, _ = ends_of(first, whole, count)
        wanted = [0 if step < first else 1 + (step - first) // whole for step in range(count)]
        np.testing.assert_array_equal(passes, np.broadcast_to(wanted, passes.shape))
        # Each combination gives another result, and there are as many results as combinations: a bijection.
        orders = []
        for begin in sorted(set(begins)):
            steps = [step for step in range(count) if begins[step] == begin]
            orders.append([*itertools.permutations(range(first if begin < first else whole), len(steps))])
        everything = sorted(sum(parts, ()) for parts in itertools.product(*orders))
        assert sorted(map(tuple, numbers.tolist())) == everything
        compared += len(everything)
    assert compared > 10


def test_two_of_four_include_each_with_probability_one_half_and_each_pair_alike():
    _, numbers = many(np.int32(4), np.int32(1), *every_choice(4, 1, 2))
    pairs = [tuple(sorted(pair)) for pair in np.asarray(numbers).tolist()]
    assert {pair: pairs.count(pair) for pair in pairs} == dict.fromkeys(itertools.combinations(range(4), 2), 2)
    np.testing.assert_array_equal(np.bincount(np.reshape(numbers, -1)), [6] * 4)


def fisher_yates(first, whole, choices):
    """The textbook's loop, one pass after the other."""
    begins, ends = ends_of(first, whole, len(choices))
    places, result = {}, []
    for step, choice in enumerate(choices):
        place = step + choice
        assert begins[step] <= step <= place < ends[step]
        result.append(places.get(place, place) - begins[step])
        places[place] = places.get(step, step)
    return result


@pytest.mark.parametrize(
    "first, whole, count", [(1000, 5, 300), (100, 30, 300), (0, 7, 40), (5, 1, 30), (300, 300, 300)]
)
def test_long_passes_are_the_textbooks_shuffle_of_the_same_choices(first, whole, count):
    rng = np.random.default_rng(first + count)
    _, ends = ends_of(first, whole, count)
    # Small choices make long chains: what step 0 moved is moved again and again.
    kinds = [
        rng.random(count),
        rng.random(count) ** 8,
        np.zeros(count),
        np.full(count, 1 - 1e-9),
        (rng.random(count) < 0.5) * 0.02,
    ]
    choices = [[int(u * (end - step)) for step, (u, end) in enumerate(zip(kind, ends, strict=True))] for kind in kinds]
    words = np.array([[bits(c, end - i) for i, (c, end) in enumerate(zip(row, ends, strict=True))] for row in choices])
    _, numbers = many(np.int32(first), np.int32(whole), *np.moveaxis(words.astype(np.uint32), -1, 0))
    for got, row in zip(np.asarray(numbers), choices, strict=True):
        assert got.tolist() == fisher_yates(first, whole, row)


def test_chains_of_moves_are_followed_to_their_end():
    # Each step swaps with its neighbor, so what lay at the front is carried along, 257 steps long.
    for count in budget((2, 9, 257), (2, 3, 4, 5, 8, 9, 16, 17, 257)):
        _, ends = ends_of(1000, 1, count)
        words = np.array([[bits(1, end - step) for step, end in enumerate(ends)]], np.uint64).astype(np.uint32)
        _, numbers = many(np.int32(1000), np.int32(1), words[..., 0], words[..., 1])
        assert numbers[0].tolist() == list(range(1, count + 1))
        # And the other way: all swap with one far place, which each finds as the one before has left it.
        words = np.array([[bits(999 - step, 1000 - step) for step in range(count)]], np.uint64).astype(np.uint32)
        _, numbers = many(np.int32(1000), np.int32(1), words[..., 0], words[..., 1])
        assert numbers[0].tolist() == [999, *range(count - 1)]


def test_the_last_bits_choose_the_last_number():
    ones = np.full((1, 5), 2**32 - 1, np.uint32)
    assert many(np.int32(3), np.int32(4), ones, ones)[1].tolist() == [[2, 0, 1, 3, 0]]
    assert many(np.int32(3), np.int32(4), 0 * ones, 0 * ones)[1].tolist() == [[0, 1, 2, 0, 1]]
