"""Shares: whatever boxes arrays were saved in, any other boxes of them come back; what is not all of them is found."""

import itertools
import random
from contextlib import ExitStack

import numpy as np
import pytest
from tier import budget

from jaxbuffers.checkpoint import shares
from jaxbuffers.checkpoint.boxes import covered, slices

SHAPES = [(), (1,), (5,), (0, 3), (4, 6), (3, 2, 4)]


def grid(choose, shape):
    """The boxes of some grid over an array, in some order."""
    edges = [sorted({0, size, *(choose.randrange(size + 1) for _ in range(choose.randrange(3)))}) for size in shape]
    axes = [list(itertools.pairwise(each)) or [(0, 0)] for each in edges]
    boxes = list(itertools.product(*axes))
    choose.shuffle(boxes)
    return boxes


def some_box(choose, shape):
    return tuple(tuple(sorted((choose.randrange(size + 1), choose.randrange(size + 1)))) for size in shape)


@pytest.mark.parametrize("seed", range(budget(20, 300)))
def test_any_boxes_of_an_array_come_back_from_any_others(tmp_path, seed):
    choose = random.Random(seed)
    count, path = choose.randint(1, 4), str(tmp_path / "run")
    arrays = {str(shape): np.arange(np.prod(shape), dtype=np.int32).reshape(shape) for shape in SHAPES}
    pieces = [{name: [] for name in arrays} for _ in range(count)]
    for name, array in arrays.items():
        for box in grid(choose, array.shape):
            choose.choice(pieces)[name].append((box, array[slices(box)]))
    sums = [shares.write_share(path, "0123abcd", number, count, each) for number, each in enumerate(pieces)]
    leaves = {
        name: {"kind": "array", "dtype": "int32", "shape": list(array.shape), "split": True}
        for name, array in arrays.items()
    }
    with ExitStack() as stack:
        found = shares.Shares(path, {"shares": {"token": "0123abcd", "sums": sums}, "leaves": leaves}, stack)
        found.check()
        for name, array in arrays.items():
            boxes = [some_box(choose, array.shape) for _ in range(3)] + grid(choose, array.shape)
            for box, part in found.parts(name, leaves[name], boxes).items():
                np.testing.assert_array_equal(part, array[slices(box)], strict=True)


@pytest.mark.parametrize("seed", range(budget(50, 1000)))
def test_boxes_that_make_up_an_array_are_told_from_all_others(seed):
    choose = random.Random(seed)
    shape = choose.choice(SHAPES)
    boxes = grid(choose, shape)
    for change in ("none", "one less", "one twice", "another"):
        changed = list(boxes)
        if change == "one less":
            changed.pop()
        elif change == "one twice":
            changed.append(choose.choice(changed))
        elif change == "another":
            changed[0] = some_box(choose, shape)
        times = np.zeros(shape, int)
        for box in changed:
            times[slices(box)] += 1
        assert covered(shape, changed) == bool((times == 1).all()), (shape, changed)


def test_a_box_outside_of_its_array_is_refused():
    assert not covered((4,), [((0, 5),)])
    assert not covered((4,), [((-4, 0),), ((0, 4),)])
