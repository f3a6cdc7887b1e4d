"""Sizes and numbers of any exact type: they are taken by value, and stored as Python's."""

import dataclasses
from fractions import Fraction

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from oracle import quick_jit

import jaxbuffers as jb
from jaxbuffers import filters, returns


class Four:
    def __index__(self):
        return 4

    def __repr__(self):
        return "Four()"


def reward(achieved, desired):
    return achieved


SIZES = {
    "capacity": lambda n: jb.Replay(n, None),
    "num_envs": lambda n: jb.Replay(8, n),
    "batch_size": lambda n: jb.Replay(8, None, n),
    "length": jb.Sequences,
    "burn_in": lambda n: jb.Sequences(2, burn_in=n),
    "period": lambda n: jb.Sequences(2, period=n),
    "n_step": jb.Transitions,
    "max_length": jb.Episodes,
    "k": lambda n: jb.FrameStack(jb.Items(), n),
    "horizon": lambda n: jb.Recent(horizon=n),
    "groups": lambda n: jb.Clustered("group", n),
    "num_steps": lambda n: jb.Rollout(n, 2),
    "min_size": lambda n: jb.RateLimiter(1, n, 2),
}
NUMBERS = {
    "gamma": lambda x: jb.Transitions(gamma=x),
    "fraction": lambda x: jb.Hindsight(jb.Items(), reward, fraction=x),
    "half_life": lambda x: jb.Recent(half_life=x),
    "alpha": lambda x: jb.Prioritized(alpha=x),
    "eps": lambda x: jb.Prioritized(eps=x),
    "decay": lambda x: jb.Prioritized(decay=x),
    "initial": lambda x: jb.Prioritized(initial=x),
    "power": lambda x: jb.ByEpisode(power=x),
    "samplers' alpha": lambda x: jb.RankBased(alpha=x),
    "parts": lambda x: jb.Mix((x, jb.Uniform()), (x, jb.RankBased())),
    "samples_per_insert": lambda x: jb.RateLimiter(x, 3, 2),
    "tolerance": lambda x: jb.RateLimiter(0.25, 3, 2 * x),
}


def plain(value):
    """Whether a configuration holds Python's own numbers."""
    if dataclasses.is_dataclass(value):
        return all(plain(getattr(value, each.name)) for each in dataclasses.fields(value))
    if isinstance(value, tuple):
        return all(map(plain, value))
    return not isinstance(value, np.generic | np.ndarray | jax.Array | Four) and not hasattr(value, "dtype")


@pytest.mark.parametrize("size", [np.int64(4), np.int8(4), np.uint32(4), np.array(4), jnp.int32(4), Four()], ids=repr)
@pytest.mark.parametrize("name", SIZES)
def test_every_integer_is_a_size(name, size):
    got, want = SIZES[name](size), SIZES[name](4)
    assert (got, hash(got), repr(got)) == (want, hash(want), repr(want))
    assert plain(got)


HALVES = [np.float32(0.5), np.float16(0.5), np.float64(0.5), np.array(0.5), jnp.float32(0.5), ml_dtypes.bfloat16(0.5)]


@pytest.mark.parametrize("number", HALVES, ids=lambda number: f"{type(number).__name__}-{number.dtype}")
@pytest.mark.parametrize("name", NUMBERS)
def test_every_real_number_is_taken_by_its_value(name, number):
    if name == "tolerance":
        number = type(number)(1) if isinstance(number, np.generic) else number + number
    got, want = NUMBERS[name](number), NUMBERS[name](float(number))
    assert (got, hash(got), repr(got)) == (want, hash(want), repr(want))
    assert plain(got)


def test_a_number_keeps_its_exact_value():
    assert jb.Transitions(gamma=np.float32(0.99)).gamma == 0.9900000095367432
    assert jb.Transitions(gamma=np.float32(0.99)) != jb.Transitions(gamma=0.99)


@pytest.mark.parametrize(
    "size", [np.bool_(True), np.array([4]), np.float64(4.5), "4", None, 4j, jnp.bool_(True), Fraction(4)], ids=repr
)
@pytest.mark.parametrize("name", ["capacity", "length", "groups", "num_steps"])
def test_what_is_no_integer_is_no_size(name, size):
    with pytest.raises(jb.errors.ConfigurationError, match=f"{name} must be an int of at least"):
        SIZES[name](size)


@pytest.mark.parametrize(
    "number", [True, np.bool_(True), np.array([0.5]), "0.5", None, 0.5j, Fraction(1, 2), jax.random.key(0)], ids=repr
)
@pytest.mark.parametrize("name", ["gamma", "alpha", "power", "fraction"])
def test_what_is_no_one_real_number_is_refused(name, number):
    with pytest.raises(jb.errors.ConfigurationError, match=f"{name} must be a number from 0 to"):
        NUMBERS[name](number)


def test_a_traced_number_is_refused_as_it_has_no_value():
    for make, message in ((jb.Transitions, "n_step must be"), (lambda x: jb.Transitions(gamma=x), "gamma must be")):
        with pytest.raises(jb.errors.ConfigurationError, match=message):
            jax.eval_shape(make, jnp.int32(1))


def test_a_wider_float_that_would_lose_digits_is_refused():
    if np.finfo(np.longdouble).nmant > np.finfo(float).nmant:
        with pytest.raises(jb.errors.ConfigurationError, match="gamma"):
            jb.Transitions(gamma=np.longdouble(1) / 3)
    assert jb.Transitions(gamma=np.longdouble(0.5)) == jb.Transitions(gamma=0.5)


def test_a_whole_float_is_refused_with_what_to_write():
    for size in (4.0, np.float32(4)):
        with pytest.raises(jb.errors.ConfigurationError, match="Write 4"):
            jb.Replay(size, None)


def test_functions_take_exact_numbers_too():
    score, no, three = jnp.array([0.0, 1.0, 2.0]), jnp.zeros(3, bool), jnp.arange(3.0)
    assert filters.successful(score, np.float32(1)).tolist() == [False, True, True]
    assert filters.top_quantile(score, np.float32(0.5)).tolist() == [False, True, True]
    returned = [
        quick_jit(lambda x, bar=bar: returns.vtrace(x, x, x, no, no, x, gamma=0.5, rho_bar=bar, c_bar=bar)[0])(three)
        for bar in (2, np.int64(2))
    ]
    np.testing.assert_array_equal(*returned)
    batches = jb.minibatches(jax.random.key(0), {"x": three}, np.int64(3))
    assert len(batches) == 1
    assert jb.text[np.int64(8)] == jb.text[8]
    replay = jb.Replay(4, None)
    sample = jax.eval_shape(lambda: replay.sample(replay.init(jnp.float32(0)), jax.random.key(0), np.int64(3)))
    assert sample.data.shape == (3,)
    limiter = jb.RateLimiter(1, 1, 2)
    assert int(limiter.insert(limiter.init(), np.int64(1)).size) == 1
    rollout = jb.Rollout(2, 2)
    assert rollout.register(rollout.init(), "x", (np.int64(3),)).data["x"].shape == (2, 2, 3)
