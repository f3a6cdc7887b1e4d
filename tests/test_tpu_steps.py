"""What `make check-tpu` calls a broken promise, given what XLA made of a step."""

from dataclasses import replace

import pytest

from benchmarks.tpu_steps import TREE_READS, Compiled, Step, faults

STEP = Step("a step", rows=64, shards=4, ring=1000, tree=100, function=lambda: None, args=())
GOOD = Compiled(accessed=200.0, temporary=100, aliased=1000, copies=[], moves=2, collectives=[])
NUMBER = ("all-reduce-start", (1, 1))


@pytest.mark.parametrize(
    "found, asked, growth, broken",
    [
        (GOOD, False, TREE_READS * 100 + 10, []),
        (GOOD, False, TREE_READS * 100 + 11, ["grows"]),
        (replace(GOOD, copies=["%copy"]), False, 0, ["makes a copy"]),
        (replace(GOOD, temporary=101), False, 0, ["holds a copy"]),
        (replace(GOOD, aliased=999), False, 0, ["not in place"]),
        (replace(GOOD, collectives=[NUMBER]), True, 0, []),
        (replace(GOOD, collectives=[NUMBER]), False, 0, ["devices talk"]),
        (replace(GOOD, collectives=[("all-reduce", (2,))]), True, 0, ["more than numbers are sent"]),
        (replace(GOOD, collectives=[("all-gather", (1,))]), True, 0, ["more than numbers are sent"]),
        (GOOD, True, 0, ["no collective where one was asked for"]),
    ],
)
def test_a_broken_promise_is_named(found, asked, growth, broken):
    assert faults(replace(STEP, asked=asked), found, growth, more_tree=100) == broken
