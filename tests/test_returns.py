"""Returns and advantages against their definitions, on any pattern of episode ends."""

from functools import partial
from inspect import signature

import numpy as np
import returns_reference as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import quick_jit
from returns_reference import GAMMAS, rollouts
from tier import budget

from jaxbuffers import returns

NUMBERS = ("gamma", "lam", "n_step", "rho_bar", "c_bar")


def with_numbers(function):
    """The function under jit, with Python numbers."""
    return quick_jit(function, static_argnames=[name for name in signature(function).parameters if name in NUMBERS])


jitted = {name: with_numbers(getattr(returns, name)) for name in returns.__all__}
any_case = settings(max_examples=budget(5, 80), deadline=None)
close = partial(np.testing.assert_allclose, rtol=3e-6, atol=3e-6)


def unread(x, where):
    """NaN wherever the function has no business to look."""
    return np.where(where, np.float32(np.nan), x)


def over(terminated, truncated):
    """The last steps: of an episode, and of all."""
    return terminated | truncated | (np.arange(len(terminated)) == len(terminated) - 1)


# Definitions


@any_case
@given(rollouts(), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_mc_returns_are_the_discounted_sum_to_the_end_of_the_episode(steps, gamma):
    reward, _, next_value, terminated, truncated = steps
    close(
        jitted["mc_returns"](reward, terminated, truncated, gamma=gamma),
        reference.mc_returns(reward, terminated, truncated, gamma),
    )
    next_value = unread(next_value, terminated | ~over(terminated, truncated) | (gamma == 0))
    close(
        jitted["mc_returns"](reward, terminated, truncated, gamma=gamma, next_value=next_value),
        reference.mc_returns(reward, terminated, truncated, gamma, next_value),
    )


@any_case
@given(rollouts())
def test_reward_to_go_is_the_sum_to_the_end_of_the_episode(steps):
    reward, _, next_value, terminated, truncated = steps
    last = [reference.horizon(terminated, truncated, t) for t in range(len(reward))]
    sums = np.array([np.sum(np.float64(reward[t : end + 1])) for t, end in enumerate(last)])
    close(jitted["reward_to_go"](reward, terminated, truncated), sums)
    end_value = np.where(terminated[last], 0, next_value[last])
    close(
        jitted["reward_to_go"](reward, terminated, truncated, next_value=unread(next_value, terminated)),
        sums + end_value,
    )


@any_case
@given(rollouts(), st.sampled_from([0.0, 0.9, 1.0]), st.sampled_from([1, 2, 5, 9, 40]))
def test_n_step_returns_look_n_steps_ahead_or_to_the_end_of_the_episode(steps, gamma, n_step):
    reward, _, next_value, terminated, truncated = steps
    next_value = unread(next_value, terminated | (gamma == 0))
    close(
        jitted["n_step_returns"](reward, next_value, terminated, truncated, gamma=gamma, n_step=n_step),
        reference.n_step_returns(reward, next_value, terminated, truncated, gamma, n_step),
    )


@any_case
@given(rollouts(), st.sampled_from(GAMMAS))
def test_lambda_returns_are_the_mixture_of_the_n_step_returns(steps, coefficients):
    reward, _, next_value, terminated, truncated = steps
    gamma, lam = coefficients
    next_value = unread(next_value, terminated | (gamma == 0) | ((lam == 1) & ~over(terminated, truncated)))
    close(
        jitted["lambda_returns"](reward, next_value, terminated, truncated, gamma=gamma, lam=lam),
        reference.lambda_returns(reward, next_value, terminated, truncated, gamma, lam),
    )


@any_case
@given(rollouts(), st.sampled_from(GAMMAS))
def test_gae_is_the_discounted_sum_of_temporal_differences(steps, coefficients):
    reward, value, next_value, terminated, truncated = steps
    gamma, lam = coefficients
    next_value = unread(next_value, terminated | (gamma == 0))
    got = jitted["gae"](reward, value, next_value, terminated, truncated, gamma=gamma, lam=lam)
    for x, want in zip(got, reference.gae(reward, value, next_value, terminated, truncated, gamma, lam), strict=True):
        close(x, want)


@any_case
@given(
    rollouts(),
    st.sampled_from(GAMMAS),
    st.sampled_from([(1.0, 1.0), (2.0, 0.5), (float("inf"), 3)]),
    st.integers(0, 99),
)
def test_vtrace_is_the_papers_sum(steps, coefficients, bars, seed):
    reward, value, next_value, terminated, truncated = steps
    (gamma, lam), (rho_bar, c_bar) = coefficients, bars
    next_value = unread(next_value, terminated | (gamma == 0))
    ratio = np.random.default_rng(seed).lognormal(size=len(reward)).astype(np.float32)
    options = {"gamma": gamma, "lam": lam, "rho_bar": rho_bar, "c_bar": c_bar}
    got = jitted["vtrace"](reward, value, next_value, terminated, truncated, ratio, **options)
    want = reference.vtrace(reward, value, next_value, terminated, truncated, ratio, **options)
    for x, y in zip(got, want, strict=True):
        close(x, y, rtol=2e-5, atol=2e-5)  # products of up to nine ratios


@quick_jit
def every(reward, value, next_value, terminated, truncated, ratio, gamma, lam):
    """Every function once, with arrays for discounts and mixtures."""
    return (
        returns.mc_returns(reward, terminated, truncated, gamma, next_value),
        returns.n_step_returns(reward, next_value, terminated, truncated, gamma, 3),
        returns.lambda_returns(reward, next_value, terminated, truncated, gamma, lam),
        *returns.gae(reward, value, next_value, terminated, truncated, gamma, lam),
        *returns.vtrace(reward, value, next_value, terminated, truncated, ratio, gamma, lam),
    )


@any_case
@given(rollouts(lengths=(9,)), st.integers(0, 99))
def test_discounts_and_mixtures_may_differ_from_step_to_step(steps, seed):
    reward, _, next_value, terminated, truncated = steps
    gamma, lam, ratio = np.random.default_rng(seed).random((3, 9)).astype(np.float32)
    want = (
        reference.mc_returns(reward, terminated, truncated, gamma, next_value),
        reference.n_step_returns(reward, next_value, terminated, truncated, gamma, 3),
        reference.lambda_returns(reward, next_value, terminated, truncated, gamma, lam),
        *reference.gae(*steps, gamma, lam),
        *reference.vtrace(*steps, ratio, gamma, lam, 1, 1),
    )
    for x, y in zip(every(*steps, ratio, gamma, lam), want, strict=True):
        close(x, y)
