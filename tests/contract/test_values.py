"""Configurations are values: what is written, copied, replaced or pickled is the same configuration."""

import copy
import dataclasses
import pickle

import jax.numpy as jnp
import pytest

import jaxbuffers as jb

from .catalog import SAMPLERS, VIEWS, at_goal, by_stream, favour_new, replay_of, show

NESTED = [
    jb.OnlineFirst(jb.Mix((0.5, jb.Counted(jb.Weighted(favour_new))), (0.5, jb.Clustered("extras.group", groups=3)))),
    jb.FrameStack(jb.FrameStack(jb.Hindsight(jb.Episodes(4), at_goal), 2), 3, pad="zero"),
]
PARTS = SAMPLERS + VIEWS + NESTED
WHOLE = [
    replay_of(VIEWS[10], SAMPLERS[11]),
    jb.Replay(8, None),
    jb.RateLimiter(4, 10, 16),
    jb.Rollout(4, 2),
    jb.Recorder("disabled"),
]
every = pytest.mark.parametrize("value", PARTS + WHOLE, ids=show)
NAMES = vars(jb) | {function.__name__: function for function in (at_goal, by_stream, favour_new)}


def assert_same(got, value):
    assert type(got) is type(value)
    assert got == value
    assert hash(got) == hash(value)
    assert repr(got) == repr(value)


@every
def test_what_is_written_makes_the_same_value(value):
    assert "0x" not in repr(value)
    assert_same(eval(repr(value), dict(NAMES)), value)


@every
def test_copies_are_the_same_value(value):
    for got in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert_same(got, value)


@every
def test_a_field_can_be_replaced_by_itself_and_by_another(value):
    assert_same(dataclasses.replace(value), value)
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        assert_same(dataclasses.replace(value, **{field.name: part}), value)


def test_the_parts_of_a_mixture_can_be_replaced():
    mix = jb.Mix((0.5, jb.Uniform()), (0.5, jb.Recent(horizon=4)))
    other = dataclasses.replace(mix, parts=(*mix.parts[:1], (0.5, jb.ByEpisode())))
    assert other == jb.Mix((0.5, jb.Uniform()), (0.5, jb.ByEpisode())) != mix
    for bad in ((), ((0.5, jb.Uniform()),), [(1.0, jb.Uniform())], jb.Uniform(), (1.0, jb.Uniform())):
        with pytest.raises(jb.errors.ConfigurationError):
            dataclasses.replace(mix, parts=bad)


def test_functions_without_a_name_are_still_shown():
    assert repr(jb.Weighted(lambda windows: jnp.zeros(4))).endswith("<lambda>, replace=False)")
