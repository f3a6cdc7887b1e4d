"""Long rollouts and every float dtype: results as good as float64 arithmetic, rounded once."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from oracle import quick_jit
from returns_reference import rollout
from tier import long_but

from jaxbuffers import returns

STEPS = 20_000


def ulps(got, want):
    """The largest error, in units in the last place of the float nearest to the truth."""
    want = np.asarray(want)
    spacing = np.spacing(np.abs(want).astype(got.dtype)).astype(np.float64)
    return np.max(np.abs(np.float64(got) - want) / spacing)


def rounded_once(got, want):
    """Assert that float32 results are the nearest to the truth, or as good as the nearest."""
    # Where terms cancel, the last place of the result is finer than what the second words hold.
    scale = np.max(np.abs(want)) * 2.0**-40
    spacing = np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)
    assert (np.abs(np.float64(got) - want) <= 0.501 * spacing + scale).all()


def recursion(x, weight, cut):
    """``y[t] = x[t] + weight[t] * y[t + 1]`` in the dtype of x."""
    out, y = np.zeros_like(x), x.dtype.type(0)
    for t in reversed(range(len(x))):
        y = out[t] = x[t] + (0 if cut[t] else weight[t] * y)
    return out


def constant(steps):
    """Rewards that round the same way at each step: the worst case for a plain sum."""
    return np.full(steps, 0.1, np.float32), *rollout(steps, ends=0)[1:]


CASES = {
    "one episode": lambda: rollout(STEPS, ends=0),
    "constant reward": lambda: constant(STEPS),
    "20 episodes": lambda: rollout(STEPS, ends=1e-3),
}


def column_of_5(function):
    """Five environments at once, one more than fit into whole vectors: compilers treat the last differently."""
    mapped = jax.jit(jax.vmap(function, in_axes=1, out_axes=1))
    return lambda *steps: {name: x[:, 4] for name, x in mapped(*(np.stack([x] * 5, axis=1) for x in steps)).items()}


GAMMAS = [*((gamma, jax.jit) for gamma in (0.0, 0.99, 0.9999, 1.0)), (0.9999, quick_jit), (0.9999, column_of_5)]


@pytest.mark.parametrize("case", long_but([*CASES.values()], quick=[1]), ids=CASES)
@pytest.mark.parametrize("gamma, compiled", long_but(GAMMAS, quick=[5]))
def test_20000_steps_are_rounded_once(case, gamma, compiled):
    reward, value, next_value, terminated, truncated = case()
    r, v, n = (np.float64(x) for x in (reward, value, next_value))
    over = terminated | truncated
    over[-1] = True
    lam, ratio = 0.997, np.random.default_rng(1).lognormal(sigma=0.1, size=STEPS).astype(np.float32)
    arrived = np.where(terminated, 0, n)
    delta = r + gamma * arrived - v
    rho = np.minimum(np.float64(ratio), 1)
    traced = recursion(rho * delta, gamma * lam * rho, over) + v
    want = {
        "mc": recursion(r, np.full(STEPS, gamma), over),
        "lambda": recursion(r + gamma * np.where(over, 1, 1 - lam) * arrived, np.full(STEPS, gamma * lam), over),
        "gae": recursion(delta, np.full(STEPS, gamma * lam), over),
        "vtrace": traced,
        "vtrace advantage": rho * (r + gamma * np.where(over, arrived, np.append(traced[1:], 0)) - v),
    }

    def every(reward, value, next_value, terminated, truncated):
        steps, flags = (reward, value, next_value, terminated, truncated), (terminated, truncated)
        advantage, target = returns.vtrace(*steps, ratio, gamma, lam)
        return {
            "mc": returns.mc_returns(reward, *flags, gamma),
            "lambda": returns.lambda_returns(reward, next_value, *flags, gamma, lam),
            "gae": returns.gae(*steps, gamma, lam)[0],
            "vtrace": target,
            "vtrace advantage": advantage,
        }

    got = compiled(every)(reward, value, next_value, terminated, truncated)
    for name in want:
        assert np.isfinite(got[name]).all(), name
        rounded_once(np.asarray(got[name]), want[name])


def test_the_plain_float32_recursion_is_far_from_that():
    reward, *_, terminated, truncated = constant(STEPS)
    over, weight = terminated | truncated, np.full(STEPS, 0.9999)
    want = recursion(np.float64(reward), weight, over)
    assert ulps(recursion(reward, weight.astype(np.float32), over), want) > 500
    assert ulps(np.asarray(returns.mc_returns(reward, terminated, truncated, 0.9999)), want) < 0.501


def test_n_step_returns_of_20000_steps():
    reward, _, next_value, terminated, truncated = rollout(STEPS, ends=0.01)
    got = np.asarray(
        jax.jit(lambda *x: returns.n_step_returns(*x, 0.99, 10))(reward, next_value, terminated, truncated)
    )
    r, n, over = np.float64(reward), np.float64(next_value), terminated | truncated
    over[-1] = True
    after = arrived = np.where(terminated, 0, n)
    for _ in range(9):
        after = np.where(over, arrived, np.append((r + 0.99 * after)[1:], 0))
    rounded_once(got, r + 0.99 * after)


@pytest.mark.parametrize("dtype", long_but([np.float16, ml_dtypes.bfloat16, np.float32], quick=[1]))
def test_narrow_floats_are_rounded_once_too(dtype):
    reward, value, next_value, *flags = rollout(2000, ends=0.002)
    narrow = [x.astype(dtype) for x in (reward, value, next_value)]
    wide = [x.astype(np.float32) for x in narrow]
    ratio = np.random.default_rng(0).lognormal(size=2000).astype(dtype)
    pairs = [
        (
            returns.mc_returns(x[0], *flags, 0.99),
            returns.n_step_returns(x[0], x[2], *flags, 0.99, 5),
            returns.lambda_returns(x[0], x[2], *flags, 0.99, 0.9),
            *returns.gae(*x, *flags, 0.99, 0.9),
            *returns.vtrace(*x, *flags, ratio.astype(x[0].dtype), 0.99),
        )
        for x in (narrow, wide)
    ]
    for got, want in zip(*pairs, strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want).astype(dtype))


@pytest.mark.long  # 64-bit types; quick: 20,000 steps in float32, above
def test_float64_is_as_exact_with_64_bit_types():
    # 53 bits of each product's 106 are kept in the second word: longdouble is the reference.
    with jax.enable_x64(True):
        reward, *_, terminated, truncated = rollout(STEPS, ends=0)
        reward = np.float64(reward) / 3
        got = returns.mc_returns(reward, terminated, truncated, 0.9999)
        assert got.dtype == np.float64
        weight = np.full(STEPS, 0.9999, np.longdouble)
        want = recursion(reward.astype(np.longdouble), weight, terminated | truncated)
        error = np.abs(np.asarray(got).astype(np.longdouble) - want)
        assert (error <= 0.51 * np.spacing(np.abs(np.asarray(got))) + 1e-18 * np.abs(want).max()).all()
        floats = returns.gae(jnp.ones(3), jnp.ones(3), jnp.ones(3), *jnp.zeros((2, 3), bool), 0.9, 0.9)
        assert [x.dtype for x in floats] == [np.float64] * 2
        single = returns.mc_returns(np.ones(3, np.float32), *np.zeros((2, 3), bool), 0.9)
        assert single.dtype == np.float32


@pytest.mark.parametrize("scale", [1e38, 3.4028e38, 1e-38, 1e-44])
def test_the_largest_and_the_smallest_floats(scale):
    reward, no = np.array([0.0, scale], np.float32), np.zeros(2, bool)
    np.testing.assert_allclose(
        returns.mc_returns(reward, no, no, 0.5), [reward[1] / 2, reward[1]], rtol=1e-6, atol=1.2e-38
    )


def test_what_overflows_is_infinite_and_not_nan():
    reward, no = np.full(3, 3e38, np.float32), np.zeros(3, bool)
    np.testing.assert_array_equal(returns.mc_returns(reward, no, no, 1.0), np.float32([np.inf, np.inf, 3e38]))
