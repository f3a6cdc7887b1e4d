"""What must be read back: plain Python rollouts of one environment, and all that a replay holds."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxbuffers as jb

GAMMA = 0.5  # a power of two: folded float32 rewards of the scripted environments are exact


class Step(NamedTuple):
    """One action and what came of it."""

    obs: Any
    action: Any
    reward: Any
    terminated: bool
    truncated: bool
    next_obs: Any

    @property
    def done(self):
        return self.terminated or self.truncated


class Rollout(NamedTuple):
    """Episodes in order, and whether the newest observation is still waiting for its action."""

    episodes: list[list[Step]]
    waiting: bool


def rollout(env, seed, act, steps, reset_takes_a_step=False):
    """Run one Gymnasium environment for a number of vector steps, resetting it by hand."""
    obs, _ = env.reset(seed=seed)
    episodes, over, waiting = [[]], False, False
    for _ in range(steps):
        if over and reset_takes_a_step:
            obs, _ = env.reset()
            episodes.append([])
            over = waiting = False
            continue
        action = act(obs)
        after, reward, terminated, truncated, _ = env.step(action)
        episodes[-1].append(Step(obs, action, np.float32(reward), bool(terminated), bool(truncated), after))
        obs, over = after, terminated or truncated
        waiting = reset_takes_a_step or not over
        if over and not reset_takes_a_step:
            obs, _ = env.reset()
            episodes.append([])
    env.close()
    return Rollout([episode for episode in episodes if episode], waiting)


def endings(rollouts):
    """Count the episodes that terminated, and those that were only cut."""
    last = [episode[-1] for rollout in rollouts for episode in rollout.episodes]
    return sum(step.terminated for step in last), sum(step.truncated and not step.terminated for step in last)


def known(rollout):
    """Return the episodes without the step whose outcome is still waiting."""
    episodes = [list(episode) for episode in rollout.episodes]
    if rollout.waiting:
        episodes[-1].pop()
    return [episode for episode in episodes if episode]


def transitions(episodes, n_step=1, gamma=GAMMA):
    """Fold up to ``n_step`` steps from every step on, never past the end of its episode."""
    found = []
    for episode in episodes:
        for time, step in enumerate(episode):
            part = episode[time : time + n_step]
            reward = sum(gamma**i * float(later.reward) for i, later in enumerate(part))
            discount = 0.0 if part[-1].terminated else gamma ** len(part)
            after = part[-1].next_obs
            found.append(
                jb.Transition(step.obs, step.action, np.float32(reward), np.float32(discount), after, _extras(step.obs))
            )
    return found


def rows(rollout):
    """List the rows of the alignment that the documentation promises: T actions are T + 1 rows."""
    found = []
    for number, episode in enumerate(rollout.episodes):
        for time, step in enumerate(episode):
            arrival = episode[time - 1].reward if time else np.float32(0)
            found.append(jb.Row(step.obs, step.action, arrival, time == 0, False, False, _extras(step.obs)))
        last = episode[-1]
        if last.done and not (rollout.waiting and number == len(rollout.episodes) - 1):
            none = np.zeros_like(last.action)
            found.append(jb.Row(last.next_obs, none, last.reward, False, True, last.terminated, np.float32(0)))
    return found


def _extras(obs):
    """What the tests store beside an observation: a number made from it."""
    return np.float32(sum(np.asarray(leaf, np.float64).sum() for leaf in jax.tree.leaves(obs)) + 1)


def extras_of(obs, num_envs):
    """Make the extras of a batch of observations."""
    return np.stack([_extras(jax.tree.map(lambda leaf, e=e: leaf[e], obs)) for e in range(num_envs)])


@partial(jax.jit, static_argnums=0)
def _sample(replay, state):
    return replay.sample(state, jax.random.key(7), 8192)


def read_all(replay, state):
    """Return, for each stream, everything a sample can be, in the order of time, each once.

    So many draws are made that each of the (at most 400) windows comes up, with probability
    1 - 1e-6 for an arbitrary key; the key is fixed. The probability that each sample carries says
    how many there must be.
    """
    batch = jax.tree.map(np.asarray, _sample(replay, state))
    assert batch.valid
    assert batch.mask.all()
    windows = len(batch.probability)
    where = np.stack([batch.index.stream, batch.index.time], axis=-1).reshape(windows, -1, 2)[:, 0]
    unique, first = np.unique(where, axis=0, return_index=True)
    np.testing.assert_allclose(batch.probability, 1 / len(unique), rtol=1e-6)
    assert len(unique) <= 400
    streams = [[] for _ in range(replay.num_streams)]
    for (stream, _), k in zip(unique, first, strict=True):
        streams[stream].append(jax.tree.map(lambda leaf, k=k: leaf[k], batch.data))
    return streams


def assert_same(got, expected, rtol=0.0, atol=0.0):
    """Compare two lists of pytrees, leaf by leaf and entry by entry."""
    assert len(got) == len(expected)
    if not expected:
        return
    got, expected = (jax.tree.map(lambda *leaves: np.stack(leaves), *each) for each in (got, expected))
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        found = dict(jax.tree_util.tree_leaves_with_path(got))[path]
        np.testing.assert_allclose(found, leaf, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))


def row_like(obs, action, extras=()):
    """Make an example row from one environment's observation and action."""
    no = np.bool_(False)
    return jb.Row(obs, action, np.float32(0), no, no, no, extras)
