"""The same numbers as rlax, where it has the function: for one episode, or discounts of 0 at terminations."""

import warnings

import jax
import numpy as np
import pytest
from returns_reference import rollout

from jaxbuffers import returns

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside of its dependencies
    import rlax

pytestmark = pytest.mark.long  # quick: test_returns.py, where the definitions are the reference
STEPS, GAMMA = 50, np.float32(0.95)


@pytest.fixture(params=range(3))
def steps(request):
    """Terminations only, and values of one function: rlax knows no truncation and no final observation."""
    reward, value, _, terminated, _ = rollout(STEPS, request.param, ends=0.2)
    next_value = np.append(value[1:], np.float32(0.7))
    return reward, value, next_value, terminated, np.zeros(STEPS, bool)


def discounts(steps):
    return np.where(steps[3], np.float32(0), GAMMA)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_lambda_returns(steps, lam):
    want = rlax.lambda_returns(steps[0], discounts(steps), steps[2], np.float32(lam))
    got = returns.lambda_returns(steps[0], *steps[2:], float(GAMMA), lam)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_mc_returns(steps):
    want = rlax.discounted_returns(steps[0], discounts(steps), steps[2])
    got = returns.mc_returns(steps[0], *steps[3:], float(GAMMA), steps[2])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_step", [1, 3, 49])
def test_n_step_returns(steps, n_step):
    want = rlax.n_step_bootstrapped_returns(steps[0], discounts(steps), steps[2], n_step)
    got = returns.n_step_returns(steps[0], *steps[2:], float(GAMMA), n_step)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_gae(steps, lam):
    values = np.append(steps[1], steps[2][-1])
    want = rlax.truncated_generalized_advantage_estimation(steps[0], discounts(steps), np.float32(lam), values)
    got = returns.gae(*steps, float(GAMMA), lam)[0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lam", [0.7, 1.0])
def test_vtrace(steps, lam):
    ratio = np.random.default_rng(5).lognormal(size=STEPS).astype(np.float32)
    with jax.numpy_dtype_promotion("standard"):  # it multiplies by flags
        theirs = rlax.vtrace_td_error_and_advantage(
            *(steps[1], steps[2], steps[0], discounts(steps), ratio),
            *(np.float32(lam), np.float32(1.5), np.float32(1.5)),
        )
    advantage, target = returns.vtrace(*steps, ratio, float(GAMMA), lam, rho_bar=1.5)
    np.testing.assert_allclose(target - steps[1], theirs.errors, rtol=1e-5, atol=1e-5)
    if lam == 1:  # theirs mixes lam into the advantage as well, the paper does not
        np.testing.assert_allclose(advantage, theirs.pg_advantage, rtol=1e-5, atol=1e-5)
