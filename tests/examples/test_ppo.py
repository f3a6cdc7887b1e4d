"""The PPO example runs, learns from what it should, and leaves a picture."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "ppo.py"), run_name="ppo")


@pytest.fixture(autouse=True)
def _promotion_as_gymnax_and_optax_need_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.long  # a training run; quick: its parts, below
def test_a_short_run_says_how_it_went_and_leaves_a_picture(tmp_path, capsys):
    EXAMPLE["main"](["--steps", "10240", "--seeds", "2", "--out", str(tmp_path / "ppo.png")])
    assert "over 20 greedy episodes" in capsys.readouterr().out
    assert (tmp_path / "ppo.png").stat().st_size > 10_000


def test_a_rollout_holds_what_was_played():
    ppo = EXAMPLE["PPO"]("CartPole-v1", 1)
    run = jax.tree.map(lambda x: x[0], ppo.begin(jax.random.split(jax.random.key(0), 1)))
    run, rollout, (done, score) = jax.jit(ppo.play)(run, jax.random.key(1))
    data = rollout.data
    assert EXAMPLE["ROLLOUT"].missing(rollout) == {}
    going = ~np.asarray(done)[:-1]
    # Where the episode goes on, the value arrived at is the value acted on next.
    np.testing.assert_allclose(data["next_value"][:-1][going], data["value"][1:][going], rtol=1e-5, atol=1e-6)
    # Where it has ended, it is that of the final observation: pole or cart beyond the limits, unlike after a reset.
    assert done.any()
    ended = np.asarray(done)[:-1]
    assert (np.abs(np.asarray(data["next_value"][:-1] - data["value"][1:]))[ended] > 1e-6).all()
    np.testing.assert_array_equal(data["terminated"] | data["truncated"], done)
    assert (np.asarray(score)[np.asarray(done)] >= 8).all()


def test_an_update_makes_better_actions_likelier():
    ppo = EXAMPLE["PPO"]("CartPole-v1", 10)
    run = jax.tree.map(lambda x: x[0], ppo.begin(jax.random.split(jax.random.key(0), 1)))
    obs = jax.random.normal(jax.random.key(1), (64, 4))
    logps, value = ppo.apply(run.params, obs)
    batch = {"obs": obs, "action": jnp.arange(64) % 2, "value": value, "target": value}
    batch |= {
        "advantage": jnp.where(jnp.arange(64) % 2 == 0, 1.0, -1.0),
        "logp": logps[jnp.arange(64), jnp.arange(64) % 2],
    }
    step, params = (
        jax.jit(lambda p: jax.tree.map(lambda p, g: p - 0.1 * g, p, jax.grad(ppo.loss)(p, batch))),
        run.params,
    )
    for _ in range(20):
        params = step(params)
    assert (ppo.apply(params, obs)[0][:, 0] > logps[:, 0]).mean() > 0.9
