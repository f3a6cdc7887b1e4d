"""What a lost gate costs: 8 seeds of a Q-learner in one vmapped scan, gated by `can_sample` and by ``state.adds``.

    python -m benchmarks.gates

Both gates open at the same steps, so both sides learn the same. Figures are in docs/vmap.md.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.same import require
from benchmarks.timing import race
from jaxbuffers.testing import assert_gated

SEEDS, ENVS, OBS, ACTIONS, UNITS = 8, 4, 16, 4, 64
CAPACITY, BATCH, STEPS, WARM_UP = 40_000, 64, 400, 100
GATES = "adds", "can_sample"
RECORDER, VIEW = jb.Recorder("same_step"), jb.Transitions()


def values(params, obs):
    """Action values ``[..., A]`` of observations ``[..., D]``."""
    return jnp.tanh(jnp.tanh(obs @ params[0]) @ params[1]) @ params[2]


def learn(replay, carry, key):
    """Make one step of gradient descent; say that the batch was used."""
    state, params = carry
    batch = replay.sample(state, key)
    data = batch.data

    def loss(params):
        best = lax.stop_gradient(values(params, data.next_obs)).max(-1)
        value = jnp.take_along_axis(values(params, data.obs), data.action[:, None], -1)[:, 0]
        error = value - data.reward - data.discount * best
        return jnp.mean(error**2), jnp.abs(error)

    grads, error = jax.grad(loss, has_aux=True)(params)
    params = jax.tree.map(lambda x, slope: x - 0.01 * slope, params, grads)
    return replay.update(state, batch.index, priority=error if replay.sampler.takes_priority else None), params


def train(replay, gate, every, key, steps=STEPS, warm_up=WARM_UP):
    """Train one seed: act at random in a made-up environment, record, and learn where the gate is open."""
    keys = jax.random.split(key, 4)
    shapes = (OBS, UNITS), (UNITS, UNITS), (UNITS, ACTIONS), (ENVS, OBS)
    *params, obs = (0.1 * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))
    rec = RECORDER.init(obs)
    state = replay.init(RECORDER.row(rec, action=jnp.zeros(ENVS, jnp.int32)))

    def step(carry, key):
        rec, state, params = carry
        keys = jax.random.split(key, 5)
        action = jax.random.randint(keys[0], (ENVS,), 0, ACTIONS)
        obs, final = jax.random.normal(keys[1], (2, ENVS, OBS))
        ended = {"terminated": jax.random.bernoulli(keys[2], 0.02, (ENVS,)), "truncated": jnp.zeros(ENVS, jnp.bool_)}
        rec, rows, mask = RECORDER.step(rec, action=action, obs=obs, reward=obs[:, 0], final_obs=final, **ended)
        state = replay.add(state, rows, mask)
        due = (state.adds > warm_up) & (state.adds % every == 0)
        due = due & replay.can_sample(state) if gate == "can_sample" else due
        state, params = lax.cond(due, partial(learn, replay), lambda carry, key: carry, (state, params), keys[4])
        return (rec, state, params), None

    (_, state, params), _ = lax.scan(step, (rec, state, params), jax.random.split(key, steps))
    return params, state.adds


def blocking(run, keys):
    """Run, and wait for the end."""
    jax.block_until_ready(run(keys))


def contest(every, steps, warm_up):
    """Compare the two gates of uniform replay, for `benchmarks.run`."""
    keys = jax.random.split(jax.random.key(0), SEEDS)
    replay = jb.Replay(CAPACITY, ENVS, BATCH, VIEW, jb.Uniform())

    def side(gate):
        run = jax.jit(jax.vmap(partial(train, replay, gate, every, steps=steps, warm_up=warm_up)))
        return Side(partial(blocking, run, keys), jax.tree.leaves(run(keys)))

    return Contest(partial(side, "adds"), partial(side, "can_sample"), same, steps)


def same(ours, theirs):
    """Raise if the two sides learn different things."""
    for a, b in zip(ours, theirs, strict=True):
        require(jnp.allclose(a, b, rtol=1e-3, atol=1e-5), "can_sample", "other parameters")


def main():
    """Print a table."""
    keys = jax.random.split(jax.random.key(0), SEEDS)
    for sampler in (jb.Uniform(), jb.Prioritized()):
        replay = jb.Replay(CAPACITY, ENVS, BATCH, VIEW, sampler)
        for every in (1, 4, 10):
            mapped = {gate: jax.vmap(partial(train, replay, gate, every)) for gate in GATES}
            assert_gated(mapped["adds"], keys)
            sides = [jax.jit(mapped[gate]).lower(keys).compile() for gate in GATES]
            same(*(jax.tree.leaves(run(keys)) for run in sides))
            found = race(*(partial(blocking, run, keys) for run in sides), rounds=9, per=STEPS)
            print(
                f"{type(sampler).__name__}, learning every {every}: by adds {found.ours.median:.0f} us a step, by "
                f"can_sample {found.theirs.median:.0f}, ratio {found.ratio.median:.1f} "
                f"({found.ratio.low:.1f} to {found.ratio.high:.1f}), load {found.load:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
