"""Epochs: every window once, in orders that are all as likely, and going on where one was."""

import numpy as np
import pytest
from oracle.statistics import fits
from tier import budget

import jaxbuffers as jb
from jaxbuffers.episodes import epoch_order
from jaxbuffers.episodes.laws import ShuffledEpochs
from jaxbuffers.episodes.sampling import Sampling

from .twins import flagged_store


@pytest.mark.parametrize("listed", [2**20, 0])
def test_an_epoch_has_every_window_once_and_goes_on_where_it_was(listed, monkeypatch):
    monkeypatch.setattr(epoch_order, "LISTED", listed)
    sampling = Sampling(flagged_store([3, 5, 1, 2]))
    law, seen, laws = ShuffledEpochs(5), [], []
    for _ in range(11):  # three epochs, in batches that do not divide one
        laws.append(law)
        draw = sampling.draw(jb.Items(), 3, (0,), law)
        seen += list(zip(draw.episode.tolist(), draw.start.tolist(), draw.probability.tolist(), strict=True))
        law = law.after(11, 3)
    epochs = [[window[:2] for window in seen[i : i + 11]] for i in (0, 11, 22)]
    every = sorted((e, s) for e, n in zip((3, 4, 5, 6), (3, 5, 1, 2), strict=True) for s in range(n))
    assert all(sorted(epoch) == every for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert law == ShuffledEpochs(5, 3, 0, 11)
    again = sampling.draw(jb.Items(), 3, (9,), laws[4])
    assert (
        list(zip(again.episode.tolist(), again.start.tolist(), again.probability.tolist(), strict=True)) == seen[12:15]
    )
    other = sampling.draw(jb.Items(), 11, (0,), ShuffledEpochs(6))
    assert list(zip(other.episode.tolist(), other.start.tolist(), strict=True)) != epochs[0]
    # How likely: one of those that have not come in the epoch, as it was when the batch began.
    assert [p for *_, p in seen[:3]] == [np.float32(1 / 11)] * 3
    assert [p for *_, p in seen[9:12]] == [np.float32(1 / 2)] * 2 + [np.float32(1 / 11)]


def test_an_epoch_of_other_windows_is_the_next_one():
    law = ShuffledEpochs(1).after(10, 4)
    assert law == ShuffledEpochs(1, 0, 4, 10)
    assert law.among(12) == ShuffledEpochs(1, 1, 0, 12)
    assert law.after(12, 25) == ShuffledEpochs(1, 3, 1, 12)
    for wrong in ((0, 4), (10, -1), (2.5, 1)):
        with pytest.raises(jb.errors.ConfigurationError):
            law.after(*wrong)
    with pytest.raises(jb.errors.ConfigurationError, match="windows"):
        law.among(0)


@pytest.mark.parametrize("count", [4, 2**20 + 7])  # listed, and computed
def test_every_order_of_an_epoch_is_as_likely(count):
    cells = 24  # all orders of four; of many, where the first two numbers are: in six and in four parts of them
    counts = np.zeros(cells)
    for seed in range(budget(4000, 40_000)):
        if count == 4:
            order = epoch_order.in_order(seed, 0, count, np.arange(4))
            code = sum(int(np.sum(order[i + 1 :] < order[i])) * (6, 2, 1)[i] for i in range(3))
        else:
            first, second = epoch_order.in_order(seed, 0, count, np.arange(2)).tolist()
            code = first * 6 // count * 4 + second * 4 // count
        counts[code] += 1
    null = np.full(cells, 1 / cells)
    some_twice = np.where(np.arange(cells) < 6, 1.5, 1.0)
    fits(counts, null, {"a quarter half as often again": some_twice / some_twice.sum()})
