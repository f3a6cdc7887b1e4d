"""What the functions promise beyond their definitions: relations, isolation of episodes, gradients, transformations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import quick_jit
from returns_reference import rollout
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers import returns

GAMMA, LAM, STEPS = 0.9, 0.8, 40
RATIO = np.random.default_rng(9).lognormal(size=STEPS).astype(np.float32)
equal = np.testing.assert_array_equal
close = partial(np.testing.assert_allclose, rtol=3e-6, atol=3e-6)

# Each as a function of the five arrays of a step, batched functions included.
FUNCTIONS = {
    "mc": lambda r, v, n, d, c: returns.mc_returns(r, d, c, GAMMA),
    "mc bootstrapped": lambda r, v, n, d, c: returns.mc_returns(r, d, c, GAMMA, n),
    "to go": lambda r, v, n, d, c: returns.reward_to_go(r, d, c, n),
    "n-step": lambda r, v, n, d, c: returns.n_step_returns(r, n, d, c, GAMMA, 4),
    "lambda": lambda r, v, n, d, c: returns.lambda_returns(r, n, d, c, GAMMA, LAM),
    "gae": lambda *steps: returns.gae(*steps, GAMMA, LAM),
    "vtrace": lambda *steps: returns.vtrace(*steps, RATIO[: len(steps[0])], GAMMA, LAM),
}
each = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
# All of them are one recursion: here the one with the most arguments.
some = pytest.mark.parametrize("function", long_but([*FUNCTIONS.values()], quick=[6]), ids=FUNCTIONS)


def steps_with_ends(*ends, flag="terminated"):
    reward, value, next_value, _, _ = rollout(STEPS)
    here, nowhere = np.isin(np.arange(STEPS), ends), np.zeros(STEPS, bool)
    return reward, value, next_value, *((here, nowhere) if flag == "terminated" else (nowhere, here))


# Relations


def test_lambda_1_gives_mc_returns_and_lambda_0_one_step_returns_bit_for_bit():
    reward, _, next_value, *flags = rollout(STEPS, ends=0.3)
    with_lam = partial(returns.lambda_returns, reward, next_value, *flags, GAMMA)
    equal(with_lam(1.0), returns.mc_returns(reward, *flags, GAMMA, next_value))
    equal(with_lam(0), returns.n_step_returns(reward, next_value, *flags, GAMMA, 1))
    equal(returns.reward_to_go(reward, *flags), returns.mc_returns(reward, *flags, 1))


def test_n_steps_beyond_the_end_give_mc_returns():
    reward, _, next_value, *flags = rollout(STEPS, ends=0.1)
    want = returns.mc_returns(reward, *flags, GAMMA, next_value)
    for n_step in (STEPS, STEPS + 1, 10**9):
        close(returns.n_step_returns(reward, next_value, *flags, GAMMA, n_step), want)


def test_gae_and_on_policy_vtrace_have_lambda_returns_for_targets():
    # True of values of one function, where next_value[t] is value[t + 1] within an episode.
    reward, value, next_value, *flags = rollout(STEPS, ends=0.3)
    inside = ~(flags[0] | flags[1])[:-1]
    next_value[:-1] = np.where(inside, value[1:], next_value[:-1])
    want = returns.lambda_returns(reward, next_value, *flags, GAMMA, LAM)
    advantage, target = returns.gae(reward, value, next_value, *flags, GAMMA, LAM)
    close(target, want)
    close(advantage, want - value)
    close(returns.vtrace(reward, value, next_value, *flags, np.ones(STEPS, np.float32), GAMMA, LAM)[1], want)


def test_vtrace_clips_ratios():
    steps = rollout(STEPS, ends=0.2)
    ratio = np.where(np.arange(STEPS) % 2, np.float32(5), np.float32(0.25))
    clipped = np.minimum(ratio, 1)
    for x, y in zip(returns.vtrace(*steps, ratio, GAMMA), returns.vtrace(*steps, clipped, GAMMA), strict=True):
        equal(x, y)
    infinite = np.full(STEPS, np.inf, np.float32)
    assert np.isfinite(returns.vtrace(*steps, infinite, GAMMA)[0]).all()
    loose = returns.vtrace(*steps, ratio, GAMMA, rho_bar=4.0, c_bar=2.0)
    tight = returns.vtrace(*steps, np.minimum(ratio, 4), GAMMA, rho_bar=float("inf"), c_bar=2.0)
    for x, y in zip(loose, tight, strict=True):
        equal(x, y)
    assert not np.allclose(loose[1], returns.vtrace(*steps, ratio, GAMMA)[1])


def test_no_action_in_common_leaves_the_values_alone():
    steps = rollout(STEPS)
    advantage, target = returns.vtrace(*steps, np.zeros(STEPS, np.float32), GAMMA)
    equal(target, steps[1])
    equal(np.abs(advantage), 0)


# Ends of episodes


@each
@pytest.mark.parametrize("flag", ["terminated", "truncated"])
@pytest.mark.parametrize("end", long_but([0, 17, STEPS - 2], quick=[1]))
def test_nothing_of_the_next_episode_reaches_this_one(function, flag, end):
    steps = steps_with_ends(end, flag=flag)
    poisoned = [x.copy() for x in steps]
    for x in poisoned[:3]:
        x[end + 1 :] = np.nan
    if flag == "terminated":
        poisoned[2][end] = np.nan
    alone = [x[: end + 1] for x in steps]
    for got, want, short in zip(*(jax.tree.leaves(function(*x)) for x in (poisoned, steps, alone)), strict=True):
        equal(got[: end + 1], want[: end + 1])
        equal(got[: end + 1], short)
        assert np.isfinite(got[: end + 1]).all()
        assert np.isnan(got[end + 1 :]).all()


@some
def test_gradients_of_an_episode_are_finite_whatever_follows_it(function):
    reward, value, next_value, terminated, truncated = steps_with_ends(17)
    for x in (reward, value, next_value):
        x[18:] = np.nan
    next_value[17] = np.nan

    def total(reward, value, next_value):
        return sum(jnp.sum(x[:18]) for x in jax.tree.leaves(function(reward, value, next_value, terminated, truncated)))

    for gradient in jax.grad(total, (0, 1, 2))(reward, value, next_value):
        assert np.isfinite(gradient).all()
        equal(gradient[18:], 0)


@each
def test_a_step_that_is_terminated_and_truncated_is_terminated(function):
    reward, value, next_value, terminated, truncated = rollout(STEPS, ends=0.4)
    both = terminated | np.arange(STEPS) % 7 == 0
    got = function(reward, value, np.where(both, np.float32(np.nan), next_value), both, truncated | both)
    want = function(reward, value, next_value, both, truncated & ~both)
    jax.tree.map(equal, got, want)


def test_a_truncated_step_bootstraps_from_the_final_observation_and_not_from_the_next_episode():
    # One step of reward 1, cut off at an observation worth 10; the next episode begins at one worth -50.
    reward, value = jnp.array([1.0, 0.0]), jnp.array([2.0, -50.0])
    next_value, no = jnp.array([10.0, 0.0]), jnp.zeros(2, bool)
    cut = no.at[0].set(True)
    want = 1 + 0.5 * 10
    assert returns.n_step_returns(reward, next_value, no, cut, 0.5, 3)[0] == want
    assert returns.lambda_returns(reward, next_value, no, cut, 0.5, 0.7)[0] == want
    assert returns.mc_returns(reward, no, cut, 0.5, next_value)[0] == want
    assert returns.mc_returns(reward, no, cut, 0.5)[0] == 1
    assert returns.gae(reward, value, next_value, no, cut, 0.5, 0.7)[0][0] == want - 2
    assert returns.vtrace(reward, value, next_value, no, cut, jnp.ones(2), 0.5)[1][0] == want


@pytest.mark.parametrize("gamma", [0, 0.0])
def test_gamma_0_returns_the_rewards_and_reads_no_value(gamma):
    # Returns by a ratio of powers of gamma are NaN here.
    reward, value, _, *flags = rollout(STEPS)
    nan = np.full(STEPS, np.nan, np.float32)
    equal(returns.mc_returns(reward, *flags, gamma), reward)
    equal(returns.mc_returns(reward, *flags, gamma, nan), reward)
    equal(returns.n_step_returns(reward, nan, *flags, gamma, 5), reward)
    equal(returns.lambda_returns(reward, nan, *flags, gamma, 0.9), reward)
    equal(returns.gae(reward, value, nan, *flags, gamma, 0.9)[0], reward - value)
    equal(returns.vtrace(reward, value, nan, *flags, np.ones(STEPS, np.float32), gamma)[0], reward - value)


@pytest.mark.parametrize("gamma, lam", [(0, 0.9), (0.9, 0), (0.0, 0.0)])
def test_a_step_of_no_weight_may_be_nan(gamma, lam):
    # One episode; with gamma or lam 0 a step reads nothing of the steps after it but, without gamma 0, one value.
    reward, value, next_value, *flags = steps_with_ends()
    others = np.arange(STEPS) != 20
    for x in (reward, value):
        x[20] = np.nan
    results = [
        returns.lambda_returns(reward, next_value, *flags, gamma, lam),
        *returns.gae(reward, value, next_value, *flags, gamma, lam),
    ]
    if gamma == 0:
        results += [
            returns.mc_returns(reward, *flags, gamma),
            *returns.vtrace(reward, value, next_value, *flags, RATIO, gamma, lam),
        ]
    else:
        results.append(returns.vtrace(reward, value, next_value, *flags, RATIO, gamma, lam)[1])
    for x in results:
        assert np.isfinite(x[others]).all()
        assert np.isnan(x[20])


@each
def test_an_infinite_reward_gives_infinite_returns_and_no_nan(function):
    steps = steps_with_ends(17)
    steps[0][10] = np.inf
    for x in jax.tree.leaves(function(*steps)):
        assert not np.isnan(x).any()
        assert np.isposinf(x[10])


def test_the_steps_of_stored_rows_are_what_the_docs_say():
    # Three episodes as rows: one terminated, one truncated, one under way. v is any function of the observation.
    rows, alone = [], []
    for length, terminated, truncated in ((3, True, False), (4, False, True), (5, False, True)):
        obs = np.random.default_rng(length).normal(size=length + 1).astype(np.float32)
        reward = np.arange(1, length + 1, dtype=np.float32)
        rows.append(jb.episode_rows(obs, np.zeros(length, np.int32), reward, terminated, truncated))
        end = np.arange(length) == length - 1
        alone.append((reward, np.sin(obs[:-1]), np.sin(obs[1:]), end & terminated, end & truncated))
    rows = jax.tree.map(lambda *x: np.concatenate(x), *rows)
    v, real = np.sin(rows.obs), ~rows.is_last[:-1]
    truncated, gae = rows.is_last & ~rows.is_terminal, quick_jit(FUNCTIONS["gae"])
    got = gae(rows.reward[1:], v[:-1], v[1:], rows.is_terminal[1:], truncated[1:])
    want = [gae(*steps) for steps in alone]
    jax.tree.map(lambda x, *y: close(np.asarray(x)[real], np.concatenate(y)), got, *want)


# Gradients


def plain(reward, value, next_value, terminated, truncated, gamma, lam):
    """GAE by the plain recursion."""
    over = terminated | truncated
    advantage, out = 0.0, []
    for t in reversed(range(len(reward))):
        after = 0.0 if t == len(reward) - 1 or over[t] else advantage
        delta = reward[t] + (0.0 if terminated[t] else gamma * next_value[t]) - value[t]
        advantage = delta + gamma * lam * after
        out.insert(0, advantage)
    return jnp.stack(out)


@pytest.mark.long  # quick: linearity, below, gives every gradient
def test_gradients_are_those_of_the_plain_recursion():
    reward, value, next_value, *flags = rollout(12, ends=0.4)
    weights = np.linspace(1, 2, 12, dtype=np.float32)
    arguments = reward, value, next_value, np.float32(0.9), np.float32(0.7)

    def total(function):
        return lambda r, v, n, gamma, lam: jnp.sum(weights * function(r, v, n, *flags, gamma, lam))

    ours = jax.grad(total(lambda *x: returns.gae(*x)[0]), range(5))(*arguments)
    for got, want in zip(ours, quick_jit(jax.grad(total(plain), range(5)))(*arguments), strict=True):
        close(got, want, rtol=2e-5)
    tangents = tuple(np.ones_like(x) for x in arguments)
    forward = jax.jvp(total(lambda *x: returns.gae(*x)[0]), arguments, tangents)[1]
    close(forward, sum(jnp.sum(x) for x in ours), rtol=2e-5)


def test_gradients_of_every_function_follow_from_its_linearity():
    # Linear in reward, value and next_value: f(x) - f(0) is the Jacobian times x.
    *floats, terminated, truncated = rollout(STEPS, ends=0.2)
    zeros = [np.zeros(STEPS, np.float32)] * 3
    for name in budget(["n-step", "vtrace"], FUNCTIONS):
        function = FUNCTIONS[name]
        last = jax.jit(lambda *x, f=function: jax.tree.leaves(f(*x, terminated, truncated)))
        jacobian = jax.jacrev(last, (0, 1, 2))(*floats)
        for value, at_0, by_argument in zip(last(*floats), last(*zeros), jacobian, strict=True):
            product = sum(np.float64(j) @ np.float64(x) for j, x in zip(by_argument, floats, strict=True))
            close(product, value - at_0, rtol=1e-4, atol=1e-5)


def test_nothing_stops_a_gradient_at_the_values():
    reward, value, next_value, *flags = steps_with_ends(STEPS - 1, flag="truncated")
    gradient = jax.grad(lambda n: returns.lambda_returns(reward, n, *flags, GAMMA, 1.0)[0])(next_value)
    close(gradient[-1], GAMMA**STEPS, rtol=1e-5)
    equal(gradient[:-1], 0)
    ratio = np.ones(STEPS, np.float32)
    gradient = jax.grad(lambda n: returns.vtrace(reward, value, n, *flags, ratio, GAMMA)[1][0])(next_value)
    close(gradient, GAMMA ** np.arange(1, STEPS + 1), rtol=1e-4)


@some
def test_the_result_is_the_same_under_jit_and_vmap(function):
    environments = [rollout(STEPS, seed) for seed in range(5)]
    batch = [np.stack(x, axis=1) for x in zip(*environments, strict=True)]
    mapped = jax.jit(jax.vmap(function, in_axes=1, out_axes=1))(*batch)
    for env, steps in enumerate(environments):
        column = jax.tree.map(lambda x, env=env: x[:, env], mapped)
        for one in (function, jax.jit(function), quick_jit(function)):
            jax.tree.map(np.testing.assert_array_max_ulp, column, one(*steps))


@some
def test_one_trace_serves_all_rollouts_of_one_shape(function):
    traces = []

    @jax.jit
    def counted(*steps):
        traces.append(None)
        return function(*steps)

    for seed in range(3):
        counted(*rollout(STEPS, seed))
    assert len(traces) == 1


def test_vmap_over_discounts():
    reward, _, _, *flags = rollout(STEPS)
    gammas = np.array([0.5, 0.9, 1.0], np.float32)
    of = lambda gamma: returns.mc_returns(reward, *flags, gamma)  # noqa: E731
    alone = quick_jit(of)
    equal(quick_jit(jax.vmap(of))(gammas), [alone(gamma) for gamma in gammas])
