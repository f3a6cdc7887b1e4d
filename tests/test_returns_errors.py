"""What the functions refuse, by name: nothing is cast, nothing is broadcast."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers import returns

T = 4
FLOATS = {name: np.ones(T, np.float32) for name in ("reward", "value", "next_value", "ratio")}
ARRAYS = FLOATS | {name: np.zeros(T, bool) for name in ("terminated", "truncated")}
VALUELESS = ["reward", "terminated", "truncated", "next_value"]
ACTOR = ["reward", "value", "next_value", "terminated", "truncated"]
TAKES = {
    "mc_returns": (VALUELESS, {"gamma": 0.9}),
    "reward_to_go": (VALUELESS, {}),
    "n_step_returns": (VALUELESS, {"gamma": 0.9, "n_step": 2}),
    "lambda_returns": (VALUELESS, {"gamma": 0.9, "lam": 0.9}),
    "gae": (ACTOR, {"gamma": 0.9, "lam": 0.9}),
    "vtrace": ([*ACTOR, "ratio"], {"gamma": 0.9, "lam": 0.9, "rho_bar": 1.0, "c_bar": 1.0}),
}
EACH_ARRAY = [(function, name) for function, (arrays, _) in TAKES.items() for name in arrays]
EACH_NUMBER = [
    (function, name) for function, (_, numbers) in TAKES.items() for name in ("gamma", "lam") if name in numbers
]


def call(function, **changed):
    arrays, numbers = TAKES[function]
    return getattr(returns, function)(**{**{name: ARRAYS[name] for name in arrays}, **numbers, **changed})


@pytest.mark.parametrize("function", TAKES)
def test_the_arguments_of_these_tests_are_accepted(function):
    call(function)


@pytest.mark.parametrize("function, name", EACH_ARRAY)
@pytest.mark.parametrize("shape", [(), (1,), (T + 1,), (T, 1), (1, T)])
def test_a_wrong_shape_is_refused_by_name(function, name, shape):
    wrong = name if name != "reward" or len(shape) != 1 else "terminated|value|next_value"
    with pytest.raises(jb.errors.ShapeError, match=rf"^({wrong}) has shape .*expected"):
        call(function, **{name: np.zeros(shape, ARRAYS[name].dtype)})


@pytest.mark.parametrize("function, name", EACH_ARRAY)
def test_no_steps_at_all_are_refused(function, name):
    with pytest.raises(jb.errors.ShapeError, match=rf"^{name} has shape \(0,\)"):
        call(function, **{name: np.zeros(0, ARRAYS[name].dtype)})


def test_batches_are_told_to_use_vmap():
    with pytest.raises(
        jb.errors.ShapeError, match=re.escape("Use jax.vmap; for [T, E] with in_axes=1 and out_axes=1.")
    ):
        call("gae", **{name: np.stack([ARRAYS[name]] * 3, axis=1) for name in ACTOR})


@pytest.mark.parametrize("function, name", EACH_ARRAY)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16, np.complex64, np.float64, bool, np.float32])
def test_a_wrong_dtype_is_refused_by_name(function, name, dtype):
    if dtype in (ARRAYS[name].dtype, np.float16 if name == "reward" else None):
        return
    with pytest.raises(jb.errors.DtypeError, match=rf"{name}\b"):
        call(function, **{name: np.zeros(T, dtype)})


def test_a_float16_reward_wants_float16_values():
    with pytest.raises(jb.errors.DtypeError, match="value has dtype float32, expected float16, like reward"):
        call("gae", reward=np.zeros(T, np.float16))


@pytest.mark.parametrize("function, name", EACH_ARRAY)
def test_a_list_is_refused_by_name(function, name):
    with pytest.raises(jb.errors.DtypeError, match=name):
        call(function, **{name: ARRAYS[name].tolist()})


@pytest.mark.parametrize("function, name", EACH_NUMBER)
@pytest.mark.parametrize("x", [-0.1, 1.1, float("nan"), float("inf"), True, 2])
def test_a_number_out_of_range_is_refused_by_name(function, name, x):
    with pytest.raises(jb.errors.ConfigurationError, match=rf"{name} must be in \[0, 1\]"):
        call(function, **{name: x})


@pytest.mark.parametrize("function, name", EACH_NUMBER)
@pytest.mark.parametrize(
    "x, error",
    [
        (jnp.int32(1), jb.errors.DtypeError),
        (np.zeros(T, np.float16), jb.errors.DtypeError),
        (np.zeros(T, bool), jb.errors.DtypeError),
        ("0.9", jb.errors.DtypeError),
        (None, jb.errors.DtypeError),
        (np.zeros(1, np.float32), jb.errors.ShapeError),
        (np.zeros((T, 1), np.float32), jb.errors.ShapeError),
        (np.zeros(0, np.float32), jb.errors.ShapeError),
    ],
)
def test_an_array_that_is_no_discount_is_refused_by_name(function, name, x, error):
    with pytest.raises(error, match=name):
        call(function, **{name: x})


@pytest.mark.parametrize("name", ["rho_bar", "c_bar"])
@pytest.mark.parametrize("x", [0, -1.0, float("nan"), True, None])
def test_a_bar_that_is_no_number_above_0_is_refused_by_name(name, x):
    with pytest.raises(jb.errors.ConfigurationError, match=f"{name} must be"):
        call("vtrace", **{name: x})


@pytest.mark.parametrize("x", [0, -1, 1.5, True, None])
def test_a_number_of_steps_that_is_no_int_above_0_is_refused(x):
    with pytest.raises(jb.errors.ConfigurationError, match="n_step must be"):
        call("n_step_returns", n_step=x)
