"""Returns by their definitions, in float64 and plain Python: sums over what follows each step, no recursion.

Only what counts is read, so whatever else is in the arrays must not matter. gamma and lam may be one number or ``[T]``.
"""

import numpy as np
from hypothesis import strategies as st

GAMMAS = [(0.0, 0.5), (1.0, 1.0), (0.9, 0.95), (1.0, 0.0), (0.5, 1.0)]


def per_step(x, steps):
    return np.broadcast_to(np.float64(x), (steps,))


def horizon(terminated, truncated, t):
    """The last step of the episode that t belongs to."""
    while t + 1 < len(terminated) and not (terminated[t] or truncated[t]):
        t += 1
    return t


def arrived(next_value, terminated, t):
    return 0.0 if terminated[t] else float(next_value[t])


def weighed(weight, value):
    """A product that does not look at what has no weight."""
    return weight * value() if weight else 0.0


def n_step(reward, next_value, terminated, truncated, gamma, n, t):
    """The return of step t over n steps, or fewer if its episode ends."""
    gamma, total, weight = per_step(gamma, len(reward)), 0.0, 1.0
    last = min(t + n - 1, horizon(terminated, truncated, t))
    for k in range(t, last + 1):
        total += weighed(weight, lambda k=k: float(reward[k]))
        weight *= gamma[k]
    return total + weighed(weight, lambda: arrived(next_value, terminated, last))


def n_step_returns(reward, next_value, terminated, truncated, gamma, n):
    steps = range(len(reward))
    return np.array([n_step(reward, next_value, terminated, truncated, gamma, n, t) for t in steps])


def mc_returns(reward, terminated, truncated, gamma, next_value=None):
    if next_value is None:
        next_value = np.zeros(len(reward))
    return n_step_returns(reward, next_value, terminated, truncated, gamma, len(reward))


def lambda_returns(reward, next_value, terminated, truncated, gamma, lam):
    """The mixture of all n-step returns."""
    lam, out = per_step(lam, len(reward)), []
    for t in range(len(reward)):
        longest, total, left = horizon(terminated, truncated, t) - t + 1, 0.0, 1.0
        for n in range(1, longest + 1):
            share = left if n == longest else left * (1 - lam[t + n - 1])
            left *= lam[t + n - 1]
            total += weighed(share, lambda n=n, t=t: n_step(reward, next_value, terminated, truncated, gamma, n, t))
        out.append(total)
    return np.array(out)


def deltas(reward, value, next_value, terminated, gamma):
    gamma = per_step(gamma, len(reward))
    return [
        float(reward[t]) - float(value[t]) + weighed(gamma[t], lambda t=t: arrived(next_value, terminated, t))
        for t in range(len(reward))
    ]


def sums(delta, weight, terminated, truncated):
    """The sum over the rest of each episode of delta[k] times the product of weight[t:k]."""
    out = []
    for t in range(len(delta)):
        total, product = 0.0, 1.0
        for k in range(t, horizon(terminated, truncated, t) + 1):
            total += weighed(product, lambda k=k: delta[k])
            product *= weight[k]
        out.append(total)
    return np.array(out)


def gae(reward, value, next_value, terminated, truncated, gamma, lam):
    weight = per_step(gamma, len(reward)) * per_step(lam, len(reward))
    advantage = sums(deltas(reward, value, next_value, terminated, gamma), weight, terminated, truncated)
    return advantage, advantage + np.float64(value)


def vtrace(reward, value, next_value, terminated, truncated, ratio, gamma, lam, rho_bar, c_bar):
    """The sum in the paper's first equation, and the advantage below its equation (4)."""
    steps, ratio = len(reward), np.float64(ratio)
    gamma, lam, rho, c = (
        per_step(gamma, steps),
        per_step(lam, steps),
        np.minimum(rho_bar, ratio),
        np.minimum(c_bar, ratio),
    )
    delta = [r * d for r, d in zip(rho, deltas(reward, value, next_value, terminated, gamma), strict=True)]
    target = np.float64(value) + sums(delta, gamma * lam * c, terminated, truncated)
    advantage = []
    for t in range(steps):
        last = horizon(terminated, truncated, t) == t
        after = weighed(gamma[t], lambda t=t, last=last: arrived(next_value, terminated, t) if last else target[t + 1])
        advantage.append(rho[t] * (float(reward[t]) + after - float(value[t])))
    return np.array(advantage), target


@st.composite
def rollouts(draw, lengths=(1, 2, 9)):
    """Reward, value, next_value, terminated, truncated: next_value is another value's than value[t + 1]."""
    steps = draw(st.sampled_from(lengths))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reward, value, next_value = rng.normal(size=(3, steps)).astype(np.float32)
    flags = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), min_size=steps, max_size=steps)
    ended = np.array(draw(flags))
    return reward, value, next_value, ended % 2 == 1, ended >= 2


def rollout(steps, seed=0, ends=0.05):
    """The same, from a seed."""
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, steps)).astype(np.float32)
    return reward, value, next_value, rng.random(steps) < ends / 2, rng.random(steps) < ends / 2
