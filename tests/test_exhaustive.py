"""Exhaustive small cases: after every add, up to 3 laps, the replay holds what the oracle says, bit for bit."""

import itertools

import pytest
from oracle.exhaustive import Config, compare
from tier import long_but

import jaxbuffers as jb


def views(length):
    """All kinds of views of a ring of ``length`` rows: every window length in every mode, options in rotation."""
    yield jb.Items()
    for n_step in sorted({1, 2, length - 1}):
        if 1 <= n_step < length:
            yield jb.Transitions(n_step, gamma=0.5)
    turn = itertools.count(length)
    for window, episodes in itertools.product(range(1, length + 1), ("cross", "within", "pad")):
        i = next(turn)
        previous = i % 2 == 0 and window < length
        spare = length - window - previous
        yield jb.Sequences(
            window,
            episodes,
            burn_in=min(i // 2 % 3, spare),
            period=(1, 2, 3, 1)[i // 3 % 4],
            actions="previous" if previous else "taken",
            time_major=i % 5 == 0,
        )
    if length == 6:
        yield from (jb.Sequences(2, episodes) for episodes in ("cross", "within", "pad"))


def configs():
    """Rotate streams, rows an add and the clock over the views."""
    turn = itertools.count()
    for length in range(1, 7):
        for view in views(length):
            i = next(turn)
            num_envs, block = ((2, 1), (None, 1), (2, length), (1, 2), (2, 2))[i % 5]
            yield Config(length, view, num_envs, min(block, length), wraps=i % 3 == 0)


def for_quick(config):
    """Whether it is one for the quick tier: the least, and of four rows windows of 2 and 4 and the longest folds."""
    view = config.view
    if config.length == 1:
        return getattr(view, "episodes", "pad") == "pad"
    return config.length == 4 and getattr(view, "length", 2) % 2 == 0 and getattr(view, "n_step", 2) > 1


CONFIGS = [*configs()]
QUICK = [i for i, config in enumerate(CONFIGS) if for_quick(config)]


@pytest.mark.parametrize("config", long_but(CONFIGS, QUICK), ids=str)
def test_the_windows_are_exactly_the_legal_ones_and_hold_exactly_the_rows_stored(config):
    compare(config)
