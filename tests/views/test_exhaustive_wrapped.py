"""Exhaustive small cases of views that wrap views and of whole episodes: what the oracle says, bit for bit."""

import itertools
import re

import jax.numpy as jnp
import pytest
from oracle.exhaustive import Config, compare
from tier import long_but

import jaxbuffers as jb


def spoilt(achieved, desired):
    """A reward that no stored one is; with ``fraction=0`` it must never show."""
    return jnp.float32(1000) + (achieved + desired).sum().astype(jnp.float32)


def as_stored(view):
    """Hindsight of which nothing may be seen."""
    return jb.Hindsight(view, spoilt, fraction=0.0, achieved="obs", desired="obs")


def cores(length):
    """Views to wrap, of at most ``length`` rows: each mode and option, in rotation over the lengths."""
    yield jb.Items()
    if length > 1:
        yield jb.Transitions(1 + length % 3 if length > 3 else 1, gamma=0.5)
    yield jb.Episodes(length)
    turn = itertools.count(length)
    for episodes in ("cross", "within", "pad"):
        i = next(turn)
        previous = i % 2 == 0 and length > 1
        window = 1 + i % max(length - previous, 1)
        spare = length - window - previous
        yield jb.Sequences(
            window,
            episodes,
            burn_in=min(1 + i % 2, spare),
            period=1 + (i % 4 == 1),
            actions="previous" if previous else "taken",
            time_major=i % 5 == 0,
        )


def views(length):
    """Every core in a stack, with and without hindsight around or inside it; episodes by themselves."""
    turn = itertools.count(length)
    for k in range(2, min(length, 4) + 1):
        for core in cores(length - k + 1):
            i = next(turn)
            if (length + k + i) % (3 if length < 6 else 2):
                continue  # in rotation
            pad = ("first", "zero")[i % 2]
            yield (
                jb.FrameStack(core, k, pad),
                jb.FrameStack(as_stored(core), k, pad),
                as_stored(jb.FrameStack(core, k, pad)),
                jb.FrameStack(core, k, pad),
            )[i % 4]
    for longest in sorted({1, (length + 1) // 2, length}):
        yield jb.Episodes(longest)
    if length == 5:
        yield jb.FrameStack(jb.FrameStack(jb.Sequences(2, "pad"), 2), 3)
        yield jb.FrameStack(jb.FrameStack(jb.Items(), 3, "zero"), 2)
        yield from (as_stored(core) for core in cores(5))
        yield jb.FrameStack(jb.Sequences(2, "within", burn_in=1), 1)


def configs():
    """Rotate streams, rows an add and the clock over the views."""
    turn = itertools.count()
    for length in range(1, 7):
        for view in views(length):
            i = next(turn)
            num_envs, block = ((2, 1), (None, 1), (2, length), (1, 2), (2, 2))[i % 5]
            yield Config(length, view, num_envs, min(block, length), wraps=i % 3 == 0)


CONFIGS = [*configs()]
QUICK = [0, 22, 26, 28, 30, 33, 34]  # the least, and every kind of wrapping around several kinds of windows


@pytest.mark.parametrize("config", long_but(CONFIGS, QUICK), ids=lambda config: re.sub(r" at 0x\w+", "", str(config)))
def test_wrapped_windows_are_exactly_the_legal_ones_and_hold_exactly_what_the_oracle_says(config):
    compare(config)
